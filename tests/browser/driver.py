"""What browser tests and screenshots share: finding Chromium, opening a page, waiting until it rests.

wait_until_idle(page)                      after every click
map_values(page)                           what the maps show: (row title, column title) -> mean
drag_slider(page, "alpha", 10)             ten steps to the right, through the keyboard
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_MS = 150_000  # the first page waits for PyTorch to be imported
UNREACHED = ("net::ERR_", "Failed to load resource")
OWN_HOSTS = ("127.0.0.1", "localhost")
# Opened at /words, Streamlit asks for its server below that path first, and then at the root.
SEARCH = re.compile(r"/\w+/_stcore/(health|host-config)")

# Remembers when something was sent to the server, and when the script began or ended after that.
WATCH = """() => {
    if (window.watched) return;
    window.watched = true;
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (...data) {
        window.sentAt = performance.now();
        return send.apply(this, data);
    };
    const look = new MutationObserver(() => { window.ranAt = performance.now(); });
    look.observe(document.querySelector('[data-testid="stApp"]'), { attributeFilter: ['data-test-script-state'] });
}"""
IS_IDLE = """() => {
    const now = performance.now();
    const app = document.querySelector('[data-testid="stApp"]');
    const all = (name) => [...document.querySelectorAll(`[data-testid="${name}"]`)];
    const busy = all('stSpinner').length || all('stAppSkeleton').length || all('stSkeleton').length
        || document.querySelector('[data-stale="true"]');
    const titled = document.querySelector('[data-testid="stMain"] [data-testid="stHeading"]');
    const filled = (node) => node.shadowRoot?.querySelector('button, canvas, img, [data-drawn]');
    const drawn = all('stBidiComponentIsolated').every(filled)
        && all('stPlotlyChart').every((node) => node.querySelector('.main-svg'));
    const answered = !(window.sentAt > (window.ranAt ?? 0)) || now - window.sentAt > 3000;
    const idle = app?.dataset.testScriptState === 'notRunning'
        && app?.dataset.testConnectionState === 'CONNECTED' && titled && drawn && !busy && answered;
    if (!idle) window.idleSince = undefined;
    else window.idleSince ??= now;
    return idle && now - window.idleSince > 350;
}"""


def find_chromium() -> str | None:
    """The path of a Chromium on this machine."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()


def watch_console(page: Page) -> list[str]:
    """Collects what the page reports as errors, from now on."""
    problems: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and not is_harmless(message.text, message.location["url"]):
            problems.append(f"{message.text} ({message.location['url']})")

    page.on("console", heard)
    page.on("pageerror", lambda error: problems.append(str(error)))
    return problems


def is_harmless(text: str, url: str) -> bool:
    """Whether an error is no fault of ours: fonts and maps of the web that a machine without a network cannot reach.

    Args:
        text: what the console says.
        url: what could not be loaded, or the script that says so.
    """
    where = urlsplit(url)
    elsewhere = where.hostname not in (None, *OWN_HOSTS) or SEARCH.fullmatch(where.path)
    return bool(elsewhere) and any(word in text for word in UNREACHED)


def open_page(page: Page, url: str, path: str = "", **query: str | list[str]) -> None:
    """Opens a page of the dashboard and waits until it rests.

    Args:
        page: of Playwright.
        url: of the server.
        path: file name of the page, "" for the first one.
        query: parameters of the address, as in `dashboard.address`.
    """
    address = f"{url}/{path}"
    page.goto(f"{address}?{urlencode(query, doseq=True)}" if query else address)
    wait_until_idle(page)


def wait_until_idle(page: Page) -> None:
    """Waits until the server has run the script and the browser has drawn what came back, and stays so for a moment.

    A page without a title has not begun; a component or chart without content is still being drawn; what was sent to
    the server is answered by a run of the script, but for what Streamlit sends on its own.
    """
    page.wait_for_selector('[data-testid="stApp"]', timeout=WAIT_MS)
    page.evaluate(WATCH)
    page.wait_for_function(IS_IDLE, timeout=WAIT_MS)
    page.evaluate("window.idleSince = undefined")


def expect_no_exception(page: Page) -> None:
    """No defect and no error message on the page."""
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)


def maps(page: Page) -> Locator:
    """All maps on the page."""
    return page.locator('[data-testid="map"]')


def map_values(page: Page) -> dict[tuple[str, str], float]:
    """Mean of every map, by the titles of its row and column."""
    found = maps(page).evaluate_all("nodes => nodes.map(n => [n.dataset.row, n.dataset.title, Number(n.dataset.mean)])")
    return {(row, title): mean for row, title, mean in found}


def drag_slider(page: Page, label: str, steps: int) -> None:
    """Moves a slider by steps through the keyboard; negative ones to the left."""
    thumb = page.get_by_role("slider", name=label)
    thumb.focus()
    for _ in range(abs(steps)):
        thumb.press("ArrowRight" if steps > 0 else "ArrowLeft")


def screenshot(page: Page, path: Path) -> None:
    """A picture of the window, as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path), type="jpeg", quality=82)
