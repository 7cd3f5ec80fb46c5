"""The Affinity page in a real Chromium: hovering needs no server, a click reaches the other panels."""

import re

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, WebSocket, expect

from dashboard.case import Case
from dashboard.pages.affinity import results
from tests.browser.driver import expect_no_exception, open_page, wait_until_idle
from tests.browser.server import Server

SIDE = 14
CASE = Case(image="toy-1", prompts=("a red flower", "sand"))
VIEW = {"image": "toy-1", "p": ["a red flower", "sand"], "region": "object:a red flower"}


@pytest.fixture
def sent(page: Page) -> list[str | bytes]:
    """What the browser sends to the server, from the start."""
    found: list[str | bytes] = []

    def opened(socket: WebSocket) -> None:
        socket.on("framesent", lambda message: found.append(message))

    page.on("websocket", opened)
    return found


@pytest.fixture
def affinity_page(page: Page, server: Server, sent: list) -> Page:
    """The Affinity page with a region, at rest."""
    open_page(page, server.url, "affinity", **VIEW)
    return page


def photo(page: Page) -> Locator:
    return page.get_by_test_id("affinity-photo")


def at(page: Page, row: int, column: int) -> dict[str, float]:
    """Position of a patch on the photograph."""
    box = photo(page).bounding_box()
    return {"x": box["width"] * (column + 0.5) / SIDE, "y": box["height"] * (row + 0.5) / SIDE}


def pictures(page: Page) -> list[int]:
    """A number for what each map shows."""
    total = """nodes => nodes.map((c) => {
        const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
        return data.reduce((sum, value, i) => (sum * 31 + value * (i + 1)) % 1000003, 0);
    })"""
    return page.locator('[data-testid="affinity-map"] canvas').evaluate_all(total)


def shown_patch(page: Page) -> str:
    return page.locator(".affinity").get_attribute("data-query")


def test_hovering_moves_every_map_without_the_server(affinity_page: Page, sent: list) -> None:
    expect_no_exception(affinity_page)
    before, messages = pictures(affinity_page), len(sent)
    assert len(before) == 4
    photo(affinity_page).hover(position=at(affinity_page, 2, 3))
    assert shown_patch(affinity_page) == "2,3"
    assert all(old != new for old, new in zip(before, pictures(affinity_page), strict=True))
    notes = affinity_page.locator('[data-testid="affinity-map"] + .note').all_inner_texts()
    shares = r"\s+([\d.]+ %)\s+([\d.]+ %)"
    told = rf"weight\s+by chance\s+itself{shares}\s+own background{shares}\s+CLS token{shares}"
    assert all(re.fullmatch(told, note.strip()) for note in notes), notes
    shown = affinity_page.locator(".partners .who").all_inner_texts()
    weights = results.affinity(CASE, ("qk",)).weights[0, 1 + 2 * SIDE + 3]  # CLS, then the patches
    names = ["CLS", *(f"{row}, {column}" for row in range(SIDE) for column in range(SIDE))]
    assert shown[:6] == [names[token] for token in np.argsort(-weights)[:6]] and len(shown) == 4 * 6
    assert float(affinity_page.locator(".affinity").get_attribute("data-frame-ms")) >= 0
    affinity_page.mouse.move(5, 5)
    assert pictures(affinity_page) == before and len(sent) == messages


def test_a_click_changes_the_patch_of_the_other_panels(affinity_page: Page) -> None:
    for row, column in ((9, 4), (2, 11)):
        photo(affinity_page).click(position=at(affinity_page, row, column))
        wait_until_idle(affinity_page)
        affinity_page.mouse.move(5, 5)
        assert shown_patch(affinity_page) == f"{row},{column}"
        expect(affinity_page.get_by_role("button", name=f"patch row {row}, column {column}")).to_be_visible()
    photo(affinity_page).focus()
    for key in ("ArrowDown", "ArrowLeft", "Enter"):
        affinity_page.keyboard.press(key)
    wait_until_idle(affinity_page)
    expect(affinity_page).to_have_url(re.compile("patch=3%2C10"))
    affinity_page.locator(".partner").filter(has_not_text="3, 10 ").filter(has_not_text="CLS").first.click()
    expect(affinity_page).not_to_have_url(re.compile("patch=3%2C10"))
    expect_no_exception(affinity_page)


def test_a_point_of_the_same_region_mass_chooses_its_block(affinity_page: Page) -> None:
    before = pictures(affinity_page)
    figure = affinity_page.locator(".js-plotly-plot").filter(has_text="Same-region mass")
    figure.scroll_into_view_if_needed()
    point = figure.locator(".scatterlayer .trace").first.locator(".point").nth(2).bounding_box()
    affinity_page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    wait_until_idle(affinity_page)
    expect(affinity_page.get_by_role("button", name="block 2")).to_be_visible()
    expect(affinity_page.get_by_role("combobox", name="Block")).to_be_visible()
    assert pictures(affinity_page) != before
