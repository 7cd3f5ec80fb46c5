"""Explainability mIoU of a study: the best threshold of every class, from the stored histograms."""

import numpy as np
import pandas as pd

from analysis.studies.arrays import group_rows, list_values
from analysis.studies.measures.maps import THRESHOLDS
from analysis.studies.reader import StudyFolder
from analysis.studies.statistics import COLUMNS, Draws, Ranks, centred, interval, note_on

MOST_RESAMPLES = 200
"""Each holds a histogram a class."""


def explainability_iou(folder: StudyFolder, measure: str, resamples: int) -> pd.DataFrame | None:
    """Explainability mIoU of every method, in the columns of a summary.

    Binary IoU of every class over the images that hold it, at the threshold that suits the class best, and its mean
    over classes; in each resample the threshold is searched anew.

    Source: Li et al. 2023, "CLIP Surgery", arXiv 2304.05653.
    """
    ranks = Ranks(folder)
    if not len(ranks.images):
        return None
    draws = Draws(len(ranks.images), min(resamples, MOST_RESAMPLES), folder.study.seed)
    rows = [_of_method(folder, measure, method, draws, ranks) for method in folder.study.methods]
    found = [row for row in rows if row is not None]
    return pd.DataFrame(found, columns=["method", *COLUMNS]) if found else None


def best_thresholds(folder: StudyFolder, measure: str, method: str) -> pd.DataFrame:
    """A row a class: text, iou, threshold of the min-max normalised map, images."""
    histograms, images, _ = _class_histograms(folder, measure, method, None, None)
    rows = []
    for text, counts in histograms.items():
        ious = _ious(counts[0])
        rows.append((text, float(ious.max()), float(THRESHOLDS[ious.argmax()]), images[text]))
    return pd.DataFrame(sorted(rows), columns=["text", "iou", "threshold", "images"])


def _of_method(folder: StudyFolder, measure: str, method: str, draws: Draws, ranks: Ranks) -> tuple | None:
    histograms, images, seen = _class_histograms(folder, measure, method, draws, ranks)
    if not histograms:
        return None
    best = np.stack([_ious(counts).max(axis=-1) for counts in histograms.values()])  # (classes, 1 + resamples)
    mean = float(best[:, 0].mean())
    low, high = interval(centred(np.nanmean(best[:, 1:], axis=0), mean)[:, None], seen)[:, 0]
    rows = sum(images.values())
    return method, "explainability_miou", mean, low, high, seen, rows, note_on(seen)


def _class_histograms(
    folder: StudyFolder, measure: str, method: str, draws: Draws | None, ranks: Ranks | None
) -> tuple[dict[str, np.ndarray], dict[str, int], int]:
    """text -> (1 + resamples, 2, thresholds) pixels of object and rest by value; text -> images; number of images."""
    sums: dict[str, np.ndarray] = {}
    images: dict[str, int] = {}
    seen = 0
    columns = ["index", "text", "pixel_auc", "foreground_histogram", "background_histogram"]
    for table in folder.iterate(measure, columns, {"method": method}):
        table = table.filter(table.column("pixel_auc").is_valid())
        index = table.column("index").to_numpy()
        values = np.stack([list_values(table, name) for name in columns[3:]], axis=1).astype(
            float
        )  # (rows, 2, thresholds)
        present, row_of = np.unique(index, return_inverse=True)
        seen += len(present)
        weights = None if draws is None else draws.weights(ranks(present))
        for (text,), rows in group_rows(table, ["text"]):
            own = values[rows].reshape(len(rows), -1)
            drawn = own.sum(axis=0, keepdims=True)
            if weights is not None:
                drawn = np.concatenate([drawn, weights[:, row_of[rows]].astype(np.float64) @ own])
            drawn = drawn.reshape(-1, *values.shape[1:])
            sums[text] = sums[text] + drawn if text in sums else drawn
            images[text] = images.get(text, 0) + len(rows)
    return sums, images, seen


def _ious(counts: np.ndarray) -> np.ndarray:
    """IoU at every threshold from (..., 2, thresholds); NaN in a resample without the class."""
    above = counts[..., ::-1].cumsum(axis=-1)[..., ::-1]
    hits, wrong = above[..., 0, :], above[..., 1, :]
    union = counts[..., 0, :].sum(axis=-1, keepdims=True) + wrong
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)
