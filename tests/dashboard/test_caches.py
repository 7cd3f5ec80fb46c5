"""Shared results: computed once whoever asks, let go when there are too many, taken over from one who was stopped."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard import jobs
from dashboard.caches import SharedCache, cached
from dashboard.jobs import Stopped, start

WAIT_S = 20


def counting(**limits):
    calls = []

    def double(value, _unseen=None):
        calls.append(value)
        return 2 * value

    return SharedCache(double, **{"max_entries": 2, **limits}), calls


def test_the_oldest_is_let_go_and_arguments_with_an_underscore_do_not_count() -> None:
    double, calls = counting()
    assert [double(1, "a"), double(2, None), double(1, "b"), double(3, None), double(1, None)] == [2, 4, 2, 6, 2]
    assert calls == [1, 2, 3]
    double(2, None)
    assert calls == [1, 2, 3, 2]
    double.clear()
    double(2, None)
    assert calls[-2:] == [2, 2]


def test_what_weighs_too_much_together_is_let_go_but_for_the_newest() -> None:
    heavy, calls = counting(max_entries=9, weigh=lambda value: value, max_bytes=lambda: 10)
    for value in (1, 2, 1, 3, 1, 9, 9, 1):
        heavy(value, None)
    assert calls == [1, 2, 3, 9, 1]


def test_errors_are_not_kept() -> None:
    answers = iter([ValueError("Expected more"), 5])

    @cached(max_entries=1)
    def answer(key):
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    with pytest.raises(ValueError, match="Expected more"):
        answer("a")
    assert answer("a") == answer("a") == 5


def test_threads_share_one_computation() -> None:
    calls, go_on = [], threading.Event()

    @cached(max_entries=1)
    def slow(key):
        calls.append(key)
        go_on.wait(WAIT_S)
        return object()

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(slow, "a") for _ in range(4)]
        while not calls:
            time.sleep(0.005)
        go_on.set()
        assert len({id(one.result()) for one in asked}) == 1 and calls == ["a"]


def test_whoever_waits_takes_over_from_one_who_was_stopped() -> None:
    calls, go_on = [], threading.Event()

    @cached(max_entries=1)
    def slow(key):
        calls.append(threading.current_thread())
        if len(calls) == 1:
            go_on.wait(WAIT_S)
        jobs.report()
        return "found"

    first = start("first of two", lambda job: slow("a"))
    while not calls:
        time.sleep(0.005)
    second = start("second of two", lambda job: slow("a"))
    first.stop()
    go_on.set()
    with pytest.raises(Stopped):
        first.result()
    assert second.result() == "found" and len(calls) == 2
