"""How good a map is: does it light up the object, and does the model's score agree with it?

    score contrast       foreground mean minus background mean of the min-max map
                         Li et al. 2023, "CLIP Surgery", arXiv 2304.05653
    flip AUC             probability that a foreground patch outscores a background one; below 0.5 the map is flipped
    best-threshold IoU   one threshold per class, searched over the data set
                         Li et al. 2023, explainability mIoU
    pointing game        whether the highest patch lies on the object
                         Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", arXiv 1608.00507

Maps and masks may be NumPy arrays or tensors on any device. Averages over a data set are plain means of these numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from analysis.regions import Region, to_array

ROUNDING_STEPS = 4
"""A map whose values differ by no more than so many of the smallest steps of their precision is constant."""


def contrast(values: np.ndarray | Tensor, region: Region) -> float:
    """Mean over foreground minus mean over background, of the values as they are.

    Args:
        values: (gh, gw) map, raw cosines for the contrast that blame adds up to.
        region: foreground and background patches.

    Raises:
        ValueError: values of another shape than the region, or not finite.
    """
    values = _map_on(values, region)
    return float(values[region.foreground].mean() - values[region.background].mean())


def score_contrast(values: np.ndarray | Tensor, region: Region) -> float:
    """`contrast` of the map brought to [0, 1] by its own smallest and largest value.

    Args:
        values: (gh, gw) map of any scale.
        region: foreground and background patches.

    Returns:
        SC in [-1, 1]; negative when the map is opposite to the object, 0 for a map that is constant up to rounding.

    Raises:
        ValueError: values of another shape than the region, or not finite.

    Source: Li et al. 2023, arXiv 2304.05653 (mSC is the mean over images and the classes present).
    """
    dtype = to_array(values).dtype
    values = _map_on(values, region)
    spread = values.max() - values.min()
    rounding = ROUNDING_STEPS * np.finfo(dtype if dtype.kind == "f" else np.float64).eps * np.abs(values).max()
    return 0.0 if spread <= rounding else contrast((values - values.min()) / spread, region)


def flip_auc(values: np.ndarray | Tensor, region: Region) -> float:
    """Probability that a random foreground patch outscores a random background one, ties counting half.

    Args:
        values: (gh, gw) map of any scale.
        region: foreground and background patches.

    Returns:
        In [0, 1]; below 0.5 the map is flipped.

    Raises:
        ValueError: values of another shape than the region, or not finite.
    """
    return float(roc_auc_score(*_labelled(values, region)))


def average_precision(values: np.ndarray | Tensor, region: Region) -> float:
    """Average precision of the patches ranked by the map, foreground being what is looked for.

    Args:
        values: (gh, gw) map of any scale.
        region: foreground and background patches.

    Returns:
        In (0, 1].

    Raises:
        ValueError: values of another shape than the region, or not finite.
    """
    return float(average_precision_score(*_labelled(values, region)))


def pointing_game(values: np.ndarray | Tensor, region: Region) -> float:
    """Whether the highest patch of the map lies on the object.

    Args:
        values: (gh, gw) map of any scale.
        region: foreground and background patches; others cannot be pointed at.

    Returns:
        1 for a hit, 0 for a miss; of several equal maxima, the share that hits.

    Raises:
        ValueError: values of another shape than the region, or not finite.

    Source: Zhang et al. 2016, arXiv 1608.00507, section 4.1, on patches and therefore without its margin of 15 pixels.
    """
    labels, scores = _labelled(values, region)
    return float(labels[scores == scores.max()].mean())


@dataclass(frozen=True, slots=True, eq=False)
class MeanAveragePrecision:
    """Multi-label recognition over a data set.

    Attributes:
        mean: mean of `per_class` over the classes that occur.
        per_class: (t,) average precision of ranking the images by the class; NaN where no image holds the class.
    """

    mean: float
    per_class: np.ndarray


def mean_average_precision(scores: np.ndarray | Tensor, labels: np.ndarray | Tensor) -> MeanAveragePrecision:
    """Average precision per class over images, and its mean.

    Args:
        scores: (n, t) score of every image for every class.
        labels: (n, t) bool or 0/1, whether the image holds the class.

    Raises:
        ValueError: shapes that differ, scores that are not finite, or no class that occurs.
    """
    scores, labels = finite_array(scores, "scores"), to_array(labels).astype(bool)
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise ValueError(
            f"Expected scores and labels to be of one shape (n, t), but got {scores.shape} and {labels.shape}"
        )
    present = np.flatnonzero(labels.any(axis=0))
    if not len(present):
        raise ValueError("Expected labels to name at least 1 class that is present, but got none")
    per_class = np.full(labels.shape[1], np.nan)
    per_class[present] = [average_precision_score(labels[:, t], scores[:, t]) for t in present]
    return MeanAveragePrecision(float(per_class[present].mean()), per_class)


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdIou:
    """Binary IoU of one class over a data set at its best threshold.

    Attributes:
        iou: the best of `ious`, in [0, 1].
        threshold: the lowest threshold that gives it; a cell is predicted where map >= threshold.
        thresholds: (k,) what was searched, ascending.
        ious: (k,) intersection over union of all images together.
    """

    iou: float
    threshold: float
    thresholds: np.ndarray
    ious: np.ndarray


def best_threshold_iou(
    maps: Sequence[np.ndarray | Tensor],
    masks: Sequence[np.ndarray | Tensor],
    valid: Sequence[np.ndarray | Tensor] | None = None,
    thresholds: Sequence[float] | np.ndarray | None = None,
) -> ThresholdIou:
    """Searches the threshold of one class over a data set.

    Args:
        maps: one map an image that holds the class, each (h, w); of pixels or of patches.
        masks: the object in each, bool (h, w).
        valid: cells that count in each, bool (h, w); None counts all.
        thresholds: the grid; None tries every value of the maps, which finds the best threshold exactly.

    Returns:
        The best IoU with its threshold. Intersections and unions are summed over the images before dividing.

    Raises:
        ValueError: no map, lists or shapes that do not match, values that are not finite, or no cell of the object.

    Source: Li et al. 2023, arXiv 2304.05653, explainability mIoU = the mean of this over the classes.
    """
    scores, labels = _gather(maps, masks, valid)
    if not labels.any():
        raise ValueError("Expected masks to hold at least 1 cell of the object, but got none")
    grid = np.unique(scores) if thresholds is None else np.unique(finite_array(thresholds, "thresholds"))
    if not len(grid):
        raise ValueError("Expected thresholds to hold at least 1 value, but got none")
    predicted, hits = count_at_least(scores, grid), count_at_least(scores[labels], grid)
    ious = hits / (labels.sum() + predicted - hits)
    best = int(ious.argmax())
    return ThresholdIou(float(ious[best]), float(grid[best]), grid, ious)


def _gather(maps: Sequence, masks: Sequence, valid: Sequence | None) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of all cells that count, each (cells,)."""
    valid = [None] * len(maps) if valid is None else valid
    if not len(maps) or len(maps) != len(masks) or len(maps) != len(valid):
        raise ValueError(
            f"Expected maps, masks and valid to be lists of one length of at least 1, "
            f"but got {len(maps)}, {len(masks)} and {len(valid)}"
        )
    scores, labels = [], []
    for values, mask, counts in zip(maps, masks, valid, strict=True):
        values, mask = finite_array(values, "maps"), to_array(mask).astype(bool)
        counts = np.ones(mask.shape, bool) if counts is None else to_array(counts).astype(bool)
        if not values.shape == mask.shape == counts.shape:
            raise ValueError(
                f"Expected a map, its mask and its valid cells to be of one shape, "
                f"but got {values.shape}, {mask.shape} and {counts.shape}"
            )
        scores.append(values[counts])
        labels.append(mask[counts])
    return np.concatenate(scores), np.concatenate(labels)


