"""Lanes: small work does not wait for large work, visitors come in turn, and who is stopped leaves the queue."""

import os
import sys
import threading
import time

import pytest

from dashboard import jobs
from dashboard.jobs import Stopped, start
from dashboard.turns import HEAVY, LIGHT, NICE, Lane, Turn

WAIT_S = 20


def until(condition) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def work_in(lane: Lane, visitor: str, order: list[str], go_on: threading.Event | None = None):
    def work(job) -> None:
        with Turn(lane, visitor):
            order.append(visitor)
            if go_on is not None:
                go_on.wait(WAIT_S)

    return work


def test_visitors_come_in_turn_whoever_asks_most() -> None:
    lane, order, go_on = Lane("test"), [], threading.Event()
    running = [start("t0", work_in(lane, "greedy", order, go_on))]
    until(lambda: order == ["greedy"])
    for index in range(1, 4):
        running.append(start(f"t{index}", work_in(lane, "greedy", order)))
        until(lambda index=index: len(lane.waiting) == index)
    running.append(start("t9", work_in(lane, "modest", order)))
    until(lambda: len(lane.waiting) == 4)
    until(lambda: running[-1].words == "place 1 in the queue" and running[3].words == "place 4 in the queue")
    go_on.set()
    assert all(job.wait(WAIT_S) for job in running)
    assert order == ["greedy", "modest", "greedy", "greedy", "greedy"]


def test_lanes_do_not_wait_for_each_other() -> None:
    light, heavy, order, go_on = Lane("light"), Lane("heavy"), [], threading.Event()
    large = start("large", work_in(heavy, "a", order, go_on))
    until(lambda: order == ["a"])
    small = start("small", work_in(light, "b", order))
    assert small.wait(WAIT_S) and not large.wait(0)
    go_on.set()
    assert large.wait(WAIT_S)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_large_work_gives_way_to_small_work() -> None:
    def priority(lane: Lane) -> int:
        with Turn(lane, "a"):
            return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    found = {lane.name: start(lane.name, lambda job, lane=lane: priority(lane)).result() for lane in (LIGHT, HEAVY)}
    assert found == {"light": ours, "heavy": NICE}
    assert priority(HEAVY) == ours  # a thread that is no job serves others afterwards


def test_a_turn_may_be_taken_inside_of_itself() -> None:
    lane = Lane("test")
    with Turn(lane, "a"), Turn(lane, "a"), Turn(Lane("other"), "a"):
        assert lane.running is not None
    assert lane.running is None


def test_who_is_stopped_leaves_the_queue() -> None:
    lane, order, go_on = Lane("test"), [], threading.Event()
    first = start("first", work_in(lane, "a", order, go_on))
    until(lambda: order == ["a"])
    second = start("second", work_in(lane, "b", order))
    until(lambda: len(lane.waiting) == 1)
    second.stop()
    with pytest.raises(Stopped):
        second.result()
    assert not lane.waiting
    go_on.set()
    assert first.wait(WAIT_S) and order == ["a"] and lane.running is None


def test_a_job_ends_when_all_who_waited_have_left() -> None:
    steps, go_on = [], threading.Event()

    def work(job) -> None:
        go_on.wait(WAIT_S)
        for index in range(3):
            jobs.report(index / 3)
            steps.append(index)

    job = start("shared", work)
    job.wait(0, "a")
    job.wait(0, "b")
    job.leave("a")
    assert not job.ending and job.left_by("a") and not job.left_by("b")
    job.leave("b")
    assert job.ending
    assert start("shared", lambda job: "anew") is not job  # one who comes now does not join what ends
    go_on.set()
    with pytest.raises(Stopped):
        job.result()
    assert steps == []


@pytest.mark.parametrize(("patient", "here", "ends"), [(False, True, True), (True, True, False), (True, False, True)])
def test_nobody_waits_for_an_abandoned_job(patient: bool, here: bool, ends: bool, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "is_here", lambda visitor: here)
    go_on = threading.Event()

    def work(job) -> str:
        go_on.wait(WAIT_S)
        time.sleep(0.05)
        job.check()
        return "done"

    job = start(f"abandoned {patient} {here}", work, patient=patient, grace_s=0.0)
    job.wait(0, "a")
    go_on.set()
    if ends:
        with pytest.raises(Stopped):
            job.result()
    else:
        assert job.result() == "done"


def test_work_that_nobody_watches_goes_on() -> None:
    assert start("unwatched", lambda job: job.check() or "done").result() == "done"
