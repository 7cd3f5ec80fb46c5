"""The Words page in a real Chromium."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.driver import expect_no_exception, map_values, maps, open_page, wait_until_idle
from tests.browser.server import Server
from tests.browser.test_narrow import expect_nothing_cut

CHOSEN = '[data-testid="word"][aria-pressed="true"]'


def words(page: Page) -> Locator:
    """The words of the caption, start and end token included."""
    return page.locator('[data-testid="word"]')


def first_row(page: Page) -> str:
    """What leaving out says of every word."""
    return page.locator(".scroll tbody tr").first.inner_text()


def test_words_measures_and_patches_are_linked_in_one_window(page: Page, server: Server) -> None:
    open_page(page, server.url, "words", image="toy-2")
    expect_no_exception(page)
    for window in ({"width": 1280, "height": 720}, {"width": 1440, "height": 900}):
        page.set_viewport_size(window)
        page.wait_for_function("width => innerWidth === width", arg=window["width"])
        wait_until_idle(page)
        parts = [page.locator(".scroll"), page.locator(".agreement"), page.locator(".pairs"), *maps(page).all()]
        assert len(parts) == 3 + 8
        for box in (part.bounding_box() for part in parts):
            assert box["x"] >= 0 and box["x"] + box["width"] <= window["width"] and box["width"] >= 60
            assert box["y"] >= 0 and box["y"] + box["height"] <= window["height"]
    before, name = map_values(page), page.locator(CHOSEN).inner_text()
    page.locator('[data-testid="word"][aria-pressed="false"]').nth(3).click()
    expect(page).to_have_url(re.compile(r"word=\d"))
    wait_until_idle(page)
    assert page.locator(CHOSEN).inner_text() != name and map_values(page) != before
    shades = first_row(page)
    maps(page).first.hover(position={"x": 20, "y": 20})
    expect(page.locator(".board .place")).to_have_text(re.compile(r"row 2, column 2|row 1, column 1"))
    assert first_row(page) != shades
    page.locator(".pairs .body").click(position={"x": 5, "y": 5})
    wait_until_idle(page)
    expect(page.get_by_role("button", name=re.compile("patch row"))).to_be_visible()
    page.get_by_role("button", name="6 exCLIP").click()
    expect(page.locator(".pairs h2")).to_have_text("exCLIP: words against patches")
    expect_no_exception(page)


def test_words_are_reached_by_keyboard_and_markup_stays_text(page: Page, server: Server) -> None:
    open_page(page, server.url, "words", image="toy-2", caption="<img src=x onerror=alert(1)> *grass*")
    expect_no_exception(page)
    assert page.locator("img[src=x]").count() == 0
    words(page).first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    expect(words(page).nth(1)).to_have_attribute("aria-pressed", "true")
    expect(words(page).nth(1)).to_have_text("<")
    page.set_viewport_size({"width": 900, "height": 800})
    page.wait_for_function("innerWidth === 900")
    wait_until_idle(page)
    expect_nothing_cut(page)
