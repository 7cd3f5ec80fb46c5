"""Nothing that was seen is lost: reload with an upload, pasted links, undo and redo, Back and Forward."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import WINDOW
from tests.browser.driver import expect_no_exception, map_values, maps, open_page, wait_until_idle
from tests.browser.server import Server

UPLOADER = '[data-testid="stFileUploaderDropzoneInput"]'


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A photograph that nobody else has."""
    path = tmp_path / "mine.png"
    Image.fromarray(np.random.default_rng().integers(0, 256, (60, 80, 3), np.uint8)).save(path)
    return path


def _upload(page: Page, server: Server, picture: Path) -> None:
    open_page(page, server.url)
    page.locator(UPLOADER).first.set_input_files(picture)
    expect(page).to_have_url(re.compile("image=sha256"), timeout=60_000)
    wait_until_idle(page)


def _rows(page: Page) -> set[str]:
    return {row for row, _ in map_values(page) if row}


def test_an_upload_survives_a_reload_and_its_link_works_until_it_is_deleted(
    page: Page, server: Server, picture: Path, browser: Browser
) -> None:
    _upload(page, server, picture)
    values, address = map_values(page), page.url
    page.reload()
    wait_until_idle(page)
    assert map_values(page) == values
    expect(page.get_by_text("mine.png", exact=True)).to_be_visible()
    other = page.context.new_page()
    other.goto(address)
    wait_until_idle(other)
    assert map_values(other) == values
    other.get_by_role("button", name="Delete my uploads").click()
    wait_until_idle(other)
    expect_no_exception(other)
    stranger = browser.new_context(viewport=WINDOW).new_page()
    stranger.goto(address)
    wait_until_idle(stranger)
    expect(stranger.get_by_text("an uploaded image that is not here")).to_be_visible()
    stranger.context.close()


def test_two_visitors_never_see_each_others_uploads_and_a_guessed_hash_gives_nothing(
    page: Page, server: Server, picture: Path, browser: Browser
) -> None:
    _upload(page, server, picture)
    stranger = browser.new_context(viewport=WINDOW).new_page()
    open_page(stranger, server.url)
    expect(stranger.get_by_text("mine.png")).to_have_count(0)
    expect(stranger.get_by_role("button", name="Delete my uploads")).to_have_count(0)
    digest = re.search("image=sha256%3A([0-9a-f]{64})", page.url)[1]
    for guess in (digest[:-1], digest[:-1] + ("0" if digest[-1] != "0" else "1"), "../" + digest, "*"):
        open_page(stranger, server.url, image=f"sha256:{guess}")
        expect(stranger.get_by_test_id("stMain")).to_contain_text(re.compile("that is not here|cannot exist"))
        assert not map_values(stranger)
    stranger.context.close()


def test_a_removed_prompt_comes_back_by_button_and_by_keyboard(page: Page, server: Server) -> None:
    open_page(page, server.url, image="toy-1")
    before = _rows(page)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.get_by_role("button", name=re.compile("^“.*✕$")).first.click()
    wait_until_idle(page)
    fewer = _rows(page)
    assert fewer < before
    page.get_by_role("button", name="Undo").click()
    wait_until_idle(page)
    assert _rows(page) == before
    page.get_by_role("button", name="Redo").click()
    wait_until_idle(page)
    assert _rows(page) == fewer
    page.keyboard.press("Control+z")
    wait_until_idle(page)
    assert _rows(page) == before
    page.keyboard.press("Control+y")
    wait_until_idle(page)
    assert _rows(page) == fewer


def test_back_and_forward_go_to_the_views_that_were_seen(page: Page, server: Server) -> None:
    open_page(page, server.url, image="toy-1")
    seen = [(page.url, map_values(page))]
    for scene in ("scene 4", "scene 2"):
        page.get_by_role("button", name=scene, exact=True).click()
        wait_until_idle(page)
        seen.append((page.url, map_values(page)))
    maps(page).first.click()
    wait_until_idle(page)
    for address, values in reversed(seen):
        page.go_back()
        page.wait_for_url(address)
        wait_until_idle(page)
        assert (page.url, map_values(page)) == (address, values)
    page.go_forward()
    page.wait_for_url(seen[1][0])
    wait_until_idle(page)
    assert map_values(page) == seen[1][1]


def test_typed_prompts_stay_when_another_scene_is_chosen(page: Page, server: Server) -> None:
    open_page(page, server.url, image="toy-1")
    page.get_by_role("textbox", name="Prompts, separated by commas").fill("a red circle, water")
    page.keyboard.press("Control+Enter")
    wait_until_idle(page)
    page.get_by_role("button", name="scene 4", exact=True).click()
    wait_until_idle(page)
    assert _rows(page) == {"“a red circle”", "“water”"}


def test_a_mask_of_another_size_is_refused_where_it_is_brought(page: Page, server: Server, tmp_path: Path) -> None:
    open_page(page, server.url, image="toy-1")
    before = page.url
    path = tmp_path / "mask.png"
    Image.fromarray(np.eye(50, 40, dtype=np.uint8) * 255).save(path)
    page.get_by_text("Upload a mask").click()
    page.locator(UPLOADER).nth(1).set_input_files(path)
    expect(page.get_by_test_id("stSidebar")).to_contain_text(
        re.compile(r"as large as the image, \d+ × \d+ pixels; here it is 40 × 50"), timeout=60_000
    )
    wait_until_idle(page)
    assert page.url == before
