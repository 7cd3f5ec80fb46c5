"""The Space page in a real Chromium."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.driver import expect_no_exception, open_page, wait_until_idle
from tests.browser.server import Server


def plot(page: Page, which: int) -> Locator:
    """The plotting area: 0 of the points, 1 of the image."""
    return page.locator(".stPlotlyChart .nsewdrag").nth(which)


def drag(page: Page, area: Locator, corners: list[tuple[float, float]]) -> None:
    """Drags the mouse through points given as shares of an area."""
    box = area.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()
    wait_until_idle(page)


def lit(page: Page) -> int:
    """How many patches are said to be lit."""
    text = page.get_by_text(re.compile(r"patch(es)? lit")).inner_text()
    return int(text.split()[0])


def test_a_lasso_lights_patches_and_a_box_points(page: Page, server: Server) -> None:
    open_page(page, server.url, "space")
    expect_no_exception(page)
    assert page.get_by_text(re.compile("patches lit")).count() == 0
    heat = page.locator(".stPlotlyChart").nth(1).locator(".heatmaplayer image")
    expect(heat).to_have_count(0)
    drag(page, plot(page, 0), [(0.02, 0.02), (0.5, 0.02), (0.98, 0.5), (0.98, 0.98), (0.02, 0.98), (0.02, 0.05)])
    lassoed = lit(page)
    assert 0 < lassoed <= 196
    expect(page).to_have_url(re.compile("lit="))
    expect(heat).to_have_count(1)
    page.get_by_role("radio", name="box").click()
    wait_until_idle(page)
    drag(page, plot(page, 1), [(0.45, 0.45), (0.75, 0.75)])
    boxed = lit(page)
    assert 0 < boxed < 40 and boxed != lassoed
    faded = page.locator(".stPlotlyChart").first.locator(".scatterlayer .trace").first.locator("path")
    opaque = faded.evaluate_all("nodes => nodes.filter(n => getComputedStyle(n).fillOpacity === '1').length")
    assert opaque == boxed
    page.get_by_role("button", name="Clear", exact=True).click()
    wait_until_idle(page)
    expect(page).not_to_have_url(re.compile("lit="))
    expect_no_exception(page)


def test_a_click_chooses_a_patch_and_the_animation_has_its_slider(page: Page, server: Server) -> None:
    open_page(
        page,
        server.url,
        "space",
        p=["a red circle", "grass"],
        **{"space.tokens": "all_blocks", "space.colour": "nearest"},
    )
    expect_no_exception(page)
    expect(page.locator(".slider-group")).to_have_count(1)
    page.get_by_role("radio", name="click").click()
    wait_until_idle(page)
    box = plot(page, 1).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 7.5 / 14, box["y"] + box["height"] * 3.5 / 14)
    expect(page.get_by_text("row 3, column 7")).to_be_visible()  # plotly chooses what it has hovered
    page.mouse.down()
    page.mouse.up()
    wait_until_idle(page)
    expect(page.get_by_role("button", name=re.compile("patch row 3, column 7"))).to_be_visible()
    points = page.locator(".stPlotlyChart").first.locator(".scatterlayer .trace").first.locator("path").first
    before = points.get_attribute("transform")
    page.locator(".slider-rail-touch-rect").click(position={"x": 3, "y": 3})
    expect(points).not_to_have_attribute("transform", before)
