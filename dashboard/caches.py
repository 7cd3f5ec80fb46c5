"""Results shared by all sessions: each computed once, by a job that several visitors may wait for.

    @cached(max_entries=16)
    def norms(key: TraceKey, _case: Case) -> Norms:
        ...

Arguments whose names begin with _ are no part of the key; results are shared, not copied. Errors are not kept.
"""

import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from functools import update_wrapper
from typing import Any

from dashboard import jobs
from dashboard.jobs import Stopped

POLL_S = 0.05

run_as_job: Callable[[Hashable, Callable[[], Any]], Any] = lambda key, work: work()  # noqa: E731
"""How a result is computed for a visitor who waits for it; `panels.work` shows progress and a way out."""


class SharedCache:
    """A function with its results. Called by any number of threads, it computes each of them once.

    Args:
        function: arguments that begin with _ are no part of the key, the others are hashable.
        max_entries: of more results, those that were not asked for longest are let go.
        weigh: result -> bytes; without, only their number counts.
        max_bytes: of heavier results together, all but the newest may be let go.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        max_entries: int,
        weigh: Callable[[Any], int] | None = None,
        max_bytes: Callable[[], int] | None = None,
    ) -> None:
        update_wrapper(self, function)
        self._function, self._max_entries, self._weigh, self._max_bytes = function, max_entries, weigh, max_bytes
        names = list(inspect.signature(function).parameters)
        self._in_key = [not name.startswith("_") for name in names]
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._flights: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        key = tuple(value for value, counts in zip(arguments, self._in_key, strict=True) if counts)
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        if jobs.current() is not None:
            return self._compute(key, arguments)
        return run_as_job((self.__module__, self.__qualname__, key), lambda: self._compute(key, arguments))

    def clear(self) -> None:
        """Forgets all results."""
        with self._lock:
            self._values.clear()

    def _compute(self, key: Hashable, arguments: tuple[Any, ...]) -> Any:
        """Computes a result, or waits for whoever does; takes over from one who was stopped."""
        while True:
            with self._lock:
                if key in self._values:
                    return self._values[key]
                flight = self._flights.get(key)
                mine = flight is None
                if mine:
                    flight = self._flights[key] = Future()
            if mine:
                return self._fly(key, flight, arguments)
            while not wait([flight], POLL_S).done:
                jobs.report()
            try:
                return flight.result()
            except Stopped:
                jobs.report()

    def _fly(self, key: Hashable, flight: Future[Any], arguments: tuple[Any, ...]) -> Any:
        try:
            value = self._function(*arguments)
        except BaseException as error:
            with self._lock:
                del self._flights[key]
            flight.set_exception(error)
            raise
        with self._lock:
            self._values[key] = value
            self._let_go()
            del self._flights[key]
        flight.set_result(value)
        return value

    def _let_go(self) -> None:
        while len(self._values) > self._max_entries or (len(self._values) > 1 and self._too_heavy()):
            self._values.popitem(last=False)

    def _too_heavy(self) -> bool:
        if self._weigh is None or self._max_bytes is None:
            return False
        return sum(map(self._weigh, self._values.values())) > self._max_bytes()


def cached(max_entries: int, **limits: Any) -> Callable[[Callable[..., Any]], SharedCache]:
    """A cache for all sessions, see `SharedCache`."""
    return lambda function: SharedCache(function, max_entries, **limits)
