"""The Flip page as a visitor meets it, in a real Chromium."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.driver import expect_no_exception, map_values, open_page, wait_until_idle
from tests.browser.server import Server

PHOTO, WATERFALL, REMOVALS = 0, 3, 5
"""Place of a figure among those of the page."""


@pytest.fixture
def flip_page(page: Page, server: Server) -> Page:
    """The Flip page of a newcomer, at rest."""
    open_page(page, server.url, "flip")
    return page


def figure(page: Page, place: int) -> Locator:
    """A figure, scrolled into the middle of the window, away from the header."""
    found = page.get_by_test_id("stPlotlyChart").nth(place)
    found.evaluate("node => node.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(200)
    return found


def test_a_verdict_and_its_figures_appear(flip_page: Page) -> None:
    expect_no_exception(flip_page)
    expect(flip_page.get_by_text(re.compile("In the CLIP map of .* outscores a background one in"))).to_be_visible()
    expect(flip_page.get_by_test_id("stPlotlyChart")).to_have_count(6)


def test_a_drawn_box_becomes_the_region_and_gets_a_verdict(page: Page, server: Server) -> None:
    open_page(page, server.url, "flip", image="china", p=["a pagoda", "the sky"])
    expect(page.get_by_text("Draw the region that should light up.")).to_be_visible()
    box = figure(page, PHOTO).locator(".nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"region=box%3A\d+%2C\d+"))
    wait_until_idle(page)
    expect(page.get_by_text(re.compile("In the CLIP map of .a pagoda. a foreground patch"))).to_be_visible()
    page.get_by_role("button", name="Clear region").click()
    expect(page.get_by_text("Draw the region that should light up.")).to_be_visible()
    expect_no_exception(page)


def test_a_clicked_bar_is_shown_ablated_and_kept_by_the_address(flip_page: Page) -> None:
    bar = figure(flip_page, WATERFALL).locator(".bars .point path").nth(9).bounding_box()
    flip_page.mouse.click(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    expect(flip_page).to_have_url(re.compile("component=a4"))
    wait_until_idle(flip_page)
    flip_page.get_by_text("ablate", exact=True).click()
    expect(flip_page).to_have_url(re.compile("ablate=1"))
    wait_until_idle(flip_page)
    values = {title: mean for (_, title), mean in map_values(flip_page).items()}
    assert values["CLIP without a4"] != values["CLIP"]
    assert "what a4 adds" in values
    flip_page.reload()
    wait_until_idle(flip_page)
    assert {title: mean for (_, title), mean in map_values(flip_page).items()} == values
    expect_no_exception(flip_page)


def test_removals_can_be_stopped_and_what_is_done_is_kept(page: Page, server: Server) -> None:
    view = {"image": "toy-1", "p": ["a red flower", "sand"], "region": "object:a red flower"}
    open_page(page, server.url, "flip", model="ViT-S-32", weights="random", **view)
    button = page.get_by_role("button", name="Remove every head and MLP")
    all_of_them = int(re.search(r"(\d+) re-runs", button.inner_text())[1])
    button.click()
    expect(page.get_by_text(re.compile(r"Removing every head and MLP … \d+ of"))).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    wait_until_idle(page)
    left = int(re.search(r"(\d+) re-runs", button.inner_text())[1])
    assert 0 < left < all_of_them
    dots = figure(page, REMOVALS).locator(".scatterlayer .points path")
    expect(dots).to_have_count(all_of_them - left)
    expect_no_exception(page)
