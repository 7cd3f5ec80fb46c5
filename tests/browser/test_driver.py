"""What the tests of the pages rely on: an error on the page is heard."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.driver import watch_console
from tests.browser.server import Server

Heard = tuple[Page, list[str]]
FETCH = "(url) => fetch(url, { mode: 'no-cors' }).then((answer) => answer.status, (error) => error.message)"


@pytest.fixture
def heard(browser: Browser, server: Server) -> Iterator[Heard]:
    """A page on our server and what is heard from it."""
    context = browser.new_context(bypass_csp=True)  # which would forbid other hosts by itself
    page = context.new_page()
    page.goto(f"{server.url}/_stcore/health")
    problems = watch_console(page)
    yield page, problems
    context.close()


def fetch(page: Page, url: str) -> None:
    """A request, and a log after it, so that what the console says of it has been heard."""
    page.evaluate(FETCH, url)
    with page.expect_console_message(lambda message: message.text == "after"):
        page.evaluate("setTimeout(() => console.log('after'), 200)")


def test_a_host_that_cannot_be_reached_is_no_error(heard: Heard) -> None:
    page, problems = heard
    fetch(page, "http://nowhere.invalid/font.woff2")
    assert problems == []


def test_a_file_that_our_server_does_not_have_is_an_error(heard: Heard, server: Server) -> None:
    page, problems = heard
    fetch(page, f"{server.url}/media/nothing.png")
    assert len(problems) == 1 and "404" in problems[0] and "/media/nothing.png" in problems[0]


def test_a_server_of_ours_that_does_not_answer_is_an_error(heard: Heard) -> None:
    page, problems = heard
    fetch(page, "http://127.0.0.1:9/")
    assert len(problems) == 1 and "net::ERR_" in problems[0]


def test_an_exception_of_a_script_is_an_error(heard: Heard) -> None:
    page, problems = heard
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('mine'); })")
    assert problems == ["mine"]
