"""Two studies of the same images, in two groups: maps that a method flips in the first study, and the others.

compared = compare_studies("out/before", "out/after", "maps", quantities=("flip_auc", "contrast"))
difference_groups(compared, pairs, "clip")       # second minus first, in each group, with intervals
blame_groups(first, second, pairs, kept, "clip") # mean blame of every component here and there
"""

import numpy as np
import pandas as pd

from analysis.studies.compare import Comparison
from analysis.studies.groups import GROUPS, RESAMPLES, flip_sides, group_means
from analysis.studies.pairs import MOST_PAIRS, Pairs, read_columns
from analysis.studies.reader import StudyFolder


def difference_groups(compared: Comparison, pairs: Pairs, method: str, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Mean differences over maps that are flipped in the first study, and over the others.

    Args:
        compared: of the measure "maps".
        pairs: of the first study.
        method: whose maps are flipped or not; also that of the rows where the comparison is of one method only.
        resamples: of the bootstrap over images.

    Returns:
        A row a method, quantity and group: method, quantity, group, difference, low, high, maps.
    """
    rows = compared.pairs if "method" in compared.pairs else compared.pairs.assign(method=method)
    names = [name for name in rows.columns if name not in ("index", "text", "method")]
    place = pairs.find(rows["index"], rows["text"])
    lines = []
    for own, inside in rows.groupby("method", sort=False, observed=True).indices.items():
        for group, side in zip(GROUPS, flip_sides(pairs, method), strict=True):
            kept = inside[(place[inside] >= 0) & side[place[inside]]]
            if len(kept):
                found = group_means(rows[names].to_numpy(np.float64)[kept], rows["index"].to_numpy()[kept], resamples)
                ends = zip(names, found.mean, found.low, found.high, strict=True)
                lines += [(own, name, group, mean, low, high, found.rows) for name, mean, low, high in ends]
    return pd.DataFrame(lines, columns=["method", "quantity", "group", "difference", "low", "high", "maps"])


def most_changed(compared: Comparison, pairs: Pairs, method: str, count: int = 50) -> pd.DataFrame:
    """The maps whose flip AUC differs most, largest first: picture, class, change of AUC, change of contrast."""
    rows = compared.pairs
    rows = rows[rows["method"] == method] if "method" in rows else rows
    order = rows["flip_auc"].abs().sort_values(ascending=False, kind="stable").index[:count]
    rows = rows.loc[order]
    names = [pairs.names.get(int(index), str(index)) for index in rows["index"]]
    shown = {"picture": names, "class": rows["text"].astype(str), "change of AUC": rows["flip_auc"]}
    return pd.DataFrame(shown | {"change of contrast": rows["contrast"]}).reset_index(drop=True)


def blame_groups(
    first: StudyFolder, second: StudyFolder, pairs: Pairs, kept: np.ndarray, method: str, most: int = MOST_PAIRS
) -> pd.DataFrame:
    """Mean blame of every component that both studies have, in each group of the maps that both have measured.

    Args:
        first, second: studies of the same images.
        pairs: of the first.
        kept: bool (n,), the chosen ones.
        method: whose blame, and whose maps are flipped or not.
        most: as in `read_columns`.

    Returns:
        A row a component and group: component, group, here, there; none where the studies share no component.
    """
    ours, theirs = (read_columns(study, pairs, "blame", method, "", kept, most) for study in (first, second))
    shared = [label for label in ours.labels if label in theirs.labels]
    lines = []
    for group, side in zip(GROUPS, flip_sides(pairs, method), strict=True):
        own = kept & side & ours.read & theirs.read
        if own.any() and shared:
            here, there = (
                np.nanmean(found.values[own][:, [found.labels.index(label) for label in shared]], axis=0)
                for found in (ours, theirs)
            )
            lines += [(label, group, *means) for label, *means in zip(shared, here, there, strict=True)]
    return pd.DataFrame(lines, columns=["component", "group", "here", "there"])
