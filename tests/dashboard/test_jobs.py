"""Jobs: shared, stopped, and never in anybody's way; the bar and the buttons around them; downloads."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

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


def run_instead(monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    monkeypatch.setattr(downloading, "command", lambda name, tag: [sys.executable, "-c", lines])


def test_a_download_ends_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "import time; time.sleep(0.5)")
    job: Job[None] = Job()
    assert download("ViT-B-32", "openai", 600)(job) is None
    assert job.words == "0 MB of about 600 MB"


def test_a_stopped_download_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "import time; time.sleep(600)")
    started: list[subprocess.Popen] = []

    class Watched(subprocess.Popen):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    job: Job[None] = Job()
    job.stop()
    with pytest.raises(Stopped):
        download("ViT-B-32", "openai", None)(job)
    assert started[0].poll() is not None


def test_a_failed_download_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "import sys; print('a bar', file=sys.stderr); sys.exit('Expected weights, but got none')")
    with pytest.raises(FileNotFoundError, match=r"^Expected weights, but got none$"):
        download("ViT-B-32", "openai", 600)(Job())
