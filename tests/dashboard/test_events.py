"""Events of the browser: what is well formed is read, everything else is nothing."""

from typing import Any

import pytest

from dashboard.events import (
    is_threshold,
    picked_box,
    picked_cell,
    picked_drawing,
    picked_index,
    picked_indices,
    picked_outline,
    picked_patch,
    picked_threshold,
)

POINTS = {"selection": {"points": [{"curve_number": 1, "point_index": 4}, {"curve_number": 0, "point_index": 2}]}}
NONSENSE: list[Any] = [None, {}, [], "patch", {"selection": None}, {"selection": {"points": [None]}}, {"type": 3}]


def test_a_click_counts_for_its_own_trace() -> None:
    assert picked_index(POINTS, curve=0) == 2
    assert picked_index(POINTS, curve=1) == 4
    assert picked_index(POINTS, curve=2) is None


def test_all_points_of_a_lasso_ascending_and_once() -> None:
    points = [{"curve_number": 0, "point_index": i} for i in (5, 1, 5)] + [{"curve_number": 0, "point_index": -1}]
    assert picked_indices({"selection": {"points": points}}, curve=0) == [1, 5]


def test_a_box_is_sorted() -> None:
    assert picked_box({"selection": {"box": [{"x": [9, 2.5], "y": [1, 8]}]}}) == (2.5, 1, 9, 8)


@pytest.mark.parametrize("box", [{"x": [1], "y": [1, 2]}, {"x": [1, "2"], "y": [1, 2]}, {}])
def test_a_broken_box_is_none(box: dict) -> None:
    assert picked_box({"selection": {"box": [box]}}) is None


def test_an_outline_needs_three_corners() -> None:
    assert picked_outline({"selection": {"lasso": [{"x": [0, 1, 1], "y": [0, 0, 1]}]}}) == [(0, 0), (1, 0), (1, 1)]
    assert picked_outline({"selection": {"lasso": [{"x": [0, 1], "y": [0, 0]}]}}) is None
    assert picked_outline({"selection": {"lasso": [{"x": [0, 1, 2], "y": [0, 0, float("nan")]}]}}) is None


def test_a_patch_inside_the_grid() -> None:
    assert picked_patch({"type": "patch", "row": 3, "column": 0}, grid=(4, 5)) == (3, 0)


@pytest.mark.parametrize(("row", "column"), [(4, 0), (0, 5), (-1, 0), (1.5, 0), (True, 0), ("1", 0), (None, 0)])
def test_a_patch_outside_the_grid_is_none(row: Any, column: Any) -> None:
    assert picked_patch({"type": "patch", "row": row, "column": column}, grid=(4, 5)) is None


def test_the_button_of_a_cell() -> None:
    assert picked_cell({"type": "action", "row": 1, "column": 2}, rows=2, columns=3) == (1, 2)
    assert picked_cell({"type": "action", "row": 2, "column": 2}, rows=2, columns=3) is None
    assert picked_cell({"type": "patch", "row": 1, "column": 2}, rows=2, columns=3) is None


def test_the_threshold_line() -> None:
    assert picked_threshold({"type": "threshold", "value": -0.25}) == -0.25
    assert picked_threshold({"type": "threshold", "value": None}) is None
    assert picked_threshold({"type": "threshold", "value": float("inf")}) is None
    assert is_threshold({"type": "threshold", "value": None})
    assert not is_threshold({"type": "patch"})


@pytest.mark.parametrize("event", NONSENSE, ids=str)
def test_nonsense_is_nothing(event: Any) -> None:
    assert picked_index(event, 0) is None
    assert picked_indices(event, 0) == []
    assert picked_box(event) is None
    assert picked_outline(event) is None
    assert picked_patch(event, (4, 5)) is None
    assert picked_cell(event, 4, 5) is None
    assert picked_threshold(event) is None
    assert not is_threshold(event)


def test_a_drawing_has_its_points() -> None:
    box = {"type": "region", "shape": "box", "points": [[1, 2], [3.5, 4]]}
    assert picked_drawing(box) == ("box", [(1.0, 2.0), (3.5, 4.0)])
    assert picked_drawing({"type": "region", "shape": "none", "points": []}) == ("none", [])


@pytest.mark.parametrize(
    "event",
    [
        None,
        {"type": "patch", "row": 1, "column": 1},
        {"type": "region", "shape": "box", "points": [[1, 2]]},
        {"type": "region", "shape": "box", "points": [[1, 2], [3]]},
        {"type": "region", "shape": "box", "points": [[1, 2], ["x", 3]]},
        {"type": "region", "shape": "lasso", "points": [[1, 2], [3, 4]]},
        {"type": "region", "shape": "star", "points": [[1, 2], [3, 4], [5, 6]]},
        {"type": "region", "shape": "box", "points": "x"},
        {"type": "region", "shape": "box", "points": [3, 4]},
    ],
)
def test_what_is_no_drawing_is_none(event: object) -> None:
    assert picked_drawing(event) is None
