"""Columns of a study that stand in rows: figures of every method, the alpha sweep, and where the lens turns.

figures = method_figures(folder, pairs, kept, "clip", "maps", "flip_auc")     # method, group, mean, low, high
sweep = read_sweep(folder, pairs, "contrast", SweepLine("vv"), kept)          # Columns: a label a point
turns = turning_shares(folder, pairs, kept, "clip")                           # depth -> share of maps, by group
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.studies.groups import GROUPS, RESAMPLES, flip_sides, group_means
from analysis.studies.measure import MEASURES
from analysis.studies.pairs import MOST_PAIRS, Columns, Pairs, quantities, read_columns, read_rows
from analysis.studies.reader import StudyFolder
from analysis.sweep import NO_RESIDUAL

MOST_SWEPT = 4000
"""Pairs whose sweep is read; each has a row a point."""
LAST_TURN = "turning_depth"


def figure_choices(folder: StudyFolder) -> tuple[tuple[str, str], ...]:
    """(measure, quantity) of all figures that a study has a row a map and a method of."""
    found = []
    for name in folder.study.measures:
        if len(MEASURES[name].keys) == 1 and "text" in folder.columns(name):
            found += [(name, quantity) for quantity in quantities(folder, name)]
    return tuple(found)


def method_figures(
    folder: StudyFolder,
    pairs: Pairs,
    kept: np.ndarray,
    method: str,
    measure: str = "maps",
    quantity: str = "flip_auc",
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """A figure of every method over the maps that one method flips, and over the others.

    Args:
        folder, pairs: of the study.
        kept: bool (n,), the chosen pairs.
        method: whose maps are flipped or not.
        measure, quantity: one of `figure_choices`.
        resamples: of the bootstrap over pictures.

    Returns:
        A row a method and group: method, group, mean, low, high, maps.

    Raises:
        ValueError: another measure or quantity.
    """
    choices = figure_choices(folder)
    if (measure, quantity) not in choices:
        known = ", ".join(f"{name} {figure}" for name, figure in choices)
        raise ValueError(f"Expected measure and quantity to be among {known}, but got {measure} {quantity}")
    (key,) = MEASURES[measure].keys
    rows = read_rows(folder, pairs, measure, [key, quantity], kept)
    found = []
    for name, own in rows.groupby(key, sort=False, observed=True):
        place = own["pair"].to_numpy()
        for group, side in zip(GROUPS, flip_sides(pairs, method), strict=True):
            inside = side[place]
            if inside.any():
                means = group_means(own[[quantity]].to_numpy()[inside], pairs.index[place[inside]], resamples)
                ends = (float(part[0]) for part in (means.mean, means.low, means.high))
                found.append((str(name), group, *ends, means.rows))
    return pd.DataFrame(found, columns=["method", "group", "mean", "low", "high", "maps"])


@dataclass(frozen=True, slots=True)
class SweepLine:
    """A line of the alpha sweep: everything of a point but alpha and residual."""

    kind: str
    blocks: int = 1
    mlp: bool = False

    def __str__(self) -> str:
        return f"{self.kind}, last {self.blocks}{' with MLP' if self.mlp else ''}"


def sweep_lines(folder: StudyFolder) -> tuple[SweepLine, ...]:
    """The lines that a study has; none without the measure "alpha"."""
    if "alpha" not in folder.study.measures or not folder.parts:
        return ()
    first = next(folder.iterate("alpha", ["kind", "blocks", "mlp"])).to_pandas().drop_duplicates()
    return tuple(SweepLine(str(kind), int(blocks), bool(mlp)) for kind, blocks, mlp in first.itertuples(index=False))


def read_sweep(
    folder: StudyFolder, pairs: Pairs, quantity: str, line: SweepLine, wanted: np.ndarray, most: int = MOST_SWEPT
) -> Columns:
    """A column a point of a line of the alpha sweep: alpha ascending, "no residual" last.

    Args:
        folder, pairs: of the study.
        quantity: contrast, score_contrast, flip_auc or iou.
        line: one of `sweep_lines`.
        wanted: bool (n,), the pairs that matter.
        most: of more of them, those of evenly spaced parts of the study are read.
    """
    where = {"kind": line.kind, "blocks": line.blocks, "mlp": line.mlp}
    rows = read_rows(folder, pairs, "alpha", ["residual", "alpha", quantity], wanted, most, where)
    points = rows[["residual", "alpha"]].drop_duplicates().sort_values(["residual", "alpha"], ascending=[False, True])
    numbers = pd.MultiIndex.from_frame(points).get_indexer(pd.MultiIndex.from_frame(rows[["residual", "alpha"]]))
    values = np.full((len(pairs), len(points)), np.nan, np.float32)
    values[rows["pair"].to_numpy(), numbers] = rows[quantity].to_numpy(np.float32)
    labels = tuple(NO_RESIDUAL if residual == 0 else f"{alpha:g}" for residual, alpha in points.itertuples(index=False))
    read = np.zeros(len(pairs), bool)
    read[rows["pair"].to_numpy()] = True
    return Columns(labels, values, read)


def turning_shares(
    folder: StudyFolder, pairs: Pairs, kept: np.ndarray, method: str, most: int = MOST_PAIRS
) -> pd.DataFrame:
    """How often the sign of the lens turns for good at a depth: a row a depth, a column a group; empty without lens."""
    depths = len(quantities(folder, "lens", "depth_"))
    turning = read_columns(folder, pairs, "lens", method, LAST_TURN, kept, most)
    table = pd.DataFrame({"depth": np.arange(depths)})
    if not turning.labels:
        return table
    for group, side in zip(GROUPS, flip_sides(pairs, method), strict=True):
        own = kept & turning.read & side
        if own.any():
            values = turning.values[own, 0]
            counts = np.bincount(values[np.isfinite(values)].astype(int), minlength=depths)
            table[group] = counts / own.sum()
    return table
