"""Masks on the Maps page in a real Chromium."""

import re

from playwright.sync_api import Page, expect

from tests.browser.driver import expect_no_exception, open_page, wait_until_idle
from tests.browser.server import Server


def test_points_are_set_a_candidate_chosen_and_the_mask_becomes_the_region(page: Page, server: Server) -> None:
    region = {"region": "object:a green ring", "maps.masks": "1", "method": "clip_surgery"}
    open_page(page, server.url, image="toy-3", **region)
    expect_no_exception(page)
    candidates, picture = page.locator('[data-testid="candidate"]'), page.locator(".masks .picture")
    expect(candidates).to_have_count(3)
    expect(candidates.first).to_contain_text("IoU with the region")
    candidates.nth(1).click()
    wait_until_idle(page)
    expect(candidates.nth(1)).to_have_attribute("aria-pressed", "true")
    picture.click(position={"x": 30, "y": 30})
    wait_until_idle(page)
    picture.focus()
    page.get_by_role("button", name="− point").click()
    picture.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"mask_points=\d+\.\d+\.1%2C\d+\.\d+\.0"))
    wait_until_idle(page)
    page.get_by_role("button", name="take it as the region").click()
    wait_until_idle(page)
    expect(page).to_have_url(re.compile("region=mask%3A[0-9a-f]{64}"))
    page.reload()
    wait_until_idle(page)
    expect(candidates.first).to_contain_text("IoU with the region 1.00")
    expect_no_exception(page)
