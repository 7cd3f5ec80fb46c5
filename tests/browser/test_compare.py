"""The drawer and Compare: two prompts on one image, two models, hover in all maps; the file of pins goes and comes."""

import re
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Page, expect

from tests.browser.driver import expect_no_exception, map_values, maps, open_page, wait_until_idle
from tests.browser.server import Server

RANDOM = urlencode({"model": "ViT-S-32-alt", "weights": "random"})
FILE = '[data-testid="stPopoverBody"] [data-testid="stFileUploaderDropzoneInput"]'


def _press(page: Page, name: str | re.Pattern) -> None:
    page.get_by_role("button", name=name).last.click()
    wait_until_idle(page)


def _pin_map(page: Page, place: int) -> None:
    maps(page).nth(place).hover()
    maps(page).nth(place).get_by_role("button", name=re.compile("^pin")).click()
    wait_until_idle(page)


def test_two_prompts_then_two_models_are_compared_and_the_drawer_comes_back(
    page: Page, server: Server, tmp_path: Path
) -> None:
    open_page(page, server.url, image="toy-1", methods="clip")
    _pin_map(page, 0)
    _pin_map(page, 1)
    seen = list(map_values(page).values())[:2]
    page.get_by_role("link", name="Compare").first.click()
    wait_until_idle(page)
    expect(page.get_by_role("heading", name=re.compile("^Same image and model; prompt"))).to_be_visible()
    shown = list(map_values(page).values())
    assert shown[:2] == seen and abs(shown[2] - (seen[0] - seen[1])) < 1e-4
    box = maps(page).first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
    places = maps(page).locator(".marker.hover").evaluate_all("nodes => nodes.map((n) => n.style.left + n.style.top)")
    assert len(places) == 3 and len(set(places)) == 1 and places[0]

    page.goto(f"{page.url.replace('/compare', '/')}&{RANDOM}")
    wait_until_idle(page)
    _press(page, "pins")
    _press(page, "Pin this view")
    page.get_by_role("textbox", name="name of pin 3").fill("untrained")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    page.get_by_role("button", name="B", exact=True).nth(2).click()
    wait_until_idle(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a file").click()
    saved.value.save_as(tmp_path / "pins.json")
    _press(page, "Clear the drawer")
    assert "pin=" not in page.url
    page.locator(FILE).set_input_files(tmp_path / "pins.json")
    expect(page).to_have_url(re.compile("untrained"))
    wait_until_idle(page)
    page.get_by_role("button", name="B", exact=True).nth(2).click()
    wait_until_idle(page)
    page.get_by_role("link", name="Compare").last.click()
    wait_until_idle(page)
    heading = "Same image and prompt; model toy against ViT-S-32-alt with random weights; .*method CLIP"
    expect(page.get_by_role("heading", name=re.compile(f"^{heading}"))).to_be_visible()
    values = map_values(page)
    assert len(values) == 2  # the grids differ, and so there is no A - B
    expect(page.get_by_text(re.compile("A − B has no grid"))).to_be_visible()
    page.reload()
    wait_until_idle(page)
    assert map_values(page) == values
    expect_no_exception(page)
