"""Photographs every page of the navigation: `python -m tests.browser.screenshots [FOLDER] [PAGE ...]`."""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from dashboard.pages import PAGES
from tests.browser.driver import (
    expect_no_exception,
    find_chromium,
    open_page,
    running_browser,
    screenshot,
    wait_until_idle,
)
from tests.browser.server import ROOT, running_server

FOLDER = ROOT / "docs" / "screenshots"
WINDOWS = ((1440, 900), (1280, 720))
SETTLE_MS = 800  # plots animate


def photograph(browser: Browser, url: str, file: str, folder: Path, scheme: str = "light") -> list[Path]:
    """Pictures of one page in every window.

    Args:
        browser: of Playwright.
        url: of the server.
        file: of the page, as in `dashboard.pages.PAGES`.
        folder: where the pictures go.
        scheme: "light" or "dark".
    """
    taken = []
    for width, height in WINDOWS:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        open_page(page, url, "" if file == PAGES[0].name else file)
        if file == "study":  # which shows nothing before one is begun
            page.get_by_role("button", name=re.compile("^Study it with")).click()
            wait_until_idle(page)
            page.mouse.move(width - 4, height - 4)  # off the button, whose help would cover the page
        page.wait_for_timeout(SETTLE_MS)
        expect_no_exception(page)
        suffix = "" if scheme == "light" else f"-{scheme}"
        taken.append(folder / f"{file}-{width}x{height}{suffix}.jpg")
        screenshot(page, taken[-1])
        context.close()
    return taken


def main() -> None:
    """Takes all pictures and prints where they are."""
    if find_chromium() is None:
        raise SystemExit("Expected Chromium on this machine (Debian: apt-get install chromium), but found none")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    wanted = sys.argv[2:] or [page.name for page in PAGES]
    with tempfile.TemporaryDirectory() as logs, running_server(Path(logs) / "log.txt") as server:
        with running_browser() as browser:
            for file in wanted:
                for path in photograph(browser, server.url, file, folder):
                    print(path)
            print(*photograph(browser, server.url, wanted[0], folder, scheme="dark"), sep="\n")


if __name__ == "__main__":
    main()
