"""Insertion and deletion: does the model need what a map points at?

Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv 1806.07421, section
4.2, with patches in place of pixels: the image is uncovered, or covered, patch by patch in the order of the map.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.metrics import auc
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from analysis.metrics import finite_array
from surgery.maps import TiedMapWarning

Baseline = Literal["blur", "mean"]
BLUR_KERNEL_PX, BLUR_STD_PX = 11, 5.0
"""RISE's blur of the image that insertion starts from."""


@dataclass(frozen=True, slots=True, eq=False)
class InsertionDeletion:
    """How fast the score rises and falls as patches are shown and hidden in the order of a map.

    Attributes:
        fractions: (k,) share of the patches that were shown (insertion) or hidden (deletion), from 0 to 1, ascending.
        insertion: (k,) score; the last is that of the image.
        deletion: (k,) score; the first is that of the image.
        insertion_auc: area under `insertion`; high when the map puts first what the model needs.
        deletion_auc: area under `deletion`; low when it does.
        baselines: what is seen in place of a hidden patch, in insertion and in deletion.
    """

    fractions: np.ndarray
    insertion: np.ndarray
    deletion: np.ndarray
    insertion_auc: float
    deletion_auc: float
    baselines: tuple[Baseline, Baseline]


@torch.inference_mode()
def insertion_deletion(
    score_fn: Callable[[Tensor], Tensor],
    pixels: Tensor,
    values: np.ndarray | Tensor,
    *,
    steps: int = 28,
    baselines: tuple[Baseline, Baseline] = ("blur", "mean"),
    batch_size: int = 16,
    ends: np.ndarray | None = None,
) -> InsertionDeletion:
    """Shows and hides the patches of an image in the order of a map, highest first, and follows the model's score.

    Args:
        score_fn: scores of a batch of images, (n, 3, H, W) -> (n,); for example the cosine with one text.
        pixels: (3, H, W) normalised image.
        values: (gh, gw) map; gh and gw divide H and W. Patches of equal value are shown and hidden together, so that
            their order does not matter; a constant map has two points, nothing and all.
        steps: points of the curves after the first; at most the number of patches. Fewer where values are equal.
        baselines: for insertion and for deletion, "blur" (11 px, standard deviation 5) or "mean" (0 in normalised
            pixels, the mean colour of the training set).
        batch_size: images per call of `score_fn`.
        ends: (3,) from `end_scores`, where several maps of one image are followed; None computes them.

    Raises:
        ValueError: shapes that do not fit, an unknown baseline, or steps or batch size out of range.

    Warns:
        TiedMapWarning: the map is constant, so the areas say nothing about it.

    Source: Petsiuk et al. 2018, arXiv 1806.07421, section 4.2, with patches in place of pixels.
    """
    values = _fitting_map(values, pixels)
    patches = values.size
    if not 1 <= steps <= patches:
        raise ValueError(f"Expected steps to be from 1 to {patches} (the number of patches), but got {steps}")
    if batch_size < 1:
        raise ValueError(f"Expected batch_size to be at least 1, but got {batch_size}")
    if len(baselines) != 2 or not set(baselines) <= set(get_args(Baseline)):
        raise ValueError(f"Expected baselines to be two of {', '.join(get_args(Baseline))}, but got {baselines!r}")
    if values.min() == values.max():
        warnings.warn("The map is constant: it orders no patch before another", TiedMapWarning, stacklevel=3)
    ranks, counts = _ranks(values), torch.linspace(0, patches, steps + 1).round().numpy()
    counts = np.unique([np.count_nonzero(ranks < count) for count in counts])  # no group of equals is split
    order, counts = _of_pixels(ranks, pixels), torch.from_numpy(counts).to(pixels.device)
    hidden, blank = (_baseline(pixels, name) for name in baselines)
    ends = end_scores(score_fn, pixels, baselines) if ends is None else ends
    inserted, deleted = [ends[:1]], [ends[1:2]]
    for count in counts[1:-1].split(batch_size) if len(counts) > 2 else ():
        first = (order < count.reshape(-1, 1, 1))[:, None]  # (n, 1, H, W) the patches that come first
        inserted.append(_scores(score_fn, torch.where(first, pixels, hidden)))
        deleted.append(_scores(score_fn, torch.where(first, blank, pixels)))
    inserted, deleted = [*inserted, ends[1:2]], [*deleted, ends[2:]]
    fractions = counts.cpu().numpy() / patches
    insertion, deletion = np.concatenate(inserted), np.concatenate(deleted)
    areas = float(auc(fractions, insertion)), float(auc(fractions, deletion))
    return InsertionDeletion(fractions, insertion, deletion, *areas, tuple(baselines))


@torch.inference_mode()
def end_scores(
    score_fn: Callable[[Tensor], Tensor], pixels: Tensor, baselines: tuple[Baseline, Baseline] = ("blur", "mean")
) -> np.ndarray:
    """Scores (3,) that the curves of every map have in common: nothing inserted, the image itself, all deleted."""
    hidden, blank = (_baseline(pixels, name) for name in baselines)
    return _scores(score_fn, torch.stack([hidden, pixels, blank]))


def _fitting_map(values: np.ndarray | Tensor, pixels: Tensor) -> np.ndarray:
    values = finite_array(values, "values")
    ranks_fit = values.ndim == 2 and pixels.ndim == 3
    if not ranks_fit or any(s % g for s, g in zip(pixels.shape[1:], values.shape, strict=True)):
        raise ValueError(
            f"Expected pixels (3, H, W) and values (gh, gw) with H and W multiples of gh and gw, "
            f"but got {tuple(pixels.shape)} and {values.shape}"
        )
    return values


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of every patch, 0 for the highest value; equal values share the last of their ranks."""
    return rankdata(-values, method="max").reshape(values.shape) - 1


def _of_pixels(ranks: np.ndarray, pixels: Tensor) -> Tensor:
    """Rank of the patch that every pixel is in, (H, W)."""
    height, width = (side // count for side, count in zip(pixels.shape[1:], ranks.shape, strict=True))
    return torch.from_numpy(ranks.repeat(height, axis=0).repeat(width, axis=1)).to(pixels.device)


def _baseline(pixels: Tensor, name: Baseline) -> Tensor:
    return torch.zeros_like(pixels) if name == "mean" else gaussian_blur(pixels, BLUR_KERNEL_PX, BLUR_STD_PX)


def _scores(score_fn: Callable[[Tensor], Tensor], batch: Tensor) -> np.ndarray:
    scores = score_fn(batch)
    if tuple(scores.shape) != (len(batch),):
        raise ValueError(
            f"Expected score_fn to return one score an image, ({len(batch)},), but got {tuple(scores.shape)}"
        )
    return scores.float().cpu().numpy()
