"""Columns of a study that stand in rows: figures of every method, the alpha sweep, and where the lens turns.

figures = method_figures(read_figure(folder, pairs), pairs, kept, "clip")     # method, group, mean, low, high
sweep = read_sweep(folder, pairs, "contrast", SweepLine("vv"), kept)          # Columns: a label a point
turns = turning_shares(read_columns(folder, pairs, "lens", "clip"), pairs, kept, "clip")   # shares by group
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.studies.groups import GROUPS, RESAMPLES, flip_sides, split_flipped
from analysis.studies.measure import MEASURES
from analysis.studies.pairs import FIGURES, MOST_PAIRS, Columns, Pairs, quantities, read_rows
from analysis.studies.reader import StudyFolder
from analysis.sweep import NO_RESIDUAL

MOST_SWEPT = 4000
"""Pairs whose sweep is read; each has a row a point."""
LAST_TURN = "turning_depth"


def name_key(measure: str) -> str:
    """The column that says whose the map of a row is, "method" or "explanation"; "" for rows of another kind.

    >>> name_key("maps"), name_key("insertion"), name_key("layers")
    ('method', 'explanation', '')
    """
    own = [key for key in MEASURES[measure].keys if key != "group"]
    return own[0] if len(own) == 1 else ""


def figure_choices(folder: StudyFolder) -> tuple[tuple[str, str], ...]:
    """(measure, quantity) of all figures that a study has a row a map and a method of."""
    found = []
    for name in folder.study.measures:
        if name_key(name) and "text" in folder.columns(name):
            found += [(name, quantity) for quantity in quantities(folder, name)]
    return tuple(found)


def read_figure(
    folder: StudyFolder,
    pairs: Pairs,
    measure: str = "maps",
    quantity: str = "flip_auc",
    wanted: np.ndarray | None = None,
    most: int = MOST_PAIRS,
) -> Columns:
    """A figure of every method for every pair, a column a method.

    Args:
        folder, pairs: of the study.
        measure, quantity: one of `figure_choices`.
        wanted, most: as in `read_columns`.

    Raises:
        ValueError: another measure or quantity.
    """
    choices = figure_choices(folder)
    if (measure, quantity) not in choices:
        known = ", ".join(f"{name} {figure}" for name, figure in choices)
        raise ValueError(f"Expected measure and quantity to be among {known}, but got {measure} {quantity}")
    if measure == "maps" and quantity in FIGURES:
        return Columns(pairs.methods, pairs.figures[quantity], np.ones(len(pairs), bool))
    key = name_key(measure)
    wanted = np.ones(len(pairs), bool) if wanted is None else wanted
    rows = read_rows(folder, pairs, measure, [key, quantity], wanted, most)
    number, names = pd.factorize(rows[key].astype(object))
    values = np.full((len(pairs), len(names)), np.nan, np.float32)
    values[rows["pair"].to_numpy(), number] = rows[quantity].to_numpy(np.float32)
    return Columns(tuple(map(str, names)), values, np.isfinite(values).any(axis=1))


def method_figures(
    figure: Columns, pairs: Pairs, kept: np.ndarray, method: str, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """A figure of every method over the maps that one method flips, and over the others.

    Args:
        figure: see `read_figure`.
        pairs: of the study.
        kept: bool (n,), the chosen pairs.
        method: whose maps are flipped or not.
        resamples: of the bootstrap over pictures.

    Returns:
        A row a method and group: method, group, mean, low, high, maps.
    """
    groups = split_flipped(figure, pairs, kept, method, resamples=resamples).groups
    parts = [
        pd.DataFrame({"method": figure.labels, "group": name, "mean": own.mean, "low": own.low, "high": own.high})
        for name, own in groups.items()
    ]
    sides = dict(zip(GROUPS, flip_sides(pairs, method), strict=True))
    for name, part in zip(groups, parts, strict=True):
        part["maps"] = np.isfinite(figure.values[kept & sides[name]]).sum(axis=0)
    columns = ["method", "group", "mean", "low", "high", "maps"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


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


def turning_shares(lens: Columns, pairs: Pairs, kept: np.ndarray, method: str) -> pd.DataFrame:
    """How often the sign of the lens turns for good at a depth: a row a depth, a column a group.

    Args:
        lens: all columns of the measure "lens".
        pairs, kept, method: as in `method_figures`.
    """
    depths = sum(label.startswith("depth_") for label in lens.labels)
    table = pd.DataFrame({"depth": np.arange(depths)})
    values = lens.values[:, lens.labels.index(LAST_TURN)]
    for group, side in zip(GROUPS, flip_sides(pairs, method), strict=True):
        own = kept & lens.read & side
        if own.any():
            turns = values[own & np.isfinite(values)].astype(int)
            table[group] = np.bincount(turns, minlength=depths) / own.sum()
    return table
