"""Means over some rows of a study with intervals over their images, and which column is the lowest how often."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.studies.pairs import Columns, Pairs, read_columns, read_pairs
from analysis.studies.reader import StudyFolder
from analysis.studies.statistics import BLOCK, Draws, interval
from analysis.studies.statistics import RESAMPLES as COUNTED

RESAMPLES = 400
"""Where somebody waits for the picture; printed figures take `COUNTED`."""
GROUPS = ("flipped", "not flipped")
"""Names of the two groups, everywhere."""
MOST_KEPT = 8192
"""Draws of so many pictures are kept for the next measure."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupMeans:
    """Means of columns over rows.

    Attributes:
        mean, low, high: (k,) the mean and its 95 % bootstrap interval over images; NaN from fewer than two images.
        images, rows: how many there are.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    images: int
    rows: int


def group_means(values: np.ndarray, images: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> GroupMeans:
    """Means of columns, with intervals from drawing whole images: rows of one image are not independent.

    Args:
        values: (n, k); NaN counts for nothing.
        images: (n,) number of the image of each row.
        resamples: of the bootstrap.
        seed: of its draws.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile interval).
    """
    values, images = np.asarray(values), np.asarray(images)
    order = np.argsort(images, kind="stable")
    kinds, starts = np.unique(images[order], return_index=True)
    ordered = values[order].astype(np.float64)
    known = np.isfinite(ordered)
    whole = bool(known.all())
    sums = np.add.reduceat(ordered if whole else np.where(known, ordered, 0), starts, axis=0)
    counts = np.add.reduceat(known[:, :1] if whole else known, starts, axis=0, dtype=np.float64)
    nothing = np.full(values.shape[1], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(axis=0) / counts.sum(axis=0)
        if len(kinds) < 2:
            return GroupMeans(mean, nothing, nothing, len(kinds), len(values))
        drawn, drawn_counts = (np.zeros((resamples, part.shape[1])) for part in (sums, counts))
        for ranks, weights in _weights(len(kinds), resamples, seed):
            drawn += weights @ sums[ranks]
            drawn_counts += weights @ counts[ranks]
        low, high = interval(drawn / drawn_counts, len(kinds))
    return GroupMeans(mean, low, high, len(kinds), len(values))


def _weights(images: int, resamples: int, seed: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Pictures, and how often each is in each resample, (resamples, pictures), block by block."""
    if images <= MOST_KEPT:
        yield slice(0, images), _kept_weights(images, resamples, seed)
        return
    draws = Draws(images, resamples, seed)
    for start in range(0, images, BLOCK):
        ranks = np.arange(start, min(start + BLOCK, images))
        yield slice(start, start + len(ranks)), draws.weights(ranks).astype(np.float64)


@lru_cache(maxsize=3)
def _kept_weights(images: int, resamples: int, seed: int) -> np.ndarray:
    """One selection is asked for many measures, of the same pictures."""
    return Draws(images, resamples, seed).weights(np.arange(images)).astype(np.float64)


