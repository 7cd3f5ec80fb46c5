"""Foreground and background patches of an image: where a map should light up, and where it should not.

A patch is foreground if more than 50 % of its pixels are, background if less than 10 % are, and neither in between.
Pixels to ignore count for neither: fractions are taken over the other pixels of the patch; without any it is neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.geometry import Framing, patch_fractions

FOREGROUND_ABOVE_PERCENT = 50
BACKGROUND_BELOW_PERCENT = 10


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """An object on the grid of patches.

    Attributes:
        foreground: bool (gh, gw), at least one patch.
        background: bool (gh, gw), at least one patch, none of the foreground.
        name: what the region is, such as "a red circle".

    Raises:
        ValueError: masks of other shapes or types, that overlap, or of which one is empty.
    """

    foreground: np.ndarray
    background: np.ndarray
    name: str = "region"

    def __post_init__(self) -> None:
        masks = (self.foreground, self.background)
        if any(mask.dtype != bool or mask.ndim != 2 for mask in masks) or masks[0].shape != masks[1].shape:
            got = " and ".join(f"{mask.dtype} {mask.shape}" for mask in masks)
            raise ValueError(f"Expected foreground and background to be bool of one shape (gh, gw), but got {got}")
        if (self.foreground & self.background).any():
            raise ValueError("Expected foreground and background to be disjoint, but got patches that are both")
        if not self.foreground.any():
            raise ValueError(f"Expected {self.name!r} to have at least 1 foreground patch, but got none")
        if not self.background.any():
            raise ValueError(
                f"Expected {self.name!r} to leave at least 1 background patch, "
                f"but got a region that covers the whole image"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.foreground.shape

    @classmethod
    def from_mask(
        cls,
        mask: np.ndarray | Tensor | Image.Image,
        grid: tuple[int, int],
        ignore: int | None = None,
        image_size: tuple[int, int] | None = None,
        name: str = "region",
        framing: Framing | None = None,
    ) -> "Region":
        """The region of a pixel mask, stretched over the grid, or as the image lies on the input.

        Args:
            mask: (H, W). Bool; or 0 and 1; or 0 and 255 (255 is foreground); or 0, 1 and 255 (255 is ignored).
            grid: rows and columns of patches.
            ignore: value of pixels to ignore; None ignores 255 where 1 occurs as well.
            image_size: (H, W) of the image, to check that the mask belongs to it; None does not check.
            name: what the region is.
            framing: where the image lies on the input, see `Model.framing`; None for stretched over it. What is filled
                up beyond the image is neither foreground nor background.

        Raises:
            ValueError: the mask is not (H, W), has other values, another size than the image, or gives no region.
        """
        pixels = to_array(mask)
        if pixels.ndim != 2:
            raise ValueError(f"Expected mask to be of shape (H, W), but got {pixels.shape}")
        if image_size is not None and pixels.shape != tuple(image_size):
            raise ValueError(f"Expected mask to be of the image's size {tuple(image_size)}, but got {pixels.shape}")
        found = set(np.unique(pixels).tolist())
        if ignore is None and 1 in found and 255 in found:
            ignore = 255
        foreground_values = found - {0, ignore}
        if not foreground_values <= {1} and foreground_values != {255}:
            raise ValueError(
                f"Expected mask to hold 0 and 1 (255 ignored), or 0 and 255, but got the values {sorted(found)[:10]}; "
                f"see regions_from_labels for masks of several classes"
            )
        inside, known = np.isin(pixels, [*foreground_values]), np.not_equal(pixels, ignore)
        if framing is not None:
            inside, known = framing.apply(inside, False), framing.apply(known, False)
        return _from_pixels(inside, known, grid, name)

    @classmethod
    def from_box(
        cls,
        box: tuple[float, float, float, float],
        image_size: tuple[int, int],
        grid: tuple[int, int],
        name: str = "region",
        framing: Framing | None = None,
    ) -> "Region":
        """The region of a box.

        Args:
            box: x0, y0, x1, y1 in pixels from the upper left corner, rounded; x1 and y1 are the first outside.
            image_size: (H, W) in pixels.
            grid: rows and columns of patches.
            name: what the region is.
            framing: as in `from_mask`.

        Raises:
            ValueError: x1 <= x0 or y1 <= y0, the box reaches out of the image, or gives no region.
        """
        height, width = image_size
        x0, y0, x1, y1 = (round(side) for side in box)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(
                f"Expected box to be x0 < x1 and y0 < y1 inside the image of {width} x {height} pixels, "
                f"but got {tuple(box)}"
            )
        mask = np.zeros((height, width), bool)
        mask[y0:y1, x0:x1] = True
        return cls.from_mask(mask, grid, name=name, framing=framing)

    @classmethod
    def from_polygon(
        cls,
        points_xy: Sequence[tuple[float, float]] | np.ndarray,
        image_size: tuple[int, int],
        grid: tuple[int, int],
        name: str = "region",
        framing: Framing | None = None,
    ) -> "Region":
        """The region inside a closed line, such as a lasso.

        Args:
            points_xy: corners (n, 2) in pixels, x to the right and y down; parts outside the image are cut off.
            image_size: (H, W) in pixels.
            grid: rows and columns of patches.
            name: what the region is.
            framing: as in `from_mask`.

        Raises:
            ValueError: fewer than 3 corners, corners that are not finite, or a polygon that gives no region.
        """
        points = np.asarray(points_xy, dtype=float)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
            raise ValueError(f"Expected points_xy to be at least 3 finite corners (x, y), but got shape {points.shape}")
        return cls.from_mask(polygon_mask(points, tuple(image_size)), grid, name=name, framing=framing)

    @classmethod
    def from_patches(cls, patches: Sequence[tuple[int, int]], grid: tuple[int, int], name: str = "region") -> "Region":
        """The region of chosen patches; all others are background.

        Args:
            patches: (row, column) of each.
            grid: rows and columns of patches.
            name: what the region is.

        Raises:
            ValueError: a patch outside the grid, none, or all.
        """
        outside = [patch for patch in patches if not (0 <= patch[0] < grid[0] and 0 <= patch[1] < grid[1])]
        if outside:
            raise ValueError(
                f"Expected patches to be (row, column) inside the grid {tuple(grid)}, but got {outside[:10]}"
            )
        foreground = np.zeros(grid, bool)
        for row, column in patches:
            foreground[row, column] = True
        return cls(foreground, ~foreground, name)


def polygon_mask(points_xy: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre is inside a closed line; where it crosses itself, those inside an odd number of times.

    Pillow's polygons would also hold the pixels that the line runs through, one more on the left and on the top.

    Args:
        points_xy: corners (n, 2) in pixels from the upper left corner of the image.
        image_size: (H, W) in pixels.

    Returns:
        bool (H, W).
    """
    height, width = image_size
    centres = np.arange(height) + 0.5
    crossings = np.zeros((height, width + 1), np.int64)  # left of which pixels, the last column for those outside
    for (x0, y0), (x1, y1) in zip(points_xy, np.roll(points_xy, -1, axis=0), strict=True):
        rows = np.flatnonzero((y0 <= centres) != (y1 <= centres))
        x = x0 + (centres[rows] - y0) * (x1 - x0) / (y1 - y0)
        crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(int)] += 1
    return crossings.cumsum(axis=1)[:, :width] % 2 == 1


