"""From an image to windows and back: the resize rule, the sliding window, and the merged map at the image's size.

Enlarging a window's map, averaging windows where they overlap, and bringing the average to the image's size are all
linear and act on rows and columns alone. So the whole way back is one product with a matrix on each side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.evaluation.protocols import Protocol

ONE = 2048
"""OpenCV's fixed point for 8-bit images: weights are multiples of 1 / 2048."""


def network_size(size_px: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """Height and width that keep the shape of an image, neither side longer than asked for.

    >>> network_size((375, 500), 336, 2048)
    (336, 448)
    """
    factor = min(long_side / max(size_px), short_side / min(size_px))
    return tuple(int(side * factor + 0.5) for side in size_px)


def resize_bilinear(rgb: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """OpenCV's bilinear resize of 8-bit images: half-pixel centres, no antialiasing, fixed-point weights.

    Args:
        rgb: uint8 (H, W, c).
        size_px: height and width wanted.

    Returns:
        uint8 (height, width, c); within one grey level of OpenCV's INTER_LINEAR.
    """
    if rgb.shape[:2] == tuple(size_px):
        return rgb.copy()
    top, bottom, upper, lower = _taps(rgb.shape[0], size_px[0])
    left, right, near, far = _taps(rgb.shape[1], size_px[1])
    values = rgb.astype(np.int32)
    rows = values[:, left] * near[:, None] + values[:, right] * far[:, None]  # (H, width, c)
    total = (rows[top] >> 4) * upper[:, None, None] >> 16
    total += (rows[bottom] >> 4) * lower[:, None, None] >> 16
    return np.clip((total + 2) >> 2, 0, 255).astype(np.uint8)


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two source positions of every target position along one side, and their weights in fixed point."""
    position = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    first = np.floor(position).astype(int)
    far = np.rint((position - first) * ONE).astype(np.int32)
    return first.clip(0, source - 1), (first + 1).clip(0, source - 1), ONE - far, far


@dataclass(frozen=True, slots=True)
class Axis:
    """The windows along one side of the network input.

    Attributes:
        length_px: of the side.
        window_px: side of a window, at most the length.
        starts: first pixel of each window; the last one ends at the border.
        patch_px: side of a patch.
        cells: patches a window.
        before_px, after_px: zeros put before and after a window; negative `after_px` drops the rest.
    """

    length_px: int
    window_px: int
    starts: tuple[int, ...]
    patch_px: int
    cells: int
    before_px: int
    after_px: int

    def operator(self, target_px: int) -> np.ndarray:
        """Matrix (target, windows * cells) from the cells of all windows to the side of the image."""
        stretched = self.before_px + self.window_px + max(self.after_px, 0)
        enlarge = bilinear_matrix(self.cells, stretched)[self.before_px : self.before_px + self.window_px]
        merged = np.zeros((self.length_px, len(self.starts) * self.cells))
        seen = np.zeros((self.length_px, 1))
        for index, start in enumerate(self.starts):
            window = slice(start, start + self.window_px)
            merged[window, index * self.cells : (index + 1) * self.cells] += enlarge
            seen[window] += 1
        return bilinear_matrix(self.length_px, target_px) @ (merged / seen)


def bilinear_matrix(source: int, target: int) -> np.ndarray:
    """Bilinear interpolation along one side as a matrix (target, source): half-pixel centres, borders replicated."""
    position = ((np.arange(target) + 0.5) * (source / target) - 0.5).clip(0, source - 1)
    first = np.floor(position).astype(int)
    matrix = np.zeros((target, source))
    rows = np.arange(target)
    matrix[rows, first] = 1 - (position - first)
    matrix[rows, (first + 1).clip(max=source - 1)] += position - first
    return matrix


def plan_axis(length_px: int, patch_px: int, protocol: Protocol) -> Axis:
    """Windows along one side.

    Raises:
        ValueError: a window that holds no patch.
    """
    window = min(protocol.window or length_px, length_px)
    count = ceil(max(length_px - window, 0) / protocol.stride) + 1
    starts = tuple(min(index * protocol.stride, length_px - window) for index in range(count))
    rest = window % patch_px
    if protocol.remainder == "pad":
        missing = (patch_px - rest) % patch_px
        return Axis(length_px, window, starts, patch_px, ceil(window / patch_px), missing // 2, missing - missing // 2)
    if window < patch_px:
        raise ValueError(
            f"Expected windows to hold at least one patch of {patch_px} px, but got a side of {window} px; "
            'remainder "pad" takes it, and so does a larger long_side'
        )
    return Axis(length_px, window, starts, patch_px, window // patch_px, 0, -rest)


@dataclass(frozen=True, slots=True)
class Windows:
    """The sliding window over one image.

    Attributes:
        rows, columns: windows along height and width.
    """

    rows: Axis
    columns: Axis

    @classmethod
    def plan(cls, size_px: tuple[int, int], patch_px: tuple[int, int], protocol: Protocol) -> "Windows":
        """For a network input of (height, width) pixels."""
        return cls(*(plan_axis(side, patch, protocol) for side, patch in zip(size_px, patch_px, strict=True)))

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def cut(self, pixels: Tensor) -> Iterator[Tensor]:
        """Windows of normalised pixels (3, h, w), rows first, each a multiple of the patch."""
        padding = (self.columns.before_px, self.columns.after_px, self.rows.before_px, self.rows.after_px)
        for top in self.rows.starts:
            for left in self.columns.starts:
                window = pixels[:, top : top + self.rows.window_px, left : left + self.columns.window_px]
                yield F.pad(window, padding)

    def mosaic(self, cells: Tensor) -> Tensor:
        """Values (windows, gh, gw, q) side by side, (q, rows * gh, columns * gw)."""
        grid = cells.unflatten(0, (len(self.rows.starts), len(self.columns.starts)))  # (r, c, gh, gw, q)
        return grid.permute(4, 0, 2, 1, 3).flatten(3, 4).flatten(1, 2)

    def operators(self, target_px: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices A (H, rows * gh) and B (columns * gw, W): A @ mosaic @ B is the merged map at the image's size."""
        axes = zip((self.rows, self.columns), target_px, strict=True)
        down, across = (torch.from_numpy(axis.operator(side)).to(like) for axis, side in axes)
        return down, across.mT
