"""Long work in threads of its own: one job a key, shared by all visitors who ask for it, with progress and a way out.

    def work(job):
        for index, part in enumerate(parts, start=1):
            ...
            job.report(index / len(parts), f"{index} of {len(parts)}")      # ends here once the job is stopped
        return result

    job = start(key, work)
    while not job.wait(0.1):
        show(job.share, job.words)
    result = job.result()

No Streamlit here; `panels.work` shows a job on a page. Work runs outside of any session: it closes over what it needs.
"""

import atexit
import gc
import importlib
import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Raised in work that was stopped, and by `Job.result` then."""


class Job(Generic[T]):
    """Work under way.

    Attributes:
        share: how much is done, from 0 to 1.
        words: the same in words.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.words = ""
        self._stop = threading.Event()
        self._future: Future[T] = Future()

    def report(self, share: float, words: str = "") -> None:
        """Called by the work after each step.

        Raises:
            Stopped: the job is to end here.
        """
        if self._stop.is_set():
            raise Stopped
        self.share, self.words = share, words

    def stop(self) -> None:
        """Ends the work at its next report; work that never reports runs on unseen."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Whether the work has ended, after so many seconds at most."""
        return bool(wait([self._future], timeout=seconds).done)

    def result(self) -> T:
        """What the work returned, once it has ended; what it raised is raised here."""
        return self._future.result()

    def _run(self, work: "Callable[[Job[T]], T]") -> None:
        try:
            self._future.set_result(work(self))
        except BaseException as error:
            self._future.set_exception(error)


_running: dict[Hashable, Job[Any]] = {}
_lock = threading.Lock()


def start(key: Hashable, work: Callable[[Job[T]], T]) -> Job[T]:
    """The running job of this key, else a new one."""
    with _lock:
        if key not in _running:
            _running[key] = job = Job()
            threading.Thread(target=_carry_out, args=(key, job, work), daemon=True).start()
        return _running[key]


def is_running(key: Hashable) -> bool:
    """Whether there is a job of this key."""
    return key in _running


def _carry_out(key: Hashable, job: Job[T], work: Callable[[Job[T]], T]) -> None:
    job._run(work)
    with _lock:
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
