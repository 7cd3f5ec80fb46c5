"""What the page reads of a study, once for all visitors; what is computed of it is in `analysis.studies`."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.studies import MEASURES, StudyFolder, StudyState
from analysis.studies import classes as segmentation
from analysis.studies import curves as rows_of
from analysis.studies.groups import FlipGroups, split_flipped
from analysis.studies.pairs import MOST_PAIRS, Columns, Pairs, read_columns, read_pairs
from analysis.studies.reproduce import Row
from dashboard import studies
from dashboard.caches import cached
from dashboard.pages.study.settings import StudySettings

MAX_BYTES = 256 * 2**20
"""Of the columns of all studies together; the oldest are read again when they are asked for."""

Key = tuple[str, int]
"""Id of a study and the number of its parts that are done."""


def key_of(id: str) -> Key:
    """The key of what is read of a study: another one as soon as another part is done."""
    return id, studies.parts_done(id)


def _weigh_pairs(pairs: Pairs) -> int:
    return sum(a.nbytes for a in (pairs.index, pairs.text, *pairs.figures.values(), *pairs.places.values()))


@cached(max_entries=8, weigh=_weigh_pairs, max_bytes=lambda: MAX_BYTES)
def overview(key: Key) -> Pairs:
    """Figures of every pair and method."""
    return read_pairs(studies.opened(key[0]))


@cached(max_entries=16)
def classes(key: Key) -> tuple[str, ...]:
    """Classes of all pairs, in alphabetical order."""
    return tuple(sorted(set(overview(key).text)))


@cached(max_entries=16)
def state_of(key: Key) -> StudyState:
    """How far a study is."""
    return studies.opened(key[0]).state


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What the page shows of a study.

    Attributes:
        key, folder: the study.
        seen: all its pairs.
        settings: of the page, with methods and classes that the study has.
        kept: bool (n,), pairs that pass the filters and are in the selection.
    """

    key: Key
    folder: StudyFolder
    seen: Pairs
    settings: StudySettings
    kept: np.ndarray

    @property
    def filters(self) -> StudySettings:
        """Only what chooses pairs: the key of what is computed from them."""
        return filters_of(self.settings)

    @property
    def title(self) -> str:
        """Data set and model."""
        study = self.folder.study
        return f"{self.folder.request['data set']} · {study.model} {study.pretrained or ''}".rstrip()

    @property
    def sampled(self) -> bool:
        """Whether columns are read of some of the chosen pairs only."""
        return len(self.seen) > MOST_PAIRS and int(self.kept.sum()) > MOST_PAIRS


def shown(key: Key, settings: StudySettings) -> Shown:
    """A study as the settings show it."""
    seen = overview(key)
    return Shown(key, studies.opened(key[0]), seen, settings, chosen_rows(seen, settings))


def chosen_rows(seen: Pairs, settings: StudySettings) -> np.ndarray:
    """Pairs that pass the filters and are in the selection, bool (n,). Pure."""
    return seen.chosen(settings.method, settings.text, settings.low, settings.high, settings.chosen)


def filters_of(settings: StudySettings) -> StudySettings:
    """Only what chooses pairs: the key of what is computed from them. Pure."""
    return StudySettings(
        method=settings.method, text=settings.text, low=settings.low, high=settings.high, chosen=settings.chosen
    )


def order_of(seen: Pairs, kept: np.ndarray, settings: StudySettings, terms: np.ndarray | None) -> np.ndarray:
    """Numbers of the chosen pairs in the order of the grid. Pure.

    Args:
        seen: all pairs.
        kept: bool (n,), the chosen ones.
        settings: how to sort.
        terms: (n,) of the chosen component, for the order "term"; None without one.
    """
    rows = np.flatnonzero(kept)
    auc, contrast = (seen.figure(name, settings.method) for name in ("flip_auc", "contrast"))
    values = {
        "flipped": auc,
        "lit": -auc,
        "contrast": contrast,
        "term": auc if terms is None else terms,
        "order": seen.index.astype(np.float32),
    }[settings.sort]
    return rows[np.lexsort((contrast[rows], values[rows]))]


@cached(max_entries=24, weigh=lambda found: found.values.nbytes, max_bytes=lambda: MAX_BYTES)
def _columns(key: Key, measure: str, prefix: str, method: str, filters: StudySettings) -> Columns:
    seen = overview(key)
    return read_columns(studies.opened(key[0]), seen, measure, method, prefix, chosen_rows(seen, filters))