def count_at_least(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Number of values >= each threshold of an ascending grid, (k,); one pass instead of one a threshold."""
    bins = np.bincount(np.searchsorted(grid, values, side="right"), minlength=len(grid) + 1)
    return bins[::-1].cumsum()[::-1][1:]


def check_finite(values: Tensor, name: str) -> Tensor:
    """The values; raises ValueError, calling them `name`, if one is NaN or infinite."""
    if not torch.isfinite(values).all():
        wrong = int((~torch.isfinite(values)).sum())
        raise ValueError(f"Expected {name} to be finite, but got {wrong} NaN or infinite values")
    return values


def finite_array(values: np.ndarray | Tensor | Sequence, name: str) -> np.ndarray:
    """Values as float64; raises ValueError, calling them `name`, if one is NaN or infinite."""
    array = to_array(values).astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(
            f"Expected {name} to be finite, but got {np.count_nonzero(~np.isfinite(array))} NaN or infinite values"
        )
    return array


def _map_on(values: np.ndarray | Tensor, region: Region) -> np.ndarray:
    array = finite_array(values, "values")
    if array.shape != region.grid:
        raise ValueError(f"Expected values to be of the region's shape {region.grid}, but got {array.shape}")
    return array


def _labelled(values: np.ndarray | Tensor, region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Labels (1 foreground, 0 background) and scores of the patches that are either."""
    array = _map_on(values, region)
    counts = region.foreground | region.background
    return region.foreground[counts].astype(int), array[counts]
