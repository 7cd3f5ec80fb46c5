"""Where the patches of a grid lie on the image that the network saw stretched over it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Grid:
    """Patches laid over an image as it is shown, whatever size the network saw.

    Attributes:
        rows, columns: of patches.
        height_px, width_px: of the image.
    """

    rows: int
    columns: int
    height_px: int
    width_px: int

    def __post_init__(self) -> None:
        sides = (self.rows, self.columns, self.height_px, self.width_px)
        if min(sides) < 1:
            raise ValueError(f"Expected rows, columns, height_px and width_px to be >= 1, but got {sides}")

    @property
    def patch_size_px(self) -> tuple[float, float]:
        """(height, width) of a patch in pixels of the image, not necessarily whole."""
        return self.height_px / self.rows, self.width_px / self.columns

    def patch_centers_px(self) -> np.ndarray:
        """Centres (rows, columns, 2) as x, y in pixels from the upper left corner."""
        height, width = self.patch_size_px
        y = (np.arange(self.rows) + 0.5) * height
        x = (np.arange(self.columns) + 0.5) * width
        return np.stack(np.meshgrid(x, y), axis=-1)  # (rows, columns, 2)

    def patch_box_px(self, row: int, column: int) -> tuple[float, float, float, float]:
        """The box x0, y0, x1, y1 of a patch in pixels.

        Raises:
            ValueError: a patch outside the grid.
        """
        if not (0 <= row < self.rows and 0 <= column < self.columns):
            raise ValueError(
                f"Expected patch to be inside the grid {(self.rows, self.columns)}, but got {(row, column)}"
            )
        height, width = self.patch_size_px
        return column * width, row * height, (column + 1) * width, (row + 1) * height

    def patch_at(self, x_px: float, y_px: float) -> tuple[int, int]:
        """(row, column) of the patch under a point; a point on the right or lower edge belongs to the last patch.

        Raises:
            ValueError: a point outside the image.
        """
        if not (0 <= x_px <= self.width_px and 0 <= y_px <= self.height_px):
            raise ValueError(
                f"Expected point to be inside the image of {self.width_px} x {self.height_px} pixels, "
                f"but got {(x_px, y_px)}"
            )
        row = int(y_px * self.rows / self.height_px)
        column = int(x_px * self.columns / self.width_px)
        return min(row, self.rows - 1), min(column, self.columns - 1)


def patch_fractions(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The part of each patch's area that a mask covers; pixels on a border between patches count by their parts.

    Args:
        mask: bool (H, W), any size.
        grid: rows and columns of patches, gh and gw.

    Returns:
        float64 (gh, gw) in [0, 1]; exact but for one division.

    Raises:
        ValueError: the mask is not bool (H, W) with pixels, or the grid has no patch.

    >>> patch_fractions(np.array([[True, False, False]]), (1, 2))
    array([[0.66666667, 0.        ]])
    """
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2 or not mask.size:
        raise ValueError(f"Expected mask to be bool of shape (H, W), but got {mask.dtype} {mask.shape}")
    if len(grid) != 2 or min(grid) < 1:
        raise ValueError(f"Expected grid to be (rows, columns) of at least 1, but got {tuple(grid)}")
    height, width = mask.shape
    rows, columns = _overlaps(grid[0], height), _overlaps(grid[1], width)
    area = rows @ mask.astype(np.float64) @ columns.T  # (gh, gw), whole numbers: H * W is a full patch
    return area / (height * width)


def _overlaps(cells: int, pixels: int) -> np.ndarray:
    """How much of pixel p lies in cell c, (cells, pixels), in units of 1 / cells of a pixel, so in whole numbers."""
    starts = np.arange(pixels) * cells
    edges = np.arange(cells)[:, None] * pixels
    overlap = np.minimum(starts + cells, edges + pixels) - np.maximum(starts, edges)
    return np.maximum(overlap, 0).astype(np.float64)
