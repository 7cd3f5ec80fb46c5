"""One server and one browser for all browser tests; a fresh page for each, whose console must stay clean."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.driver import WAIT_MS, find_chromium, running_browser, watch_console
from tests.browser.server import Server, running_server

expect.set_options(timeout=60_000)  # a busy machine is slow, not wrong
WINDOW = {"width": 1440, "height": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test."""
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; skips where there is none, except in CI."""
    if find_chromium() is None:
        message = "no Chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with running_browser() as found:
        yield found


@pytest.fixture(scope="session")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The dashboard, started once; its log must stay free of errors."""
    with running_server(tmp_path_factory.mktemp("server") / "log.txt") as started:
        yield started
        assert started.errors() == []


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a new visitor; fails where the browser's console reports an error."""
    context = browser.new_context(viewport=WINDOW)
    context.set_default_timeout(WAIT_MS)
    fresh = context.new_page()
    problems = watch_console(fresh)
    yield fresh
    context.close()
    assert problems == []
