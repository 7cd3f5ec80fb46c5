"""The Words page in a real Chromium."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.driver import expect_no_exception, map_values, maps, open_page, wait_until_idle
from tests.browser.server import Server


def words(page: Page) -> Locator:
    """The words of the caption, start and end token included."""
    return page.locator('[data-testid="word"]')


def test_a_word_has_its_map_and_a_patch_its_words(page: Page, server: Server) -> None:
    open_page(page, server.url, "words", image="toy-2")
    expect_no_exception(page)
    expect(words(page).first).to_be_disabled()  # the start token cannot be left out
    chosen = page.locator('[data-testid="word"][aria-pressed="true"]')
    before, name = map_values(page), chosen.locator("span").inner_text()
    other = page.locator('[data-testid="word"][aria-pressed="false"]:enabled').last
    other_name = other.locator("span").inner_text()
    other.click()
    wait_until_idle(page)
    assert other_name != name and chosen.locator("span").inner_text() == other_name
    assert map_values(page) != before
    expect(page).to_have_url(re.compile(r"word=\d+"))
    shades = words(page).locator("small").all_inner_texts()
    maps(page).first.click(position={"x": 20, "y": 20})
    wait_until_idle(page)
    expect(page.get_by_role("button", name=re.compile("patch row 1, column 1"))).to_be_visible()
    assert words(page).locator("small").all_inner_texts() != shades
    expect_no_exception(page)


def test_words_are_reached_by_keyboard_and_markup_stays_text(page: Page, server: Server) -> None:
    open_page(
        page,
        server.url,
        "words",
        image="toy-2",
        caption="<img src=x onerror=alert(1)> *grass*",
        **{"words.measure": "cosine"},
    )
    expect_no_exception(page)
    assert page.locator("img[src=x]").count() == 0
    expect(words(page).first.locator("span")).to_have_text("[start]")
    words(page).first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    expect(words(page).nth(1)).to_have_attribute("aria-pressed", "true")
    expect(words(page).nth(1).locator("span")).to_have_text("<")
