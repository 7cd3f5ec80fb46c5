"""Means over the rows of a study with bootstrap intervals over its images, part by part, so that memory stays small.

Every figure is a ratio of sums over rows; the bootstrap draws whole images, with all their rows, since rows of one
image are not independent. Draws are made in blocks of images from seeds of their own, so a million images need no
matrix of draws, and the same study gives the same digits however its parts were made.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.studies.arrays import column_values, group_rows
from analysis.studies.measure import MEASURES
from analysis.studies.reader import StudyFolder, open_study
from analysis.studies.statistics import COLUMNS, RESAMPLES, Draws, Ranks, interval, note_on


def summarise_study(
    folder: str | Path, *, by_text: bool = False, resamples: int = RESAMPLES, measures: Sequence[str] | None = None
) -> dict[str, pd.DataFrame]:
    """Figures of all parts that are done.

    Args:
        folder: of the study.
        by_text: a group for each text as well.
        resamples: of the bootstrap.
        measures: some of the study's; None takes all.

    Returns:
        Measure -> a row a group and quantity: the measure's keys (such as "method"), `quantity`, `mean`, the 95 %
        interval `low` to `high` over images (NaN for a single image), `images`, `rows`, and a `note` below ten images.

    Raises:
        FileNotFoundError: no study there.
        ValueError: no part is done.
    """
    opened = open_study(folder)
    if not opened.parts:
        raise ValueError(f"Expected {folder} to hold at least 1 part that is done, but got none; run the study first")
    return {
        name: summarise_measure(opened, name, by_text=by_text, resamples=resamples)
        for name in measures or opened.study.measures
    }


def summarise_measure(
    folder: StudyFolder, measure: str, *, by_text: bool = False, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """One table of `summarise_study`."""
    schema_keys = MEASURES[measure].keys
    keys = ("text", *schema_keys) if by_text and "text" not in schema_keys else schema_keys
    ranks, quantities = Ranks(folder), list(folder.quantities(measure))
    tables = [pd.DataFrame(columns=[*keys, *COLUMNS])]
    if quantities and len(ranks.images):
        sums = _Sums(Draws(len(ranks.images), resamples, folder.study.seed), quantities)
        for table in folder.iterate(measure, ["index", *keys, *quantities]):
            sums.add(table, keys, ranks)
        tables.append(sums.table(keys))
    derived = None if by_text else MEASURES[measure].derive(folder, resamples)
    tables += [derived] if derived is not None else []
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


class _Sums:
    """Sums over rows for each group, of the data and of every resample."""

    def __init__(self, draws: Draws, quantities: list[str]) -> None:
        self.draws, self.quantities = draws, quantities
        self.groups: dict[tuple[object, ...], _GroupSums] = {}

    def add(self, table: pa.Table, keys: Sequence[str], ranks: Ranks) -> None:
        """One part."""
        index = table.column("index").to_numpy()
        images, row_of = np.unique(index, return_inverse=True)
        weights = self.draws.weights(ranks(images))  # (resamples, images of the part)
        values = np.stack([column_values(table, name) for name in self.quantities], axis=1)  # (rows, quantities)
        for key, rows in group_rows(table, keys):
            sums = self.groups.setdefault(key, _GroupSums(len(self.quantities), self.draws.resamples))
            sums.add(values[rows], row_of[rows], weights)

    def table(self, keys: Sequence[str]) -> pd.DataFrame:
        parts = []
        for key, sums in self.groups.items():
            part = sums.table(self.quantities)
            for place, (name, value) in enumerate(zip(keys, key, strict=True)):
                part.insert(place, name, value)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)


class _GroupSums:
    """Sums of one group."""

    def __init__(self, quantities: int, resamples: int) -> None:
        self.total, self.rows = np.zeros(quantities), np.zeros(quantities, np.int64)
        self.images = np.zeros(quantities, np.int64)
        self.drawn, self.drawn_rows = (np.zeros((resamples, quantities)) for _ in range(2))

    def add(self, values: np.ndarray, image: np.ndarray, weights: np.ndarray) -> None:
        """Values (rows, quantities) of images (rows,) with weights (resamples, images)."""
        known = np.isfinite(values)
        filled = np.where(known, values, 0).astype(np.float64)
        present, where = np.unique(image, return_inverse=True)
        per_image, counts = (np.zeros((len(present), values.shape[1])) for _ in range(2))
        np.add.at(per_image, where, filled)
        np.add.at(counts, where, known)
        own = weights[:, present].astype(np.float64)
        self.total += filled.sum(axis=0)
        self.rows += known.sum(axis=0)
        self.images += (counts > 0).sum(axis=0)
        self.drawn += own @ per_image
        self.drawn_rows += own @ counts

    def table(self, quantities: Sequence[str]) -> pd.DataFrame:
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = self.drawn / self.drawn_rows
            mean = self.total / self.rows
        low, high = interval(drawn, self.images)
        columns = (quantities, mean, low, high, self.images, self.rows, [note_on(n) for n in self.images])
        table = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
        return table[table["rows"] > 0]
