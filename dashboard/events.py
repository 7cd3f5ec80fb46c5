"""What a click, a box or a lasso says, as plain values. Events come from a browser: nothing in them is trusted."""

import math
from collections.abc import Mapping
from typing import Any

from dashboard.case import Patch


def picked_index(event: Mapping[str, Any] | None, curve: int) -> int | None:
    """Index of the point that was clicked in trace number `curve` of a plotly figure; None for no such click."""
    for point in _points(event):
        index = point.get("point_index", point.get("point_number"))
        if point.get("curve_number") == curve and _natural(index):
            return index
    return None


def picked_indices(event: Mapping[str, Any] | None, curve: int) -> list[int]:
    """Indices of all points of trace number `curve` inside a box or lasso, ascending."""
    points = (p for p in _points(event) if p.get("curve_number") == curve)
    return sorted({index for p in points if _natural(index := p.get("point_index", p.get("point_number")))})


def picked_box(event: Mapping[str, Any] | None) -> tuple[float, float, float, float] | None:
    """(x0, y0, x1, y1) of the first box in data coordinates, x0 <= x1 and y0 <= y1; None for none."""
    for box in _selection(event).get("box") or ():
        xs, ys = _numbers(box.get("x")), _numbers(box.get("y"))
        if len(xs) == 2 and len(ys) == 2:
            return min(xs), min(ys), max(xs), max(ys)
    return None


def picked_outline(event: Mapping[str, Any] | None) -> list[tuple[float, float]] | None:
    """(x, y) corners of the first lasso in data coordinates; None for none."""
    for lasso in _selection(event).get("lasso") or ():
        xs, ys = _numbers(lasso.get("x")), _numbers(lasso.get("y"))
        if len(xs) == len(ys) >= 3:
            return list(zip(xs, ys, strict=True))
    return None


def picked_patch(event: Mapping[str, Any] | None, grid: tuple[int, int]) -> Patch | None:
    """The patch of a "patch" event of the map view; None for any other event or a patch outside the grid."""
    if not isinstance(event, Mapping) or event.get("type") != "patch":
        return None
    row, column = event.get("row"), event.get("column")
    inside = _natural(row) and _natural(column) and row < grid[0] and column < grid[1]
    return (row, column) if inside else None


def picked_cell(event: Mapping[str, Any] | None, rows: int, columns: int) -> tuple[int, int] | None:
    """The cell of an "action" event of the map view (its button was pressed), or None."""
    if not isinstance(event, Mapping) or event.get("type") != "action":
        return None
    row, column = event.get("row"), event.get("column")
    return (row, column) if _natural(row) and _natural(column) and row < rows and column < columns else None


def picked_drawing(event: Mapping[str, Any] | None) -> tuple[str, list[tuple[float, float]]] | None:
    """The shape of a "region" event of the map view and its (x, y) points in pixels; None for any other event.

    A "box" has two opposite corners, a "lasso" three points or more, and "none" means that the region is cleared.
    """
    if not isinstance(event, Mapping) or event.get("type") != "region" or not isinstance(event.get("points"), list):
        return None
    shape, points = event.get("shape"), [tuple(_numbers(point)) for point in event["points"]]
    fits = {"box": len(points) == 2, "lasso": len(points) > 2, "none": not points}.get(shape, False)
    return (shape, points) if fits and all(len(point) == 2 for point in points) else None


def is_threshold(event: Mapping[str, Any] | None) -> bool:
    """Whether the threshold line of the map view was moved or cleared."""
    return isinstance(event, Mapping) and event.get("type") == "threshold"


def picked_threshold(event: Mapping[str, Any] | None) -> float | None:
    """Where the threshold line stands; None for cleared or nonsense."""
    value = event.get("value") if isinstance(event, Mapping) else None
    return float(value) if _finite(value) else None


def picked_opacity(event: Mapping[str, Any] | None) -> float | None:
    """Where the slider between photograph and map stands, in [0, 1]; None for any other event."""
    if not isinstance(event, Mapping) or event.get("type") != "opacity" or not _finite(event.get("value")):
        return None
    return min(1.0, max(0.0, float(event["value"])))


def _selection(event: Mapping[str, Any] | None) -> Mapping[str, Any]:
    selection = event.get("selection") if isinstance(event, Mapping) else None
    return selection if isinstance(selection, Mapping) else {}


def _points(event: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [point for point in _selection(event).get("points") or () if isinstance(point, Mapping)]


def _numbers(values: Any) -> list[float]:
    return [float(v) for v in values if _finite(v)] if isinstance(values, list | tuple) else []


def _natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
