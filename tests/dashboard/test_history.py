"""Undo and redo over views."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dashboard.history import LONGEST, History


def test_undo_and_redo_go_through_the_views_in_order() -> None:
    history = History().step("a", "b").step("b", "c")
    view, history = history.undo("c")
    assert view == "b"
    view, history = history.undo(view)
    assert (view, history.past) == ("a", ())
    assert history.undo(view) == ("a", history)
    view, history = history.redo(view)
    view, history = history.redo(view)
    assert (view, history.future) == ("c", ())
    assert history.redo(view) == ("c", history)


def test_a_new_view_lets_go_of_what_was_undone_and_the_same_view_is_no_step() -> None:
    view, history = History().step("a", "b").undo("b")
    assert history.step(view, view) is history
    assert history.step(view, "x") == History(("a",))


def test_the_past_is_bounded() -> None:
    history = History()
    for number in range(LONGEST + 50):
        history = history.step(number, number + 1)
    assert len(history.past) == LONGEST
    assert history.past[-1] == LONGEST + 49


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 30))
def test_as_many_redos_as_undos_lead_back(views: list[int], undos: int) -> None:
    history = History()
    for old, new in pairwise(views):
        history = history.step(old, new)
    steps = min(undos, len(history.past))
    view = views[-1]
    for _ in range(steps):
        view, history = history.undo(view)
    for _ in range(steps):
        view, history = history.redo(view)
    assert view == views[-1]
