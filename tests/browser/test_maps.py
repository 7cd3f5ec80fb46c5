"""The Maps page as a visitor meets it, in a real Chromium."""

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from analysis.numerals import signed
from dashboard.panels.mapview import FOLDER
from data.images import load_image
from tests.browser.driver import drag_slider, expect_no_exception, map_values, maps, open_page, wait_until_idle
from tests.browser.server import Server


@pytest.fixture
def maps_page(page: Page, server: Server) -> Page:
    """The Maps page of a newcomer, at rest."""
    open_page(page, server.url)
    return page


def test_the_first_picture_appears_without_an_error(maps_page: Page) -> None:
    expect_no_exception(maps_page)
    values = map_values(maps_page)
    assert len({title for _, title in values}) == 8
    assert len(values) == 8 * len({row for row, _ in values})
    pixels = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    assert sum(maps(maps_page).first.locator("canvas").evaluate(pixels)) > 100_000


def test_alpha_changes_the_free_method_and_the_address(maps_page: Page) -> None:
    before = map_values(maps_page)
    maps_page.get_by_role("button", name="custom", exact=True).click()
    drag_slider(maps_page, "alpha", 6)
    wait_until_idle(maps_page)
    expect(maps_page).to_have_url(re.compile(r"custom=vv%2C5%2C1%2C1\.3"))
    wait_until_idle(maps_page)
    after = map_values(maps_page)
    assert {title for (row, title) in before if before[row, title] != after[row, title]} == {"custom"}


def test_a_reload_and_a_pasted_link_show_the_same_view(maps_page: Page, server: Server) -> None:
    maps_page.get_by_role("button", name="custom", exact=True).click()
    drag_slider(maps_page, "residual", -4)
    wait_until_idle(maps_page)
    maps_page.keyboard.press("Escape")
    maps(maps_page).first.click()
    wait_until_idle(maps_page)
    values, address = map_values(maps_page), maps_page.url
    maps_page.reload()
    wait_until_idle(maps_page)
    assert map_values(maps_page) == values
    other = maps_page.context.new_page()
    other.goto(address)
    wait_until_idle(other)
    assert map_values(other) == values
    expect(other.get_by_role("button", name=re.compile("patch row"))).to_be_visible()


def test_hovering_a_patch_shows_its_value_in_every_map(maps_page: Page) -> None:
    notes = maps_page.locator(".note").all_inner_texts()
    assert all(re.match(r"contrast [+−]\d\.\d+\nAUC", note) for note in notes[:8]), notes
    maps(maps_page).first.hover(position={"x": 10, "y": 10})
    assert maps_page.locator(".note").all_inner_texts() == notes
    values = maps_page.locator(".value").all_inner_texts()
    assert len(values) == len(notes) and all(re.fullmatch(r"[+−]0\.0*[1-9]\d\d", value) for value in values), values
    expect(maps_page.locator(".place").first).to_have_text("row 1, column 1")


def test_the_browser_writes_numbers_as_python_does(page: Page) -> None:
    values = [0.2, -0.335, -0.000698, 1234.0, 38.0, 0.0, -3e-9, 9.996, 0.99949, 1e-6]
    script = (FOLDER / "dom.js").read_text(encoding="utf-8")
    written = page.evaluate(f"(values) => {{ {script}; return values.map(signed); }}", values)
    assert written == [signed(value) for value in values]


def test_a_click_and_the_keyboard_choose_a_patch(maps_page: Page) -> None:
    box = maps(maps_page).first.bounding_box()
    maps(maps_page).first.click(position={"x": box["width"] * 5.5 / 14, "y": box["height"] * 7.5 / 14})
    wait_until_idle(maps_page)
    expect(maps_page.get_by_role("button", name=re.compile("patch row 7, column 5"))).to_be_visible()
    focused = "() => document.activeElement.shadowRoot.activeElement.getAttribute('aria-label')"
    tabbable = "nodes => nodes.filter((node) => node.tabIndex === 0).length"
    maps(maps_page).first.focus()
    maps_page.keyboard.press("ArrowRight")
    assert maps_page.evaluate(focused).startswith("Map: MaskCLIP, “a red flower”, contrast")
    maps_page.keyboard.press("ArrowDown")
    assert maps_page.evaluate(focused).startswith("Map: MaskCLIP, “a yellow diamond”")
    assert maps(maps_page).evaluate_all(tabbable) == 1
    for key in ("Enter", "ArrowDown", "ArrowLeft", "Enter"):
        maps_page.keyboard.press(key)
    wait_until_idle(maps_page)
    expect(maps_page.get_by_role("button", name=re.compile("patch row 8, column 4"))).to_be_visible()
    maps_page.get_by_role("button", name=re.compile("patch row 8, column 4")).click()
    wait_until_idle(maps_page)
    expect(maps_page.get_by_role("button", name=re.compile("patch row"))).to_have_count(0)


def test_dragging_the_threshold_hides_and_is_kept(maps_page: Page) -> None:
    plot = maps_page.locator(".plot")
    box = plot.bounding_box()
    maps_page.mouse.move(box["x"] + 3, box["y"] + 20)
    maps_page.mouse.down()
    maps_page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 20, steps=4)
    maps_page.mouse.up()
    wait_until_idle(maps_page)
    expect(maps_page).to_have_url(re.compile("threshold="))
    expect(maps_page.locator(".reading")).to_contain_text("of all values")
    maps_page.get_by_role("button", name="clear", exact=True).click()
    wait_until_idle(maps_page)
    expect(maps_page).not_to_have_url(re.compile("threshold="))