def lowest_indicator(values: np.ndarray) -> np.ndarray:
    """Where the lowest value of every row is, (n, k): 1 at its column, shared by ties; NaN in rows without a value.

    >>> lowest_indicator(np.array([[-1.0, 0.0], [0.0, 0.0]]))
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values).any(axis=1)
    found = np.full(values.shape, np.nan)
    ties = values[known] == np.nanmin(values[known], axis=1, keepdims=True)
    found[known] = ties / ties.sum(axis=1, keepdims=True)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class FlipGroups:
    """Means of columns over flipped maps and over the others.

    Attributes:
        labels: of the columns, k of them.
        flipped, others: means with intervals; None where the group is empty.
        worst: how often a column is the lowest of its row among flipped maps, a mean with interval over pictures;
            None where it was not asked for, or none is flipped.
    """

    labels: tuple[str, ...]
    flipped: GroupMeans | None
    others: GroupMeans | None
    worst: GroupMeans | None = None

    @property
    def groups(self) -> dict[str, GroupMeans]:
        """The groups that are not empty, by their names."""
        return {name: group for name, group in zip(GROUPS, (self.flipped, self.others), strict=True) if group}

    @property
    def rows(self) -> int:
        """Number of maps."""
        return sum(group.rows for group in self.groups.values())

    def table(self) -> pd.DataFrame:
        """A row a column: its name, mean and interval in each group, and how often it is the worst."""
        found = {"quantity": self.labels}
        named = self.groups | ({"worst in share of flipped": self.worst} if self.worst is not None else {})
        for name, group in named.items():
            found |= {f"{name} mean": group.mean, f"{name} low": group.low, f"{name} high": group.high}
        return pd.DataFrame(found)


def flip_sides(pairs: Pairs, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Bool (n,) of the pairs whose map of a method is flipped, and of those whose map is not."""
    auc = pairs.figure("flip_auc", method)
    return auc < 0.5, auc >= 0.5


def split_flipped(
    columns: Columns, pairs: Pairs, kept: np.ndarray, method: str, *, worst: bool = False, resamples: int = RESAMPLES
) -> FlipGroups:
    """Two groups of the chosen pairs: those whose map is flipped, and the others.

    Args:
        columns: see `analysis.studies.pairs.read_columns`.
        pairs: of the same study.
        kept: bool (n,), the chosen ones.
        method: whose maps are flipped or not.
        worst: also how often each column is the lowest of its row among flipped maps.
        resamples: of the bootstrap.
    """
    rows = [np.flatnonzero(kept & columns.read & side) for side in flip_sides(pairs, method)]
    means = [group_means(columns.values[own], pairs.index[own], resamples) if len(own) else None for own in rows]
    share = None
    if worst and len(rows[0]):
        share = group_means(lowest_indicator(columns.values[rows[0]]), pairs.index[rows[0]], resamples)
    return FlipGroups(columns.labels, means[0], means[1], share)


def worst_components(folder: StudyFolder, method: str = "clip", resamples: int = COUNTED) -> pd.DataFrame:
    """Which component writes the flip, and how often: a row a component, the most frequent first.

    Args:
        folder: of a study with the measures "maps" and "blame".
        method: whose maps.
        resamples: of the bootstrap over pictures.

    Returns:
        component, worst (share of flipped maps in which its term is the most negative) with the interval worst low to
        worst high, and its mean term over flipped maps, blame, with blame low to blame high. `attrs` holds how many
        maps, flipped ones and pictures there are.

    Raises:
        ValueError: a measure or method that the study does not have, or no map is flipped.
    """
    study = folder.study
    missing = [name for name in ("maps", "blame") if name not in study.measures]
    if missing:
        raise ValueError(f"Expected a study with the measures maps and blame, but it lacks {' and '.join(missing)}")
    if method not in study.methods:
        raise ValueError(f"Expected method to be one of {', '.join(study.methods)}, but got {method!r}")
    pairs = read_pairs(folder)
    columns = read_columns(folder, pairs, "blame", method, most=len(pairs))
    found = split_flipped(columns, pairs, np.ones(len(pairs), bool), method, worst=True, resamples=resamples)
    if found.flipped is None or found.worst is None:
        raise ValueError(f"Expected at least 1 flipped map of {method}, but none of {len(pairs)} is flipped")
    table = pd.DataFrame({"component": found.labels})
    for name, group in (("worst", found.worst), ("blame", found.flipped)):
        table[name], table[f"{name} low"], table[f"{name} high"] = group.mean, group.low, group.high
    table = table.sort_values("worst", ascending=False, kind="stable").reset_index(drop=True)
    counts = {"maps": len(pairs), "flipped": found.flipped.rows, "images": found.flipped.images}
    table.attrs |= counts | {"all images": len(np.unique(pairs.index))}
    return table
