"""The figures of two cases side by side. Pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.numerals import signed
from dashboard.pages.compare.results import Matched, Side, match, why_no_difference
from dashboard.pages.compare.settings import CompareSettings, patch_at

NONE = "–"


def _signed(value: float | None) -> str:
    return NONE if value is None or not np.isfinite(value) else signed(value)


def figures_of(own: CompareSettings, side: Side) -> dict[str, float]:
    """Name -> figure of one case; without those that it has not."""
    found, values = side.found, side.found.values
    figures = {"mean": float(values.mean()), "lowest": float(values.min()), "highest": float(values.max())}
    if found.reading is not None:
        figures = {"contrast": found.reading.contrast, "flip AUC": found.reading.flip_auc} | figures
    patch = patch_at(own.place, values.shape)
    if patch is not None:
        figures["chosen place"] = float(values[patch])
    if side.depth is not None and len(side.depth.lens):
        figures["contrast after embedding"] = float(side.depth.lens[0])
    return figures


def figure_rows(own: CompareSettings, sides: Sequence[Side]) -> list[tuple[str, str, str, str]]:
    """Rows of name, A, B and A - B; figures of different units have no difference."""
    a, b = (figures_of(own, side) for side in sides)
    one_unit = sides[0].found.unit == sides[1].found.unit
    rows = []
    for name in dict.fromkeys((*a, *b)):
        pair = a.get(name), b.get(name)
        free = one_unit or name in ("flip AUC", "contrast after embedding")
        gap = pair[0] - pair[1] if None not in pair and free else None
        if name == "flip AUC":
            cells = [_auc(side) for side in sides]
            rows.append(("flip AUC, 95 % interval", *cells, NONE if gap is None else signed(gap)))
        else:
            rows.append((name, *map(_signed, pair), _signed(gap)))
    return rows


def _auc(side: Side) -> str:
    reading = side.found.reading
    return (
        NONE if reading is None else f"{reading.flip_auc:.2f} ({reading.interval.low:.2f}–{reading.interval.high:.2f})"
    )


def figure_table(own: CompareSettings, sides: Sequence[Side]) -> pd.DataFrame:
    """One row a figure: figure, A, B."""
    a, b = (figures_of(own, side) for side in sides)
    names = list(dict.fromkeys((*a, *b)))
    return pd.DataFrame({"figure": names, "A": [a.get(n) for n in names], "B": [b.get(n) for n in names]})


def blame_table(sides: Sequence[Side]) -> pd.DataFrame:
    """One row a matched component: component, what it adds to the contrast of A and of B."""
    found: Matched = match(sides[0].depth, sides[1].depth)
    return pd.DataFrame({"component": found.labels, "A": found.first, "B": found.second})


def map_table(sides: Sequence[Side]) -> pd.DataFrame:
    """One row a case and patch: case, row, column, value; and A - B where there is one."""
    maps = {side.letter: side.found.values for side in sides}
    if not why_no_difference(*sides):
        maps["A - B"] = maps["A"] - maps["B"]
    frames = []
    for name, values in maps.items():
        rows, columns = np.indices(values.shape)
        frame = {"case": name, "row": rows.ravel(), "column": columns.ravel(), "value": values.ravel()}
        frames.append(pd.DataFrame(frame))
    return pd.concat(frames, ignore_index=True)
