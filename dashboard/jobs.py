"""Long work in threads of its own: one job a key, shared by all visitors who ask for it, with progress and a way out.

    def work(job):
        for index, part in enumerate(parts, start=1):
            ...
            job.report(index / len(parts), f"{index} of {len(parts)}")      # ends here once the job is stopped
        return result

    job = start(key, work)
    while not job.wait(0.1, visitor):
        show(job.share, job.words)
    result = job.result()

A job ends at its next report when all who waited for it have left: pressed Stop, closed the page, or, where it is not
`patient`, no longer ask for it. What runs inside a job may call `report` of this module without knowing it.

No Streamlit here; `panels.work` shows a job on a page. Work runs outside of any session: it closes over what it needs.
"""

import atexit
import gc
import importlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


GRACE_S = 3.0
"""For so long after somebody last waited for it a job goes on: pages are drawn anew, connections come back."""


class Stopped(Exception):
    """Raised in work that was stopped, and by `Job.result` then."""


class Job(Generic[T]):
    """Work under way.

    Attributes:
        number: no other job of this process has it.
        share: how much is done, from 0 to 1.
        words: the same in words.
        started: when, by `time.monotonic`.
        patient: whether it goes on for a visitor who is here but looks at something else.
        grace_s: for how long it goes on with nobody there.
    """

    def __init__(self, patient: bool = True, grace_s: float = GRACE_S) -> None:
        self.number = next(_numbers)
        self.share = 0.0
        self.words = ""
        self.started = time.monotonic()
        self.patient = patient
        self.grace_s = grace_s
        self._seen: dict[str, float] = {}
        self._left: set[str] = set()
        self._stop = threading.Event()
        self._future: Future[T] = Future()

    def report(self, share: float, words: str = "") -> None:
        """Called by the work after each step.

        Raises:
            Stopped: the job is to end here.
        """
        self.check()
        self.share, self.words = share, words

    def check(self) -> None:
        """Called by work between steps that are no news.

        Raises:
            Stopped: the job is to end here.
        """
        if self._stop.is_set() or self._abandoned():
            self._stop.set()
            raise Stopped

    def leave(self, visitor: str) -> None:
        """This visitor no longer waits; the job ends at its next report when nobody does."""
        self._seen.pop(visitor, None)
        self._left.add(visitor)
        if not self._seen:
            self.stop()

    def left_by(self, visitor: str) -> bool:
        """Whether this visitor has left."""
        return visitor in self._left

    @property
    def ending(self) -> bool:
        """Whether the job was told to end."""
        return self._stop.is_set()

    def _abandoned(self) -> bool:
        """Whether some have waited for this job and all of them are gone."""
        late = time.monotonic() - self.grace_s
        return bool(self._seen) and not any(
            seen > late or (self.patient and is_here(visitor)) for visitor, seen in list(self._seen.items())
        )

    def stop(self) -> None:
        """Ends the work at its next report; work that never reports runs on unseen."""
        self._stop.set()

    def wait(self, seconds: float, visitor: str = "") -> bool:
        """Whether the work has ended, after so many seconds at most; whom it is done for is remembered."""
        if visitor:
            self._seen[visitor] = time.monotonic()
        return bool(wait([self._future], timeout=seconds).done)

    def result(self) -> T:
        """What the work returned, once it has ended; what it raised is raised here."""
        return self._future.result()

    def _run(self, work: "Callable[[Job[T]], T]") -> None:
        _thread.job = self
        try:
            self._future.set_result(work(self))
        except BaseException as error:
            self._future.set_exception(error)


_running: dict[Hashable, Job[Any]] = {}
_lock = threading.Lock()
_numbers = itertools.count()
_thread = threading.local()

is_here: Callable[[str], bool] = lambda visitor: True  # noqa: E731
"""Whether a visitor still has a page open; `panels.work` knows."""


def start(
    key: Hashable,
    work: Callable[[Job[T]], T],
    patient: bool = True,
    prepare: Callable[[threading.Thread], Any] = lambda thread: None,
    grace_s: float = GRACE_S,
) -> Job[T]:
    """The running job of this key, else a new one; one that was told to end makes way for it.

    Args:
        key: of the job.
        work: what it does.
        patient, grace_s: see `Job`.
        prepare: gets the thread before it starts.
    """
    with _lock:
        job = _running.get(key)
        if job is None or job.ending:
            job = _running[key] = Job(patient, grace_s)
            thread = threading.Thread(target=_carry_out, args=(key, job, work), daemon=True)
            prepare(thread)
            thread.start()
        return job


def is_running(key: Hashable) -> bool:
    """Whether there is a job of this key."""
    return key in _running


def is_going_on(key: Hashable) -> bool:
    """Whether there is a job of this key that was not told to end."""
    job = _running.get(key)
    return job is not None and not job.ending


def current() -> Job[Any] | None:
    """The job that this thread carries out."""
    return getattr(_thread, "job", None)


def report(share: float | None = None, words: str | None = None) -> None:
    """Tells the job of this thread how far it is, where there is one.

    Raises:
        Stopped: it is to end here.
    """
    job = current()
    if job is not None:
        job.report(job.share if share is None else share, job.words if words is None else words)


def stop_all(seconds: float = 5.0) -> None:
    """Ends all jobs at their next report and waits: no thread may be inside of PyTorch when the process ends."""
    for job in list(_running.values()):
        job.stop()
        job.wait(seconds)


atexit.register(stop_all)


def _carry_out(key: Hashable, job: Job[T], work: Callable[[Job[T]], T]) -> None:
    job._run(work)
    with _lock:
        if _running.get(key) is job:
            del _running[key]


def locked(lock: AbstractContextManager[Any], steps: Iterator[T]) -> Iterator[T]:
    """The steps, each taken under the lock, so that others have their turn in between."""
    end = object()
    while True:
        with lock:
            item = next(steps, end)
        if item is end:
            return
        yield item


def preload(name: str) -> None:
    """Imports a large library, and keeps it out of garbage collection (see `freeze_imports`)."""
    if name not in sys.modules:
        importlib.import_module(name)
        freeze_imports()


def freeze_imports() -> None:
    """Leaves what is in memory now out of garbage collection from now on.

    Streamlit collects after every run, and PyTorch alone has half a million objects to look through: 260 ms in which
    nothing is sent to any browser. Call it after an import, not after loading what is to be let go again.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # extension modules complain of leaks where the end of the process finds them frozen
