"""What every page owes its visitors: what is linked stands in one window, and assistive technology can use it all."""

import itertools

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from dashboard.pages import PAGES
from tests.browser.driver import WAIT_MS, maps, open_page
from tests.browser.server import Server

LINKED = {"maps": 4 * 8, "flip": 4 + 3 + 8, "layers": 2 + 3 + 1, "affinity": 2 + 1 + 4, "redundancy": 3 + 2 + 4 * 2}
"""Plots and maps that are linked with each other, on the page of a newcomer."""

PLOTS_FIRST = ("layers",)
"""Pages whose first part is a plot and not a map."""

SMALL = ("flip", "layers")
"""Pages that show all of it in a window of 1280 x 720 too."""

GRAVE = ("serious", "critical")


def parts(page: Page) -> list[dict[str, float]]:
    """Boxes of all plots and maps."""
    others = page.locator('[data-testid="affinity-photo"], [data-testid="affinity-map"]')
    found = (page.get_by_test_id("stPlotlyChart"), maps(page), others)
    return [part.bounding_box() for kind in found for part in kind.all()]


def expect_one_window(page: Page, name: str) -> None:
    """All linked parts are wholly in the window, none too small to be read, the first one near the top."""
    boxes, window = parts(page), page.viewport_size
    assert len(boxes) == LINKED[name]
    for box in boxes:
        assert box["x"] >= 0 and box["x"] + box["width"] <= window["width"] and box["width"] >= 60, (name, box)
        assert box["y"] >= 0 and box["y"] + box["height"] <= window["height"], (name, box)
    assert min(box["y"] for box in boxes) <= 150


def grave_findings(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical, with the element."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html']}" for one in found if one["impact"] in GRAVE for node in one["nodes"]]


def headings(page: Page) -> list[int]:
    """Levels of all headings, in order."""
    return page.locator("h1, h2, h3, h4, h5, h6").evaluate_all("nodes => nodes.map((node) => Number(node.tagName[1]))")


@pytest.mark.parametrize("name", [info.name for info in PAGES])
def test_a_page_is_one_window_that_everybody_can_use(page: Page, server: Server, name: str) -> None:
    open_page(page, server.url, "" if name == PAGES[0].name else name)
    page.wait_for_timeout(500)  # plots are drawn in steps
    if name in LINKED:
        expect_one_window(page, name)
    assert grave_findings(page) == []
    levels = headings(page)
    assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
    if name in SMALL:
        page.set_viewport_size({"width": 1280, "height": 720})
        page.wait_for_timeout(800)
        expect_one_window(page, name)


def test_the_controls_of_maps_can_be_used_by_everybody(page: Page, server: Server) -> None:
    open_page(page, server.url)
    for button in ("8 methods", "view", "112 px", "custom"):
        page.get_by_role("button", name=button, exact=True).click()
        page.wait_for_timeout(300)
        assert grave_findings(page) == []
        page.keyboard.press("Escape")


def test_a_dark_page_has_contrast_enough(browser: Browser, server: Server) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark")
    context.set_default_timeout(WAIT_MS)
    dark = context.new_page()
    for name in ("", "affinity", "redundancy"):
        open_page(dark, server.url, name)
        assert grave_findings(dark) == []
    context.close()
