"""What the page reads of a study: one row a pair of picture and class, figures of every method beside it. Cached."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.studies import StudyFolder
from analysis.studies.groups import GroupMeans, group_means, lowest_share
from dashboard import studies
from dashboard.caches import cached
from dashboard.pages.study.settings import StudySettings

FIGURES = ("contrast", "score_contrast", "flip_auc")
MOST_PAIRS = 20_000
"""Blame, layers and lens of more pairs are read from a sample of the pictures; the page says so."""

Key = tuple[str, int]
"""Id of a study and the number of its parts that are done."""


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """All pairs of a picture and a class that is in it.

    Attributes:
        index: (n,) number of the picture; text: (n,) class.
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

    def figure(self, name: str, method: str) -> np.ndarray:
        """(n,) of one method; NaN where the study does not have it."""
        if method not in self.methods:
            return np.full(len(self.index), np.nan, np.float32)
        return self.figures[name][:, self.methods.index(method)]

    @property
    def images(self) -> int:
        """Number of pictures with at least one pair."""
        return len(np.unique(self.index))


def key_of(id: str) -> Key:
    """The key of what is read of a study: another one as soon as another part is done."""
    return id, studies.parts_done(id)


@cached(max_entries=8)
def overview(key: Key) -> Overview:
    """Figures of every pair and method."""
    folder = studies.opened(key[0])
    rows = folder.table("maps", ["index", "text", "method", *FIGURES])
    rows = rows[rows["flip_auc"].notna()]
    wide = rows.pivot_table(index=["index", "text"], columns="method", values=list(FIGURES), observed=True, sort=True)
    methods = tuple(name for name in folder.study.methods if name in set(wide.columns.get_level_values(1)))
    index = wide.index.get_level_values(0).to_numpy()
    text = wide.index.get_level_values(1).astype(str).to_numpy()
    figures = {name: wide[name][list(methods)].to_numpy(np.float32) for name in FIGURES}
    names = folder.images().set_index("index")["name"].to_dict()
    return Overview(index, text, methods, figures, _places(folder, wide.index), names)


def _places(folder: StudyFolder, pairs: pd.MultiIndex) -> dict[str, np.ndarray]:
    wanted = ("area", "row", "column")
    if "pictures" not in folder.study.measures:
        return {name: np.full(len(pairs), np.nan, np.float32) for name in wanted}
    rows = folder.table("pictures", ["index", "text", *wanted], where={"method": folder.study.methods[0]})
    found = rows.set_index(["index", "text"])
    found.index = found.index.set_levels(found.index.levels[1].astype(str), level=1)
    return {name: found[name].reindex(pairs).to_numpy(np.float32) for name in wanted}


def chosen_rows(seen: Overview, settings: StudySettings) -> np.ndarray:
    """Pairs that pass the filters and are in the selection, bool (n,). Pure."""
    auc = seen.figure("flip_auc", settings.method)
    kept = np.ones(len(seen.index), bool)
    if settings.text:
        kept &= seen.text == settings.text
    if settings.low is not None:
        kept &= auc >= settings.low
    if settings.high is not None:
        kept &= auc <= settings.high
    if settings.chosen:
        kept &= np.isin(seen.index, settings.chosen)
    return kept


