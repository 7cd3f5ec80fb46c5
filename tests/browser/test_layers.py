"""The Layers page as a visitor meets it, in a real Chromium."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driver import drag_slider, expect_no_exception, map_values, open_page, wait_until_idle
from tests.browser.server import Server

BLOCKS = 0
"""Place of the small multiples among the figures of the page."""


@pytest.fixture
def layers_page(page: Page, server: Server) -> Page:
    """The Layers page of a newcomer, at rest."""
    open_page(page, server.url, "layers")
    return page


def slider_map(page: Page) -> float:
    """Mean of the map at the slider."""
    return {title: mean for (_, title), mean in map_values(page).items()}["at the slider"]


def test_alpha_moves_the_map_at_the_slider_and_the_address(layers_page: Page) -> None:
    expect_no_exception(layers_page)
    before = slider_map(layers_page)
    drag_slider(layers_page, "alpha", 8)
    expect(layers_page).to_have_url(re.compile(r"custom=vv%2C5%2C1%2C1\.4"))
    wait_until_idle(layers_page)
    assert slider_map(layers_page) != before
    expect_no_exception(layers_page)


def test_a_clicked_marker_chooses_its_block(layers_page: Page) -> None:
    chart = layers_page.get_by_test_id("stPlotlyChart").nth(BLOCKS)
    chart.evaluate("node => node.scrollIntoView({block: 'center'})")
    layers_page.wait_for_timeout(200)
    marker = chart.locator(".scatterlayer .points path").nth(3).bounding_box()
    layers_page.mouse.click(marker["x"] + marker["width"] / 2, marker["y"] + marker["height"] / 2)
    expect(layers_page).to_have_url(re.compile("block=3"))
    wait_until_idle(layers_page)
    expect(layers_page.get_by_role("button", name=re.compile("block 3"))).to_be_visible()
    expect_no_exception(layers_page)
