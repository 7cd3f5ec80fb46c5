"""The Redundancy page in a real Chromium: labels struck out and edited in place, patches clicked on maps."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driver import expect_no_exception, map_values, maps, open_page, wait_until_idle
from tests.browser.server import Server

LABELS = ["a red flower", "a white cross", "sand"]


@pytest.fixture
def redundancy_page(page: Page, server: Server) -> Page:
    """The Redundancy page with three labels, at rest."""
    open_page(page, server.url, "redundancy", image="toy-1", p=LABELS)
    return page


def test_striking_a_label_out_shows_the_maps_without_it(redundancy_page: Page) -> None:
    expect_no_exception(redundancy_page)
    expect(maps(redundancy_page)).to_have_count(2 + 2 * 3)
    redundancy_page.get_by_role("combobox", name="Strike one label out").click()
    redundancy_page.get_by_role("option", name="without “sand”").click()
    wait_until_idle(redundancy_page)
    expect(redundancy_page).to_have_url(re.compile("struck=sand"))
    values = map_values(redundancy_page)
    assert [row for row, title in values if title == "without “sand”"] == [f"“{label}”" for label in LABELS[:2]]
    assert values["“a red flower”", "after"] != values["“a red flower”", "without “sand”"]
    expect_no_exception(redundancy_page)


def test_labels_are_edited_in_place_and_a_patch_is_clicked(redundancy_page: Page) -> None:
    box = redundancy_page.get_by_role("combobox", name=re.compile("Label set"))
    box.fill("grass")
    box.press("Enter")
    box.press("Escape")  # closes the list, which hides the page behind it from assistive technology
    wait_until_idle(redundancy_page)
    expect(redundancy_page.get_by_role("button", name="“grass”")).to_be_visible()
    expect(maps(redundancy_page)).to_have_count(2 + 2 * 4)
    side = maps(redundancy_page).first.bounding_box()
    place = {"x": side["width"] * 5.5 / 14, "y": side["height"] * 7.5 / 14}
    maps(redundancy_page).first.click(position=place)
    wait_until_idle(redundancy_page)
    expect(redundancy_page.get_by_role("button", name="patch row 7, column 5")).to_be_visible()
    expect(redundancy_page.get_by_text(re.compile("patch row 7, column 5: .* %"))).to_be_visible()
    expect_no_exception(redundancy_page)
