"""Means over some rows of a study with intervals over their images, and which column is the lowest how often."""

from dataclasses import dataclass

import numpy as np

from analysis.studies.statistics import BLOCK, Draws, interval

RESAMPLES = 400


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
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    kinds, place = np.unique(images, return_inverse=True)
    sums, counts = (np.zeros((len(kinds), values.shape[1])) for _ in range(2))
    np.add.at(sums, place, np.where(known, values, 0))
    np.add.at(counts, place, known)
    nothing = np.full(values.shape[1], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(axis=0) / counts.sum(axis=0)
        if len(kinds) < 2:
            return GroupMeans(mean, nothing, nothing, len(kinds), len(values))
        drawn, drawn_counts = np.zeros((resamples, values.shape[1])), np.zeros((resamples, values.shape[1]))
        draws = Draws(len(kinds), resamples, seed)
        for start in range(0, len(kinds), BLOCK):
            ranks = np.arange(start, min(start + BLOCK, len(kinds)))
            weights = draws.weights(ranks).astype(np.float64)
            drawn += weights @ sums[ranks]
            drawn_counts += weights @ counts[ranks]
        low, high = interval(drawn / drawn_counts, len(kinds))
    return GroupMeans(mean, low, high, len(kinds), len(values))


def lowest_share(values: np.ndarray) -> np.ndarray:
    """How often each column holds the lowest value of its row, as shares (k,) of the rows; ties share their row.

    >>> lowest_share(np.array([[-1.0, 0.0], [-2.0, 3.0], [1.0, 0.0], [0.0, 0.0]]))
    array([0.625, 0.375])
    """
    values = np.asarray(values, np.float64)
    rows = values[np.isfinite(values).any(axis=1)]
    if not len(rows):
        return np.full(values.shape[1], np.nan)
    ties = rows == np.nanmin(rows, axis=1, keepdims=True)
    return (ties / ties.sum(axis=1, keepdims=True)).mean(axis=0)