def columns(key: Key, measure: str, prefix: str, settings: StudySettings) -> Columns:
    """Columns of a measure whose names begin with `prefix`, of the method of the settings where it has methods.

    A small study is read once, whatever is chosen; of a large one what is chosen, or a sample of it.
    """
    filters = _read_filters(overview(key), settings, MOST_PAIRS)
    return _columns(key, measure, prefix, settings.method if "method" in MEASURES[measure].keys else "", filters)


def _read_filters(seen: Pairs, settings: StudySettings, most: int) -> StudySettings:
    """What decides which pairs are read: nothing where all are, else what is chosen."""
    return StudySettings() if len(seen) <= most else filters_of(settings)


@cached(max_entries=48)
def split(key: Key, measure: str, prefix: str, filters: StudySettings) -> FlipGroups:
    """Two groups of the chosen pairs: those whose map is flipped, and the others.

    Args:
        key, measure, prefix: as in `columns`.
        filters: see `filters_of`.
    """
    seen = overview(key)
    found, kept = columns(key, measure, prefix, filters), chosen_rows(seen, filters)
    return split_flipped(found, seen, kept, filters.method, worst=measure == "blame")


@cached(max_entries=16)
def turning(key: Key, filters: StudySettings) -> pd.DataFrame:
    """How often the sign of the lens turns for good at a depth, a column a group."""
    seen = overview(key)
    return rows_of.turning_shares(columns(key, "lens", "", filters), seen, chosen_rows(seen, filters), filters.method)


@cached(max_entries=16)
def figure_choices(key: Key) -> tuple[tuple[str, str], ...]:
    """(measure, quantity) of the figures of every method."""
    return rows_of.figure_choices(studies.opened(key[0]))


@cached(max_entries=8, weigh=lambda found: found.values.nbytes, max_bytes=lambda: MAX_BYTES)
def _figure(key: Key, measure: str, quantity: str, filters: StudySettings) -> Columns:
    seen = overview(key)
    return rows_of.read_figure(studies.opened(key[0]), seen, measure, quantity, chosen_rows(seen, filters))


@cached(max_entries=16)
def method_figures(key: Key, measure: str, quantity: str, filters: StudySettings) -> pd.DataFrame:
    """A figure of every method in both groups."""
    seen = overview(key)
    figure = _figure(key, measure, quantity, _read_filters(seen, filters, MOST_PAIRS))
    return rows_of.method_figures(figure, seen, chosen_rows(seen, filters), filters.method)


@cached(max_entries=16)
def sweep_lines(key: Key) -> tuple[rows_of.SweepLine, ...]:
    """Lines of the alpha sweep."""
    return rows_of.sweep_lines(studies.opened(key[0]))


@cached(max_entries=8, weigh=lambda found: found.values.nbytes, max_bytes=lambda: MAX_BYTES)
def _swept(key: Key, quantity: str, line: rows_of.SweepLine, filters: StudySettings) -> Columns:
    seen = overview(key)
    return rows_of.read_sweep(studies.opened(key[0]), seen, quantity, line, chosen_rows(seen, filters))


@cached(max_entries=16)
def sweep(key: Key, quantity: str, line: rows_of.SweepLine, filters: StudySettings) -> FlipGroups:
    """A line of the alpha sweep in both groups; a label a point."""
    seen = overview(key)
    found = _swept(key, quantity, line, _read_filters(seen, filters, rows_of.MOST_SWEPT))
    return split_flipped(found, seen, chosen_rows(seen, filters), filters.method)


@cached(max_entries=8)
def segmentation_rows(key: Key) -> list[Row]:
    """mIoU of every method, with its protocol and the published figure."""
    return segmentation.segmentation_rows(studies.opened(key[0]))


@cached(max_entries=16)
def class_ious(key: Key, method: str) -> pd.DataFrame:
    """IoU of every class."""
    return segmentation.class_ious(studies.opened(key[0]), method)


@cached(max_entries=16)
def image_figures(key: Key, method: str) -> pd.DataFrame:
    """mIoU of every picture."""
    return segmentation.image_figures(studies.opened(key[0]), method)


@cached(max_entries=16)
def images_with(key: Key, text: str) -> np.ndarray:
    """Pictures in which a class is true or predicted."""
    return segmentation.images_with(studies.opened(key[0]), text)


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