def regions_from_labels(
    label_mask: np.ndarray | Tensor | Image.Image,
    class_names: Mapping[int, str] | Sequence[str],
    grid: tuple[int, int],
    ignore_id: int = 255,
) -> dict[str, Region]:
    """One region for every class of a label mask; the pixels of all other classes are its background.

    Args:
        label_mask: (H, W) integer class ids.
        class_names: name of every id; ids that have none are background of every class.
        grid: rows and columns of patches.
        ignore_id: id of pixels to ignore.

    Returns:
        Regions by class name. Left out are classes that are absent, too small for a patch, or without background.

    Raises:
        ValueError: the mask is not (H, W) of integers, or the ignored id has a name.
    """
    labels = to_array(label_mask)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"Expected label_mask to be integers of shape (H, W), but got {labels.dtype} {labels.shape}")
    names = dict(class_names) if isinstance(class_names, Mapping) else dict(enumerate(class_names))
    if ignore_id in names:
        raise ValueError(f"Expected ignore_id to name no class, but got {ignore_id} ({names[ignore_id]!r})")
    regions = {}
    for label in np.unique(labels).tolist():
        if label in names:
            foreground, background, _ = _classify(labels == label, labels != ignore_id, grid)
            if foreground.any() and background.any():
                regions[names[label]] = Region(foreground, background, names[label])
    return regions


def stack_regions(
    regions: Region | Sequence[Region], images: int, grid: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Foreground and background of every image of a batch.

    Args:
        regions: one for all images, or one each.
        images: number of images b.
        grid: rows and columns of patches of the trace or the map.

    Returns:
        Two bool arrays (b, gh * gw).

    Raises:
        ValueError: a number of regions that is not b, or regions of another grid.
    """
    listed = [regions] * images if isinstance(regions, Region) else list(regions)
    if len(listed) != images:
        raise ValueError(
            f"Expected regions to be one for all or one for each of {images} images, but got {len(listed)}"
        )
    for region in listed:
        if region.grid != tuple(grid):
            raise ValueError(f"Expected region to be of the grid {tuple(grid)}, but got {region.grid}")
    return tuple(np.stack([getattr(r, side).ravel() for r in listed]) for side in ("foreground", "background"))


def to_array(values: np.ndarray | Tensor | Image.Image | Sequence) -> np.ndarray:
    """A NumPy array of values that may be a tensor on any device and of any precision."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values  # NumPy has no bfloat16
    return np.asarray(values)


def _from_pixels(foreground: np.ndarray, valid: np.ndarray, grid: tuple[int, int], name: str) -> Region:
    if not (foreground & valid).any():
        raise ValueError(f"Expected {name!r} to hold at least 1 foreground pixel, but got an empty region")
    patches, background, largest = _classify(foreground, valid, grid)
    if not patches.any():
        raise ValueError(
            f"Expected {name!r} to fill more than {FOREGROUND_ABOVE_PERCENT} % of a patch of the grid {tuple(grid)}, "
            f"but got {100 * largest:.1f} % at most; a larger input size has a finer grid"
        )
    return Region(patches, background, name)


def _classify(foreground: np.ndarray, valid: np.ndarray, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, float]:
    """Foreground patches, background patches and the largest fraction of foreground in a patch."""
    # In whole units of area, so that a patch of exactly 10 % is on the same side whatever the size of the mask.
    counted, covered = (np.rint(patch_fractions(m, grid) * m.size) for m in (valid, foreground & valid))
    fraction = np.divide(covered, counted, out=np.zeros_like(covered), where=counted > 0)
    patches = 100 * covered > FOREGROUND_ABOVE_PERCENT * counted
    background = 100 * covered < BACKGROUND_BELOW_PERCENT * counted
    return patches, background, float(fraction.max())
