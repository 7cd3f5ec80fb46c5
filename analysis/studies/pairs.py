"""A study as one row a pair of picture and class: figures of every method, and the columns of any measure beside them.

pairs = read_pairs(open_study("out/toy"))
kept = pairs.chosen("clip", high=0.5)             # flipped ones, bool (n,)
blame = read_columns(folder, pairs, "blame", "clip")
blame.values[kept]                                # (k, components)
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.studies.folder import parts_of
from analysis.studies.measure import MEASURES
from analysis.studies.reader import StudyFolder

FIGURES = ("contrast", "score_contrast", "flip_auc")
PLACES = ("area", "row", "column")
BINS = 20
"""Of histograms of flip AUC."""
MOST_PAIRS = 20_000
"""Columns of more pairs than these are read from a sample, evenly spaced parts of the study."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """All pairs of a picture and a class that is in it, by picture and then by class.

    Attributes:
        index: (n,) number of the picture.
        text: (n,) class, strings.
        methods: names, m of them.
        figures: "contrast", "score_contrast", "flip_auc" -> (n, m) float32.
        places: "area", "row", "column" -> (n,) float32, of the region; NaN where the study has no pictures.
        names: number of a picture -> its name.
    """

    index: np.ndarray
    text: np.ndarray
    methods: tuple[str, ...]
    figures: dict[str, np.ndarray]
    places: dict[str, np.ndarray]
    names: dict[int, str]

    def __len__(self) -> int:
        return len(self.index)

    def figure(self, name: str, method: str) -> np.ndarray:
        """(n,) of one method; NaN where the study does not have it."""
        if method not in self.methods:
            return np.full(len(self), np.nan, np.float32)
        return self.figures[name][:, self.methods.index(method)]

    def find(self, index: np.ndarray | pd.Series, text: np.ndarray | pd.Series) -> np.ndarray:
        """Numbers of the pairs of pictures and classes, -1 where there is none."""
        own = pd.MultiIndex.from_arrays([self.index, self.text])
        return own.get_indexer(pd.MultiIndex.from_arrays([np.asarray(index, np.int64), np.asarray(text, object)]))

    def flipped(self, method: str) -> np.ndarray:
        """Bool (n,): the map lights up the background rather than the object, flip AUC below 0.5."""
        return self.figure("flip_auc", method) < 0.5

    def chosen(
        self,
        method: str,
        text: str = "",
        low: float | None = None,
        high: float | None = None,
        images: Collection[int] = (),
    ) -> np.ndarray:
        """Bool (n,): pairs of a class, of a range of flip AUC of a method, of some pictures; all that is not named."""
        auc = self.figure("flip_auc", method)
        kept = np.ones(len(self), bool)
        if text:
            kept &= self.text == text
        if low is not None:
            kept &= auc >= low
        if high is not None:
            kept &= auc <= high
        if len(images):
            kept &= np.isin(self.index, np.fromiter(images, np.int64))
        return kept

    def table(self, kept: np.ndarray) -> pd.DataFrame:
        """A row a chosen map: picture, class, figures of every method, size and place of its object."""
        table = {"picture": [self.names.get(int(n), str(n)) for n in self.index[kept]], "class": self.text[kept]}
        for name in FIGURES:
            table |= {f"{name} {method}": self.figure(name, method)[kept] for method in self.methods}
        return pd.DataFrame(table | {name: values[kept] for name, values in self.places.items()})

    def histogram(self, kept: np.ndarray) -> pd.DataFrame:
        """How many chosen maps have which flip AUC: from, to, and a column of counts for each method."""
        edges = np.linspace(0, 1, BINS + 1)
        counts = {name: count_bins(self.figure("flip_auc", name)[kept]) for name in self.methods}
        return pd.DataFrame({"from": edges[:-1], "to": edges[1:]} | counts)

    def class_table(self, kept: np.ndarray, method: str, other: str) -> pd.DataFrame:
        """A row a class, most flipped first: maps, share of flipped ones, mean flip AUC of two methods."""
        frame = pd.DataFrame({"class": self.text, "auc": self.figure("flip_auc", method)})
        frame["other"], frame["flipped"] = self.figure("flip_auc", other), self.flipped(method)
        found = (
            frame[kept]
            .groupby("class")
            .agg(maps=("auc", "size"), flipped=("flipped", "mean"), auc=("auc", "mean"), other=("other", "mean"))
        )
        return found.sort_values("flipped", ascending=False, kind="stable").reset_index()


def count_bins(auc: np.ndarray) -> np.ndarray:
    """Number of values in each of `BINS` equal parts of 0 to 1."""
    return np.histogram(auc[np.isfinite(auc)], BINS, (0, 1))[0]


def read_pairs(folder: StudyFolder) -> Pairs:
    """Figures of every pair that can be judged; none for a study without the measure "maps"."""
    names = folder.images().set_index("index")["name"].to_dict() if folder.parts else {}
    if "maps" not in folder.study.measures or not folder.parts:
        empty = np.zeros(0, np.int64)
        return Pairs(empty, empty.astype(object), (), {}, {name: np.zeros(0, np.float32) for name in PLACES}, names)
    rows = folder.table("maps", ["index", "text", "method", *FIGURES])
    rows = rows[rows["flip_auc"].notna()]
    texts, code = np.unique(rows["text"].astype(object).to_numpy(), return_inverse=True)
    keys, place = np.unique(rows["index"].to_numpy(np.int64) * max(1, len(texts)) + code, return_inverse=True)
    present = set(rows["method"])
    methods = tuple(name for name in folder.study.methods if name in present)
    column = rows["method"].map({name: number for number, name in enumerate(methods)}).to_numpy(np.int64)
    figures = {}
    for name in FIGURES:
        figures[name] = np.full((len(keys), len(methods)), np.nan, np.float32)
        figures[name][place, column] = rows[name].to_numpy(np.float32)
    index, text = keys // max(1, len(texts)), texts[keys % max(1, len(texts))] if len(texts) else texts
    return Pairs(index, text, methods, figures, _places(folder, index, text), names)


def _places(folder: StudyFolder, index: np.ndarray, text: np.ndarray) -> dict[str, np.ndarray]:
    if "pictures" not in folder.study.measures:
        return {name: np.full(len(index), np.nan, np.float32) for name in PLACES}
    rows = folder.table("pictures", ["index", "text", *PLACES], where={"method": folder.study.methods[0]})
    place = _find(rows, index, text)
    return {
        name: np.where(place >= 0, rows[name].to_numpy(np.float32)[place], np.nan).astype(np.float32) for name in PLACES
    }


def _find(rows: pd.DataFrame, index: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Number of the row of every pair, -1 for none."""
    own = pd.MultiIndex.from_arrays([rows["index"].to_numpy(np.int64), rows["text"].astype(object).to_numpy()])
    return own.get_indexer(pd.MultiIndex.from_arrays([index, text]))


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns of a measure for pairs.

    Attributes:
        labels: names of the columns, k of them.
        values: (n, k) float32, a row a pair of `Pairs`; NaN for pairs that were not read.
        read: bool (n,), pairs that were read.
    """

    labels: tuple[str, ...]
    values: np.ndarray
    read: np.ndarray


def read_columns(
    folder: StudyFolder,
    pairs: Pairs,
    measure: str,
    method: str,
    prefix: str = "",
    wanted: np.ndarray | None = None,
    most: int = MOST_PAIRS,
) -> Columns:
    """Columns of a measure for every pair.

    Args:
        folder: of the study.
        pairs: see `read_pairs`.
        measure: name; a study without it gives no columns.
        method: of its rows, where it has a row a method.
        prefix: of the names of the columns.
        wanted: bool (n,), pairs that matter; None for all.
        most: of more wanted pairs than these, those of evenly spaced parts of the study are read.
    """
    wanted = np.ones(len(pairs), bool) if wanted is None else wanted
    labels = quantities(folder, measure, prefix)
    if not labels or not wanted.any():
        return Columns(labels, np.full((len(pairs), len(labels)), np.nan, np.float32), np.zeros(len(pairs), bool))
    images = None if len(pairs) <= most else sample_images(folder, pairs.index[wanted], most)
    where = {"method": method} if "method" in MEASURES[measure].keys else None
    rows = folder.table(measure, ["index", "text", *labels], where, images)
    place = _find(rows, pairs.index, pairs.text)
    values = np.full((len(pairs), len(labels)), np.nan, np.float32)
    values[place >= 0] = rows[list(labels)].to_numpy(np.float32)[place[place >= 0]]
    return Columns(labels, values, place >= 0)


def quantities(folder: StudyFolder, measure: str, prefix: str = "") -> tuple[str, ...]:
    """Names of the columns of numbers of a measure, without sums of others; none where the study lacks it."""
    if measure not in folder.study.measures:
        return ()
    return tuple(name for name in folder.quantities(measure) if name.startswith(prefix) and name != "sum")


def sample_images(folder: StudyFolder, images: np.ndarray, most: int) -> np.ndarray:
    """Numbers of the pictures, all where there are at most `most` rows, else those of evenly spaced parts.

    Args:
        folder: of the study.
        images: (n,) number of the picture of each row, ascending.
        most: rows.
    """
    if len(images) <= most:
        return np.unique(images)
    parts = parts_of(folder.images_total, int(folder.request["part length"]))
    ends = np.array([stop for _, stop in parts])
    own = np.searchsorted(ends, images, side="right")
    used = np.unique(own)
    count = max(1, len(used) * most // len(images))
    chosen = used[np.linspace(0, len(used) - 1, count).round().astype(int)]
    return np.unique(images[np.isin(own, chosen)])


def read_rows(
    folder: StudyFolder,
    pairs: Pairs,
    measure: str,
    columns: Sequence[str],
    wanted: np.ndarray,
    most: int = MOST_PAIRS,
    where: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """Rows of a measure that belong to wanted pairs, with `pair`, the number of the pair, before the columns.

    Args:
        folder, pairs, measure: as in `read_columns`.
        columns: names.
        wanted: bool (n,).
        most: as in `read_columns`.
        where: as in `StudyFolder.table`.
    """
    images = None if len(pairs) <= most else sample_images(folder, pairs.index[wanted], most)
    rows = folder.table(measure, ["index", "text", *columns], where, images)
    place = pairs.find(rows["index"], rows["text"])
    kept = (place >= 0) & (wanted[place] if len(wanted) else False)
    rows = rows[kept].drop(columns=["index", "text"])
    rows.insert(0, "pair", place[kept])
    return rows.reset_index(drop=True)
