"""Two studies of the same images, paired: two models, two methods, before and after fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.studies.measure import MEASURES
from analysis.studies.reader import StudyFolder, open_study
from analysis.studies.statistics import RESAMPLES, Draws, interval, note_on


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Paired differences, second study minus first.

    Attributes:
        measure: what is compared.
        table: a row a group and quantity: keys, `quantity`, `first`, `second`, `difference`, its 95 % interval `low` to
            `high` over images, `images`, `rows` (pairs), `note`.
        pairs: the rows that were paired: index, text, keys, and each quantity as `NAME` with the difference.
    """

    measure: str
    table: pd.DataFrame
    pairs: pd.DataFrame

    def most_changed(self, quantity: str, count: int = 10) -> pd.DataFrame:
        """The images whose mean difference is the largest, whatever its sign: index, difference, rows.

        Raises:
            ValueError: no such quantity.
        """
        if quantity not in self.pairs:
            choices = ", ".join(self.table["quantity"].unique())
            raise ValueError(f"Expected quantity to be one of {choices}, but got {quantity!r}")
        found = self.pairs.groupby("index")[quantity].agg(["mean", "count"]).reset_index()
        found = found[found["count"] > 0].rename(columns={"mean": "difference", "count": "rows"})
        order = found["difference"].abs().sort_values(ascending=False, kind="stable").index
        return found.loc[order[:count]].reset_index(drop=True)


def compare_studies(
    first: str | Path,
    second: str | Path,
    measure: str | None = None,
    *,
    methods: tuple[str, str] | None = None,
    quantities: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Pairs the rows of two studies by image, text and keys.

    Args:
        first, second: folders; both may be the same one, with two methods.
        measure: which; None takes the first that both have.
        methods: method of the first study and method of the second that are paired; None pairs equal ones.
        quantities: which; None takes all that both have.
        resamples: of the bootstrap.

    Raises:
        FileNotFoundError: no study there.
        ValueError: studies of other images, no measure in common, an unknown method or quantity, or nothing to pair.
    """
    studies = [open_study(first), open_study(second)]
    _check_images(*studies)
    measure = measure or next((name for name in studies[0].study.measures if name in studies[1].study.measures), None)
    if measure is None:
        raise ValueError(f"Expected {first} and {second} to share a measure, but they have none in common")
    keys = MEASURES[measure].keys
    named = [study.study.methods for study in studies]
    if methods is None and "method" in keys and not set(named[0]) & set(named[1]):
        raise ValueError(
            f"Expected methods to be named, since the studies share none: {', '.join(named[0])} in the first, "
            f"{', '.join(named[1])} in the second"
        )
    chosen = _quantities(studies, measure, quantities)
    sides = zip(studies, methods or (None, None), strict=True)
    tables = [_rows(study, measure, keys, chosen, method) for study, method in sides]
    pairs = tables[0].merge(tables[1], on=["index", "text", *_join_keys(keys, methods)], suffixes=(" 1", " 2"))
    if pairs.empty:
        raise ValueError(f"Expected rows of {measure} to be paired, but the studies have no image and text in common")
    return _compare(measure, pairs, _join_keys(keys, methods), chosen, resamples, studies[0].study.seed)


def _check_images(first: StudyFolder, second: StudyFolder) -> None:
    images, seeds = ({identity(study) for study in (first, second)} for identity in (_image_list, _toy_seed))
    if len(images) > 1 or len(seeds) > 1:
        raise ValueError(
            f"Expected two studies of the same images, but got {first.study.data} ({first.images_total} images) "
            f"and {second.study.data} ({second.images_total} images)"
        )


def _image_list(study: StudyFolder) -> str:
    return study.request["fingerprints"]["images"]


def _toy_seed(study: StudyFolder) -> int | None:
    """What makes the scenes of one name differ."""
    return study.study.seed if study.request["data set"] == "toy" else None


def _quantities(studies: Sequence[StudyFolder], measure: str, wanted: Sequence[str] | None) -> list[str]:
    known = [study.quantities(measure) for study in studies]
    shared = [name for name in known[0] if name in known[1]]
    missing = [name for name in wanted or () if name not in shared]
    if missing or not shared:
        raise ValueError(f"Expected quantities to be among {', '.join(shared) or 'none'}, but got {', '.join(missing)}")
    return list(wanted or shared)


def _rows(
    study: StudyFolder, measure: str, keys: Sequence[str], quantities: Sequence[str], method: str | None
) -> pd.DataFrame:
    if method is not None and method not in study.study.methods:
        raise ValueError(f"Expected method to be one of {', '.join(study.study.methods)}, but got {method!r}")
    where = None if method is None else {"method": method}
    columns = [name for name in ("index", "text", *keys, *quantities) if name in study.columns(measure)]
    table = study.table(measure, columns, where)
    if "text" not in table:
        table.insert(1, "text", None)
    return table.astype({"text": object} | {key: object for key in keys if table[key].dtype == "category"})


def _join_keys(keys: Sequence[str], methods: tuple[str, str] | None) -> list[str]:
    return [key for key in keys if key != "method" or methods is None]


def _compare(
    measure: str, pairs: pd.DataFrame, keys: list[str], quantities: list[str], resamples: int, seed: int
) -> Comparison:
    images = np.unique(pairs["index"])
    draws = Draws(len(images), resamples, seed)
    difference = pd.DataFrame({name: pairs[f"{name} 2"] - pairs[f"{name} 1"] for name in quantities})
    lines = []
    for key, rows in (pairs.groupby(keys, sort=False).indices if keys else {(): np.arange(len(pairs))}).items():
        place = np.searchsorted(images, pairs["index"].to_numpy()[rows])
        for name in quantities:
            values = difference[name].to_numpy(np.float64)[rows]
            known = np.isfinite(values)
            if known.any():
                sides = [float(pairs[f"{name} {side}"].to_numpy()[rows][known].mean()) for side in (1, 2)]
                line = _line(values[known], place[known], draws)
                lines.append((*(key if isinstance(key, tuple) else (key,)), name, *sides, *line))
    columns = [*keys, "quantity", "first", "second", "difference", "low", "high", "images", "rows", "note"]
    return Comparison(measure, pd.DataFrame(lines, columns=columns), pairs[["index", "text", *keys]].join(difference))


def _line(values: np.ndarray, place: np.ndarray, draws: Draws) -> tuple[object, ...]:
    """Mean difference, its interval, images, rows and note."""
    present, where = np.unique(place, return_inverse=True)
    sums, counts = np.bincount(where, values), np.bincount(where).astype(float)
    weights = draws.weights(present)
    with np.errstate(invalid="ignore"):
        drawn = (weights @ sums) / (weights @ counts)
    low, high = interval(drawn[:, None], len(present))[:, 0]
    return float(values.mean()), low, high, len(present), len(values), note_on(len(present))
