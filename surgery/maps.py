"""Similarity -> maps at image size -> point prompts for Segment Anything."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from surgery.features import Similarity


@torch.inference_mode()
def similarity_maps(
    sim: Similarity, size: tuple[int, int], normalize: str | None = None, threshold: float | None = None
) -> Tensor:
    """Upsamples the patch similarities to an image.

    Args:
        sim: from `similarity` or `feature_surgery`.
        size: (height, width) in pixels.
        normalize: None keeps signed values; "minmax" brings each map's patches to [0, 1], which hides the sign.
        threshold: values below it become the threshold before min-max; in a signed map 0, or the threshold where that
            is negative, so that nothing cut off ends above what is kept.

    Returns:
        (b, t, height, width), bilinear as in the published code.

    Raises:
        ValueError: unknown normalisation, a size without pixels, or a threshold that is not finite.
    """
    if normalize not in (None, "minmax"):
        raise ValueError(f'Expected normalize to be None or "minmax", but got {normalize!r}')
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"Expected size to be (height, width) of at least 1 pixel, but got {size}")
    maps = sim.patches.movedim(-1, 1)  # (b, t, gh, gw)
    if threshold is not None:
        if not math.isfinite(threshold):
            raise ValueError(f"Expected threshold to be a finite number, but got {threshold}")
        floor = threshold if normalize else min(threshold, 0.0)
        maps = torch.where(maps < threshold, torch.full_like(maps, floor), maps)
    if normalize:
        maps = min_max(maps)
    return F.interpolate(maps, size=tuple(size), mode="bilinear")


def min_max(maps: Tensor) -> Tensor:
    """Every map (..., h, w) brought to [0, 1]; a constant map becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, torch.ones_like(high))


class TiedMapWarning(UserWarning):
    """Equal values of a map stand where an order was asked for; the order of the patches decides."""


@dataclass(frozen=True, slots=True)
class PromptPoints:
    """Points for Segment Anything.

    Attributes:
        xy: (n, 2) int64, column and row in pixels of the image.
        labels: (n,) int64, 1 for a point on the object, 0 for one off it; the ones come first.
    """

    xy: np.ndarray
    labels: np.ndarray


def prompt_points(
    map_: Tensor | np.ndarray, image_size: tuple[int, int], threshold: float = 0.8, downsample: int = 2
) -> PromptPoints:
    """Turns one similarity map into points: as many of highest as of lowest value.

    Args:
        map_: (gh, gw) similarity of one text.
        image_size: (height, width) of the image in pixels.
        threshold: on the min-max normalised map, in [0, 1]; sets how many points there are.
        downsample: factor by which the map is made smaller first.

    Returns:
        Positives in ascending order of value, then negatives in ascending order.

    Raises:
        ValueError: a parameter is out of range.

    Warns:
        TiedMapWarning: a chosen cell has the value of one that was left out; the published rule then goes by position.

    Source: text-to-points of Li et al. 2023, "CLIP Surgery", arXiv 2304.05653.
    """
    grid = torch.as_tensor(map_).detach().cpu()
    grid = grid if grid.dtype == torch.float64 else grid.float()
    _check_points(grid, image_size, threshold, downsample)
    rows, columns = (max(1, side // downsample) for side in grid.shape)
    small = min_max(F.interpolate(grid[None, None], size=(rows, columns), mode="bilinear"))[0, 0]
    values = small.flatten()
    count = min(int((values >= threshold).sum()), len(values) // 2)
    order = values.argsort(stable=True)
    _warn_of_ties(values[order], count)
    cells = torch.cat([order[len(order) - count :], order[:count]]).numpy()
    height, width = image_size
    x = ((cells % columns + 0.5) * width / columns).astype(np.int64).clip(0, width - 1)
    y = ((cells // columns + 0.5) * height / rows).astype(np.int64).clip(0, height - 1)
    return PromptPoints(np.stack([x, y], axis=1), np.repeat(np.array([1, 0]), count))


def _warn_of_ties(ascending: Tensor, count: int) -> None:
    if count and (ascending[count - 1] == ascending[count] or ascending[-count - 1] == ascending[-count]):
        warnings.warn(
            f"{count} cells of highest and of lowest value were asked for, but cells of equal value stand on both "
            "sides of the cut: their position in the image decides which become points",
            TiedMapWarning,
            stacklevel=3,
        )


def _check_points(grid: Tensor, image_size: tuple[int, int], threshold: float, downsample: int) -> None:
    if grid.ndim != 2 or grid.numel() == 0 or not torch.isfinite(grid).all():
        raise ValueError(f"Expected map_ to be a finite (gh, gw) map, but got shape {tuple(grid.shape)}")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"Expected image_size to be (height, width) of at least 1 pixel, but got {image_size}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"Expected threshold to be from 0 to 1, but got {threshold}")
    if isinstance(downsample, bool) or not isinstance(downsample, int) or downsample < 1:
        raise ValueError(f"Expected downsample to be a whole number of at least 1, but got {downsample!r}")