def test_prompts_and_methods_make_the_grid(maps_page: Page) -> None:
    maps_page.get_by_role("textbox", name="Prompts, separated by commas").fill("a red circle, <b>grass</b>")
    maps_page.keyboard.press("Control+Enter")
    wait_until_idle(maps_page)  # what the popover shows must be known though it is opened after another run
    maps_page.get_by_role("button", name="8 methods").click()
    maps_page.get_by_role("button", name="GEM", exact=True).click()
    wait_until_idle(maps_page)
    values = map_values(maps_page)
    assert {row for row, _ in values} == {"“a red circle”", "“<b>grass</b>”"}
    assert "GEM" not in {title for _, title in values} and len(values) == 2 * 7


def test_an_uploaded_photograph_is_shown_and_a_broken_file_is_not(
    maps_page: Page, shared: Path, tmp_path: Path
) -> None:
    photograph = sorted((shared / "data" / "coco_pan200" / "images").iterdir())[0]
    upload = maps_page.locator('[data-testid="stFileUploaderDropzoneInput"]').first
    upload.set_input_files(photograph)
    expect(maps_page).to_have_url(re.compile("image=sha256"), timeout=60_000)
    wait_until_idle(maps_page)
    expect_no_exception(maps_page)
    shown = map_values(maps_page)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image at all")
    upload.set_input_files(broken)
    expect(maps_page.get_by_text("Choose another file")).to_be_visible()
    wait_until_idle(maps_page)
    assert map_values(maps_page) == shown


def test_a_file_of_100_megabytes_is_refused(maps_page: Page, tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    with big.open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)
    shown = map_values(maps_page)
    maps_page.locator('[data-testid="stFileUploaderDropzoneInput"]').first.set_input_files(big)
    expect(maps_page.get_by_role("alert")).to_contain_text("20.0MB or smaller")
    assert map_values(maps_page) == shown


def test_a_link_to_somebody_elses_upload_says_which_image_is_missing(page: Page, server: Server) -> None:
    open_page(page, server.url, image="sha256:" + "0123456789abcdef" * 4, p="grass")
    expect(page.get_by_text("0123456789abcdef…")).to_be_visible()
    expect_no_exception(page)


def test_the_file_that_a_link_asks_for_brings_its_view_back(page: Page, server: Server, tmp_path: Path) -> None:
    tall = tmp_path / "tall.png"
    Image.new("RGB", (120, 240), "red").save(tall)
    asked = load_image(tall).sha256
    open_page(page, server.url, image=f"sha256:{asked}", p="a red circle", region="box:10,20,60,120")
    page.locator('[data-testid="stFileUploaderDropzoneInput"]').first.set_input_files(tall)
    expect(maps(page).first).to_be_visible()
    wait_until_idle(page)
    expect(page).to_have_url(re.compile(r"region=box%3A10%2C20%2C60%2C120"))
    expect(page.get_by_text("AUC").first).to_be_visible()
    expect_no_exception(page)


def test_a_photograph_keeps_its_shape(maps_page: Page, tmp_path: Path) -> None:
    assert shape(maps_page) == pytest.approx(1, abs=0.02)
    tall = tmp_path / "tall.png"
    Image.new("RGB", (120, 240), "red").save(tall)
    maps_page.locator('[data-testid="stFileUploaderDropzoneInput"]').first.set_input_files(tall)
    expect(maps_page).to_have_url(re.compile("image=sha256"))
    wait_until_idle(maps_page)
    assert shape(maps_page) == pytest.approx(0.5, abs=0.02)
    expect(maps_page.get_by_role("button", name="not in the toy's world")).to_be_visible()


def shape(page: Page) -> float:
    """Width over height of the first map."""
    box = maps(page).first.bounding_box()
    return box["width"] / box["height"]


def test_two_visitors_with_different_models_get_their_own_maps(page: Page, server: Server) -> None:
    other = page.context.browser.new_context().new_page()
    page.goto(f"{server.url}/?image=toy-3&p=grass&methods=clip")
    other.goto(f"{server.url}/?image=toy-3&p=grass&methods=clip&model=ViT-S-32-alt&weights=random")
    wait_until_idle(page)
    wait_until_idle(other)
    here, there = map_values(page), map_values(other)
    assert len(here) == len(there) == 1 and here != there
    other.reload()
    wait_until_idle(other)
    assert map_values(other) == there
    other.context.close()


def test_the_first_picture_takes_less_than_two_megabytes(page: Page, server: Server) -> None:
    received: list[int] = []

    def count(socket) -> None:
        socket.on("framereceived", lambda frame: received.append(len(frame)))

    page.on("websocket", count)
    open_page(page, server.url)
    assert 20_000 < sum(received) < 2_000_000


def test_the_case_goes_with_the_visitor_to_other_pages(maps_page: Page) -> None:
    maps_page.get_by_role("button", name="scene 4").click()
    expect(maps_page).to_have_url(re.compile("image=toy-4"))
    maps_page.get_by_test_id("stTopNavLink").nth(1).click()
    expect(maps_page).to_have_url(re.compile(r"/\w+\?.*image=toy-4"))
    wait_until_idle(maps_page)
    expect(maps_page.get_by_text("scene 4", exact=True)).to_be_visible()
    maps_page.get_by_test_id("stTopNavLink").first.click()
    wait_until_idle(maps_page)
    assert maps(maps_page).count() >= 8


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720)])
def test_nothing_runs_out_of_the_window(maps_page: Page, width: int, height: int) -> None:
    maps_page.set_viewport_size({"width": width, "height": height})
    wait_until_idle(maps_page)
    box = maps(maps_page).nth(7).bounding_box()
    assert box["x"] + box["width"] <= width and box["y"] <= 150
    assert maps_page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth")
