"""The Flip page as a visitor meets it, in a real Chromium."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.driver import expect_no_exception, map_values, maps, open_page, wait_until_idle
from tests.browser.server import Server

WATERFALL, REMOVALS = 1, 3
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
    expect(flip_page.get_by_role("heading", name=re.compile("Flipped · AUC 0.0. · a3.h1 writes"))).to_be_visible()
    expect(flip_page.get_by_test_id("stPlotlyChart")).to_have_count(4)
    flip_page.get_by_role("button", name="more").click()
    expect(flip_page.get_by_text(re.compile("In the CLIP map of .* outscores a background one in"))).to_be_visible()


def test_a_drawn_box_becomes_the_region_and_gets_a_verdict(page: Page, server: Server) -> None:
    open_page(page, server.url, "flip", image="china", p=["a pagoda", "the sky"])
    expect(page.get_by_text("Draw the region that should light up")).to_be_visible()
    box = maps(page).first.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"region=box%3A\d+%2C\d+"))
    wait_until_idle(page)
    expect(page.get_by_role("heading", name=re.compile("AUC 0"))).to_be_visible()
    page.get_by_role("button", name="Clear the region").click()
    expect(page.get_by_text("Draw the region that should light up")).to_be_visible()
    expect_no_exception(page)


def test_a_clicked_bar_is_shown_ablated_and_kept_by_the_address(flip_page: Page) -> None:
    bar = figure(flip_page, WATERFALL).locator(".bars .point path").nth(7).bounding_box()
    flip_page.mouse.click(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    expect(flip_page).to_have_url(re.compile("component=a3"))
    wait_until_idle(flip_page)
    values = {title: mean for (_, title), mean in map_values(flip_page).items()}
    assert values["without a3"] != values["CLIP"]
    assert "what a3 adds" in values
    flip_page.reload()
    wait_until_idle(flip_page)
    assert {title: mean for (_, title), mean in map_values(flip_page).items()} == values
    expect_no_exception(flip_page)


def test_a_region_is_drawn_by_keyboard(flip_page: Page) -> None:
    first = maps(flip_page).first
    first.focus()
    for key in ("Enter", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowDown", "Enter"):
        first.press(key)
    expect(flip_page).to_have_url(re.compile(r"region=box%3A112%2C96%2C144%2C144"))  # 2 x 3 patches of 16 pixels
    wait_until_idle(flip_page)
    expect_no_exception(flip_page)


def test_a_small_map_is_put_in_the_row_above_and_taken_away(flip_page: Page) -> None:
    small = maps(flip_page).and_(flip_page.locator('[data-title="GEM"]'))
    small.click()
    expect(flip_page).to_have_url(re.compile("method=gem.*flip.beside=1"))
    expect(small).to_have_count(2)
    wait_until_idle(flip_page)
    small.last.click()
    expect(small).to_have_count(1)


def test_deeper_looks_choose_parts_and_maps_keeps_what_was_removed_together(flip_page: Page) -> None:
    chart = flip_page.get_by_test_id("stPlotlyChart")
    flip_page.get_by_role("button", name="All heads").or_(flip_page.get_by_role("radio", name="All heads")).click()
    expect(chart).to_have_count(1)
    wait_until_idle(flip_page)
    for window in ({"width": 1280, "height": 720}, {"width": 1440, "height": 900}):
        flip_page.set_viewport_size(window)
        flip_page.wait_for_timeout(300)
        box = chart.bounding_box()
        assert box["y"] + box["height"] <= window["height"] and box["x"] + box["width"] <= window["width"]
    thumbnails = chart.locator(".layer-below image, .imagelayer image")
    box = thumbnails.first.bounding_box()
    flip_page.mouse.click(box["x"] + box["width"] / 6, box["y"] + 4.5 * box["height"] / 6)  # head 0 of block 4
    expect(flip_page).to_have_url(re.compile("component=a4.h0.*flip.look=heads"))
    wait_until_idle(flip_page)
    assert "what a4.h0 adds" in {title for _, title in map_values(flip_page)}
    flip_page.get_by_role("button", name="Path").or_(flip_page.get_by_role("radio", name="Path")).click()
    expect(chart.get_by_text("What fed head 0 of block 4")).to_be_visible()
    wait_until_idle(flip_page)
    bar = chart.locator(".bars .point path").first.bounding_box()
    flip_page.mouse.click(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    expect(flip_page).not_to_have_url(re.compile("component=a4.h0"))
    wait_until_idle(flip_page)
    flip_page.get_by_role("button", name="Together").or_(flip_page.get_by_role("radio", name="Together")).click()
    flip_page.get_by_role("button", name="Add the worst").click()
    expect(flip_page).to_have_url(re.compile("without=a3.h1"))
    expect(flip_page.get_by_text(re.compile("All at once the contrast changes by"))).to_be_visible()
    flip_page.get_by_role("link", name="Maps").click()
    expect(maps(flip_page).and_(flip_page.locator('[data-title^="CLIP without a3.h1"]')).first).to_be_visible()
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
