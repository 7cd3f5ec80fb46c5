"""Counting label maps against masks: areas summed over images, and mean IoU by both rules in use."""

from dataclasses import dataclass

import numpy as np

IGNORE = 255


@dataclass(frozen=True, slots=True, eq=False)
class LabelCounts:
    """Pixels of each class in one or many images; counts of images add up with `+`.

    Attributes:
        intersection: int64 (c,), predicted and true.
        predicted: int64 (c,), predicted, where the mask is not ignored.
        truth: int64 (c,), true.
    """

    intersection: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray

    @classmethod
    def none(cls, classes: int) -> "LabelCounts":
        """No image yet."""
        return cls(*(np.zeros(classes, np.int64) for _ in range(3)))

    @classmethod
    def of(cls, labels: np.ndarray, mask: np.ndarray, classes: int) -> "LabelCounts":
        """Of one image.

        Args:
            labels: (H, W) predicted classes, 0 ... classes - 1.
            mask: (H, W) true classes; 255 is not counted, other values beyond the classes count as predicted only.
            classes: how many.

        Raises:
            ValueError: label map and mask of different sizes.
        """
        if labels.shape != mask.shape:
            raise ValueError(f"Expected the mask to be of the image's size {labels.shape}, but got {mask.shape}")
        known = mask != IGNORE
        labels, mask = labels[known], mask[known]
        hits = labels[labels == mask]
        return cls(*(np.bincount(values[values < classes], minlength=classes) for values in (hits, labels, mask)))

    def __add__(self, other: "LabelCounts") -> "LabelCounts":
        return LabelCounts(
            self.intersection + other.intersection, self.predicted + other.predicted, self.truth + other.truth
        )

    @property
    def union(self) -> np.ndarray:
        """int64 (c,), predicted or true."""
        return self.predicted + self.truth - self.intersection

    @property
    def iou(self) -> np.ndarray:
        """float64 (c,), NaN where the union is empty."""
        union = self.union
        return np.where(union > 0, self.intersection / np.maximum(union, 1), np.nan)

    @property
    def miou(self) -> float:
        """Mean over classes with a union, as mmseg counts: a class that is only predicted counts 0; NaN if none."""
        return _mean(self.iou[self.union > 0])

    @property
    def miou_present(self) -> float:
        """Mean over the classes that occur in the masks; NaN if none does."""
        return _mean(self.iou[self.truth > 0])

    @property
    def pixel_accuracy(self) -> float:
        """Share of right pixels; NaN if none counts."""
        total = self.truth.sum()
        return float(self.intersection.sum() / total) if total else float("nan")


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
