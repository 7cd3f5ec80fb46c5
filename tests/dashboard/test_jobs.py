"""Jobs: shared, stopped, and never in anybody's way; the bar and the buttons around them; downloads."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import download as downloading
from dashboard.download import download
from dashboard.jobs import Job, Stopped, is_running, locked, start

WAIT_S = 20


def test_two_who_ask_for_the_same_share_a_job() -> None:
    begun, go_on = [], threading.Event()

    def work(job: Job[str]) -> str:
        begun.append(job)
        go_on.wait(WAIT_S)
        return "found"

    first, second = start("a key", work), start("a key", work)
    other = start("another key", work)
    assert first is second and other is not first and is_running("a key")
    go_on.set()
    assert first.wait(WAIT_S) and other.wait(WAIT_S)
    assert first.result() == "found" and len(begun) == 2
    ended(first, "a key")
    assert start("a key", lambda job: "anew").result() == "anew"


def ended(job: Job, key: str) -> None:
    assert job.wait(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while is_running(key) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(key)


def test_a_stopped_job_ends_at_its_next_report() -> None:
    seen, go_on = [], threading.Event()

    def work(job: Job[None]) -> None:
        for index in range(100):
            seen.append(index)
            job.report(index / 100, f"{index} of 100")
            go_on.wait(WAIT_S)

    job = start("stopped", work)
    while not job.words:
        time.sleep(0.01)
    job.stop()
    go_on.set()
    ended(job, "stopped")
    with pytest.raises(Stopped):
        job.result()
    assert seen == [0, 1] and job.words == "0 of 100"


def test_what_work_raises_reaches_those_who_wait() -> None:
    def work(job: Job[None]) -> None:
        raise ValueError("Expected more")

    job = start("failing", work)
    ended(job, "failing")
    with pytest.raises(ValueError, match="Expected more"):
        job.result()


def test_between_the_steps_others_have_the_lock() -> None:
    lock, seen = threading.Lock(), []

    def steps() -> Iterator[int]:
        for index in range(3):
            seen.append(lock.locked())
            yield index

    for _ in locked(lock, steps()):
        seen.append(lock.locked())
    assert seen == [True, False] * 3


STARTS: list[float] = []


def slow_work(job: Job[int]) -> int:
    STARTS.append(time.monotonic())
    for index in range(10):
        job.report(index / 10, f"{index} of 10")
        time.sleep(0.06)
    return 77


def page() -> None:
    import streamlit as st

    from dashboard.panels.work import work_through
    from tests.dashboard.test_jobs import slow_work

    st.text(f"found {work_through('the key', 'Counting', slow_work)}")


def test_a_page_stops_and_starts_again_and_keeps_the_result() -> None:
    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["stopped: Counting"] = "the key"
    app.run()
    assert app.text[0].value == "found None" and app.markdown[0].value == "Counting: stopped."
    assert STARTS == []
    app.button[0].click().run()
    assert not app.exception and app.text[0].value == "found 77" and len(STARTS) == 1
    assert AppTest.from_function(page, default_timeout=60).run().text[0].value == "found 77" and len(STARTS) == 1


@pytest.mark.parametrize(
    ("step", "shown"),
    [
        (("asking huggingface.co", 0, None, 600), (0.0, "asking huggingface.co")),
        (("downloading", 12_000_000, 48_000_000, 600), (0.25, "12 MB of 48 MB")),
        (("downloading", 12_000_000, None, 600), (0.02, "12 MB of about 600 MB")),
        (("downloading", 12_000_000, None, None), (0.0, "12 MB of an unknown size")),
        (("downloading", 9, 9, None), (0.99, "0 MB of 0 MB")),
        (("checking", 9, 9, None), (0.99, "checking")),
    ],
)
def test_a_download_says_how_far_it_is(step: tuple, shown: tuple) -> None:
    assert downloading.progress(*step) == shown


def test_a_stopped_download_ends_at_the_next_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def fetch(name: str, tag: str, report: Callable) -> None:
        for done in range(100):
            told.append(f"{name} {tag} {done}")
            report("downloading", done, 100)

    monkeypatch.setattr(downloading, "download_weights", fetch)
    job: Job[None] = Job()
    download("ViT-B-32", "openai", 600)(job)
    assert told[-1] == "ViT-B-32 openai 99" and job.words == "0 MB of 0 MB"
    told.clear()
    job.stop()
    with pytest.raises(Stopped):
        download("ViT-B-32", "openai", None)(job)
    assert told == ["ViT-B-32 openai 0"]