def order_of(seen: Overview, settings: StudySettings, terms: np.ndarray | None) -> np.ndarray:
    """Numbers of the chosen pairs in the order of the grid. Pure.

    Args:
        seen: all pairs.
        settings: how to sort.
        terms: (n,) of the chosen component, for the order "term"; None without one.
    """
    rows = np.flatnonzero(chosen_rows(seen, settings))
    auc, contrast = (seen.figure(name, settings.method) for name in ("flip_auc", "contrast"))
    values = {
        "flipped": auc,
        "lit": -auc,
        "contrast": contrast,
        "term": auc if terms is None else terms,
        "order": seen.index.astype(np.float32),
    }[settings.sort]
    return rows[np.lexsort((contrast[rows], values[rows]))]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns of a measure for pairs.

    Attributes:
        labels: names of the columns, k of them.
        values: (n, k) float32, a row a pair of `Overview`; NaN for pairs that were not read.
        read: bool (n,), pairs that were read.
    """

    labels: tuple[str, ...]
    values: np.ndarray
    read: np.ndarray


@cached(max_entries=24)
def columns(key: Key, measure: str, prefix: str, method: str) -> Columns:
    """The columns of a measure whose names begin with `prefix`, of one method where the measure has methods."""
    folder, seen = studies.opened(key[0]), overview(key)
    if measure not in folder.study.measures:
        return Columns((), np.zeros((len(seen.index), 0), np.float32), np.zeros(len(seen.index), bool))
    labels = tuple(name for name in folder.quantities(measure) if name.startswith(prefix))
    images = None
    if len(seen.index) > MOST_PAIRS:
        numbers = np.unique(seen.index)
        wanted = max(1, MOST_PAIRS * len(numbers) // len(seen.index))
        images = np.sort(np.random.default_rng(0).choice(numbers, wanted, replace=False))
    where = {"method": method} if "method" in folder.columns(measure) else None
    rows = folder.table(measure, ["index", "text", *labels], where=where, images=images)
    rows = rows[rows["text"].notna()]
    pairs = pd.MultiIndex.from_arrays([seen.index, seen.text])
    place = pairs.get_indexer(pd.MultiIndex.from_arrays([rows["index"], rows["text"].astype(str)]))
    values = np.full((len(seen.index), len(labels)), np.nan, np.float32)
    values[place[place >= 0]] = rows[list(labels)].to_numpy(np.float32)[place >= 0]
    read = np.zeros(len(seen.index), bool)
    read[place[place >= 0]] = True
    return Columns(labels, values, read)


def blame(key: Key, method: str) -> Columns:
    """Terms of the contrast; the column of their sum is left out."""
    found = columns(key, "blame", "", method)
    kept = [place for place, label in enumerate(found.labels) if label != "sum"]
    return Columns(tuple(found.labels[place] for place in kept), found.values[:, kept], found.read)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Means of columns over flipped pairs and over the others.

    Attributes:
        labels: of the columns.
        flipped, others: means with intervals; None where the group is empty.
        worst: (k,) how often a column is the lowest of its row among flipped pairs.
    """

    labels: tuple[str, ...]
    flipped: GroupMeans | None
    others: GroupMeans | None
    worst: np.ndarray


@cached(max_entries=48)
def split(key: Key, measure: str, prefix: str, settings: StudySettings) -> Split:
    """Two groups of the chosen pairs: those whose map is flipped, and the others.

    Args:
        key, measure, prefix: as in `columns`.
        settings: with all fields that do not choose pairs at their defaults, see `filters_of`.
    """
    seen = overview(key)
    found = blame(key, settings.method) if measure == "blame" else columns(key, measure, prefix, settings.method)
    kept = chosen_rows(seen, settings) & found.read
    auc = seen.figure("flip_auc", settings.method)
    groups = [kept & (auc < 0.5), kept & (auc >= 0.5)]
    means = [group_means(found.values[rows], seen.index[rows]) if rows.any() else None for rows in groups]
    worst = lowest_share(found.values[groups[0]]) if measure == "blame" else np.zeros(len(found.labels))
    return Split(found.labels, means[0], means[1], worst)


def filters_of(settings: StudySettings) -> StudySettings:
    """Only what chooses pairs: the key of what is computed from them. Pure."""
    return StudySettings(
        method=settings.method, text=settings.text, low=settings.low, high=settings.high, chosen=settings.chosen
    )


def map_of(key: Key, index: int, text: str, method: str) -> np.ndarray | None:
    """The map (gh, gw) of a pair; None where the study did not keep it."""
    return maps_of(key, (index,), method).get((index, text))


@cached(max_entries=64)
def maps_of(key: Key, images: tuple[int, ...], method: str) -> dict[tuple[int, str], np.ndarray]:
    """Maps (gh, gw) of some pictures by picture and class; empty where the study did not keep them."""
    folder = studies.opened(key[0])
    if "pictures" not in folder.study.measures or method not in folder.study.methods:
        return {}
    rows = folder.table("pictures", ["index", "text", "map"], where={"method": method}, images=images)
    grid = _grid(folder, len(rows["map"].iloc[0])) if len(rows) else (0, 0)
    found = zip(rows["index"], rows["text"].astype(str), rows["map"], strict=True)
    return {(int(index), text): np.asarray(values, np.float32).reshape(grid) for index, text, values in found}


def _grid(folder: StudyFolder, patches: int) -> tuple[int, int]:
    """Rows and columns of the maps, from the input's shape."""
    height, width = folder.request["input size px"]
    rows = round((patches * height / width) ** 0.5)
    return rows, patches // rows
