"""Where an image lies on the input of a network, and where the patches of the input lie on the image."""

import math
from dataclasses import dataclass

import numpy as np

STRIP_PIXELS = 1 << 20
FITS = ("stretch", "crop", "letterbox")
"""How an image is brought to the input: stretched over it; scaled until it fills it and cut at two sides, as most CLIPs
were trained; or scaled until it fits and filled up at two sides."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How an image lies on the input of a network: scaled and shifted, never turned.

    Attributes:
        fit: one of `FITS`.
        image_px, input_px: height and width of both.
        scaled_px: height and width of the image on the input.
        shift_px: row and column of the input where the image's upper left corner lies; negative where it is cut.
    """

    fit: str
    image_px: tuple[int, int]
    input_px: tuple[int, int]
    scaled_px: tuple[int, int]
    shift_px: tuple[int, int]

    @classmethod
    def of(cls, fit: str, image_px: tuple[int, int], input_px: tuple[int, int]) -> "Framing":
        """The framing of an image of (height, width) pixels on an input of (height, width) pixels.

        Raises:
            ValueError: an unknown fit, or a side without pixels.
        """
        check_fit(fit)
        if min(*image_px, *input_px) < 1:
            raise ValueError(f"Expected image_px and input_px to be >= 1, but got {image_px} and {input_px}")
        ratios = [wanted / own for wanted, own in zip(input_px, image_px, strict=True)]
        if fit == "stretch":
            return cls(fit, tuple(image_px), tuple(input_px), tuple(input_px), (0, 0))
        scale = max(ratios) if fit == "crop" else min(ratios)
        filled = ratios.index(scale)
        # The side that is filled exactly; of the other one, whole pixels as torchvision's Resize has them.
        scaled = tuple(
            input_px[side] if side == filled else max(1, image_px[side] * input_px[filled] // image_px[filled])
            for side in (0, 1)
        )
        shift = tuple(-round((own - wanted) / 2) for own, wanted in zip(scaled, input_px, strict=True))
        return cls(fit, tuple(image_px), tuple(input_px), scaled, shift)

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """The input as a box x0, y0, x1, y1 in whole pixels of the image; beyond its edges where it is filled up."""
        (y0, x0), (y1, x1) = (
            tuple(round(value) for value in self._to_image(corner)) for corner in ((0, 0), self.input_px)
        )
        return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)

    @property
    def framed_px(self) -> tuple[int, int]:
        """Height and width of `box_px`."""
        x0, y0, x1, y1 = self.box_px
        return y1 - y0, x1 - x0

    def to_input(self, xy: np.ndarray) -> np.ndarray:
        """Points (..., 2) as x, y in pixels of the image -> in pixels of the input."""
        scale, shift = self._scale(), np.array(self.shift_px[::-1])
        return np.asarray(xy, np.float64) * scale + shift

    def to_image(self, xy: np.ndarray) -> np.ndarray:
        """Points (..., 2) as x, y in pixels of the input -> in pixels of the image; outside of it on what is filled."""
        scale, shift = self._scale(), np.array(self.shift_px[::-1])
        return (np.asarray(xy, np.float64) - shift) / scale

    def apply(self, pixels: np.ndarray, fill: float | tuple[int, ...]) -> np.ndarray:
        """Cuts and fills up what has the size of the image, at its own resolution: `box_px` of it.

        What comes back lies stretched over the input, so that everything said of a stretched image holds for it.

        Args:
            pixels: (H, W) or (H, W, c), such as a photograph, a mask or labels.
            fill: value of what lies beyond the image.

        Returns:
            (h, w) or (h, w, c) of `framed_px`; the argument itself where the image is stretched.

        Raises:
            ValueError: another size than the image's.
        """
        if pixels.shape[:2] != self.image_px:
            raise ValueError(f"Expected pixels of the image's size {self.image_px}, but got {pixels.shape[:2]}")
        x0, y0, x1, y1 = self.box_px
        if (x0, y0, x1, y1) == (0, 0, *self.image_px[::-1]):
            return pixels
        framed = np.empty((y1 - y0, x1 - x0, *pixels.shape[2:]), pixels.dtype)
        framed[:] = fill
        inside = pixels[max(y0, 0) : y1, max(x0, 0) : x1]
        top, left = max(-y0, 0), max(-x0, 0)
        framed[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return framed

    def patches_inside(self, grid: tuple[int, int]) -> np.ndarray:
        """Which patches see the image with half of their area or more, bool (gh, gw); all of them without filling."""
        image = np.zeros(self.input_px, bool)
        (top, left), (height, width) = self.shift_px, self.scaled_px
        image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
        return patch_fractions(image, grid) >= 0.5

    def _scale(self) -> np.ndarray:
        """Pixels of the input per pixel of the image, x and y."""
        return np.array([self.scaled_px[1] / self.image_px[1], self.scaled_px[0] / self.image_px[0]])

    def _to_image(self, row_column: tuple[int, int]) -> tuple[float, float]:
        x, y = self.to_image(np.array(row_column[::-1]))
        return float(y), float(x)


def check_fit(fit: str) -> None:
    """Refuses an unknown fit.

    Raises:
        ValueError: naming those there are.
    """
    if fit not in FITS:
        raise ValueError(f"Expected fit to be one of {', '.join(FITS)}, but got {fit!r}")


def letterbox_px(image_px: tuple[int, int], side_px: int, patch_px: tuple[int, int]) -> tuple[int, int]:
    """The input of an image that keeps its shape: its longer side is `side_px`, the other as many patches as it needs.

    Args:
        image_px: height and width of the image.
        side_px: a multiple of the patch.
        patch_px: height and width of a patch.

    >>> letterbox_px((400, 600), 224, (16, 16))
    (160, 224)
    """
    longer = max(image_px)
    return tuple(
        side_px if own == longer else math.ceil(own * side_px / longer / patch) * patch
        for own, patch in zip(image_px, patch_px, strict=True)
    )


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
    area = np.zeros(grid)  # whole numbers: H * W is a full patch
    strip = max(1, STRIP_PIXELS // width)
    for top in range(0, height, strip):  # a mask as float64 would take eight times its memory
        part = slice(top, top + strip)
        area += rows[:, part] @ (mask[part].astype(np.float64) @ columns.T)  # (gh, gw)
    return area / (height * width)


def _overlaps(cells: int, pixels: int) -> np.ndarray:
    """How much of pixel p lies in cell c, (cells, pixels), in units of 1 / cells of a pixel, so in whole numbers."""
    starts = np.arange(pixels) * cells
    edges = np.arange(cells)[:, None] * pixels
    overlap = np.minimum(starts + cells, edges + pixels) - np.maximum(starts, edges)
    return np.maximum(overlap, 0).astype(np.float64)
