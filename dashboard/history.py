"""The views of one visitor, one after the other, to go back and forward through. Pure.

>>> history = History().step("a", "b").step("b", "c")
>>> view, history = history.undo("c")
>>> view, history.redo(view)[0]
('b', 'c')
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")
LONGEST = 200


@dataclass(frozen=True, slots=True)
class History(Generic[V]):
    """What was seen before the present view, and what was taken back.

    Attributes:
        past: oldest first.
        future: what was undone, next first.
    """

    past: tuple[V, ...] = ()
    future: tuple[V, ...] = ()

    def step(self, old: V, new: V) -> "History[V]":
        """The history after the view has changed from `old` to `new`; what had been undone is let go."""
        return self if old == new else History((*self.past, old)[-LONGEST:])

    def undo(self, present: V) -> tuple[V, "History[V]"]:
        """The view before the present one, and the history from there; the present one where there is none."""
        if not self.past:
            return present, self
        return self.past[-1], History(self.past[:-1], (present, *self.future))

    def redo(self, present: V) -> tuple[V, "History[V]"]:
        """The view that was undone last, and the history from there; the present one where there is none."""
        if not self.future:
            return present, self
        return self.future[0], History((*self.past, present)[-LONGEST:], self.future[1:])
