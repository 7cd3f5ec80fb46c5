"""Whose work runs now: one lane for small work and one for large, each taken by one at a time, visitors in turn.

    turn = Turn(LIGHT, visitor)
    with turn:                      # waits for its place; taken again in the same thread, it is there already
        ...

Small work never waits for large work. The two share the cores; where threads have priorities of their own (Linux), a
job that does large work has a low one, so that it takes what small work leaves. Who was served last comes last.
"""

import itertools
import os
import sys
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from dashboard import jobs

POLL_S = 0.1
NICE = 10
"""Of a thread that does large work, as the command `nice` has it."""


@dataclass(slots=True, eq=False)
class _Ticket:
    visitor: str
    number: int


@dataclass(slots=True, eq=False)
class Lane:
    """A queue of those who want to run work of one kind; `nice` is the priority that its jobs take, 0 for their own."""

    name: str
    nice: int = 0
    condition: threading.Condition = field(default_factory=threading.Condition)
    waiting: list[_Ticket] = field(default_factory=list)
    served: dict[str, int] = field(default_factory=dict)
    running: _Ticket | None = None
    numbers: itertools.count = field(default_factory=itertools.count)

    def enter(self, visitor: str) -> _Ticket:
        """Waits until this visitor has the lane; a job that is stopped meanwhile leaves the queue.

        Raises:
            Stopped: the job of this thread was stopped.
        """
        with self.condition:
            ticket = _Ticket(visitor, next(self.numbers))
            self.waiting.append(ticket)
            try:
                while (place := self._place(ticket)) > 0:
                    jobs.report(words=f"place {place} in the queue")
                    self.condition.wait(POLL_S)
            except BaseException:
                self.waiting.remove(ticket)
                raise
            self.waiting.remove(ticket)
            self.running = ticket
            self.served[visitor] = ticket.number
            return ticket

    def leave(self) -> None:
        """Lets the next one in."""
        with self.condition:
            self.running = None
            self.condition.notify_all()

    def _place(self, ticket: _Ticket) -> int:
        """How many come before this one, the running one included."""
        order = sorted(self.waiting, key=lambda other: (self.served.get(other.visitor, -1), other.number))
        return order.index(ticket) + (self.running is not None)


LIGHT, HEAVY = Lane("light"), Lane("heavy", NICE)
_held = threading.local()


class Turn(AbstractContextManager[None]):
    """A lane for one visitor, to be taken any number of times, also inside of itself."""

    def __init__(self, lane: Lane, visitor: str) -> None:
        self.lane = lane
        self.visitor = visitor

    def __enter__(self) -> None:
        depth = getattr(_held, "depth", 0)
        if not depth:
            self.lane.enter(self.visitor)
            _held.lane = self.lane
            _give_way(self.lane.nice)
        _held.depth = depth + 1

    def __exit__(self, *_: object) -> None:
        _held.depth -= 1
        if not _held.depth:
            _held.lane.leave()


def _give_way(nice: int) -> None:
    """Lowers the priority of a job's thread, and of those of PyTorch that it starts, for the rest of its life."""
    if nice and jobs.current() is not None and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
