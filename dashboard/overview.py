"""Prompts x methods as one picture file, drawn by matplotlib without a browser or a display."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dashboard.figures.theme import NEGATIVE_RGB, OPACITY, POSITIVE_RGB, shared_limit
from dashboard.fonts import set_fonts

CELL_IN = 1.9
MAX_SIDE_IN = 320.0  # Agg draws at most 2^16 pixels a side
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN = 1.25, 1.05, 0.95, 0.6
GAP_IN = 0.08
EDGE_IN = 0.08
SETTINGS_LINES = 4
DPI = 110
HINT = "Orange is above 0, blue below; opacity is magnitude, so the grey photograph alone is 0."
HINT_MINMAX = "Each map from its lowest value (grey) to its highest (orange): sign and strength are hidden."


def overview_png(
    photo: np.ndarray,
    maps: np.ndarray,
    prompts: Sequence[str],
    methods: Sequence[str],
    *,
    title: str,
    unit: str,
    settings: str,
    minmax: bool = False,
) -> bytes:
    """Draws the photograph and a grid of its maps, a row a prompt and a column a method, on one scale.

    Args:
        photo: uint8 (H, W, 3), shown in colour once and in grey under every map.
        maps: (methods, prompts, gh, gw), signed.
        prompts, methods: titles of rows and columns.
        title: what is plotted, one line.
        unit: of the numbers, written at the colour bar.
        settings: a small line below: what produced the numbers.
        minmax: whether each map is brought to [0, 1] on its own; the bar then has no unit.

    Returns:
        A PNG file. Hue is the sign, opacity the magnitude: what is 0 shows the grey photograph alone.

    Raises:
        ValueError: titles and maps do not agree, or a value is not finite.
    """
    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim != 4 or maps.shape[:2] != (len(methods), len(prompts)) or not maps.size:
        expected = f"({len(methods)}, {len(prompts)}, gh, gw)"
        raise ValueError(f"Expected maps to be of shape {expected}, but got {maps.shape}")
    if not np.isfinite(maps).all():
        raise ValueError("Expected maps to be finite, but got values that are not")
    if minmax:
        maps, unit = _min_max(maps), "min-max of each map"
    limit = 1.0 if minmax else shared_limit([maps])
    page = _lay_out(photo, len(prompts), len(methods) + 1)
    _draw_maps(page, photo, maps, limit)
    _draw_titles(page, prompts, ("the image", *methods))
    page.write(EDGE_IN, 0.1, _wrap(title, page.chars(11), lines=1), va="top", fontsize=11)
    hint = _wrap(HINT_MINMAX if minmax else HINT, page.chars(7), lines=3)
    page.write(EDGE_IN, 0.34, hint, va="top", fontsize=7, color="0.35")
    settings = _wrap(settings, page.chars(7), SETTINGS_LINES)
    page.write(EDGE_IN, page.height - 0.08, settings, va="bottom", fontsize=7, color="0.35")
    _draw_bar(page.bar(min(2.6, len(prompts) * page.cell_height)), limit, unit, one_sided=minmax)
    set_fonts(page.figure)
    stream = io.BytesIO()
    FigureCanvasAgg(page.figure).print_png(stream)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class _Page:
    """A figure measured in inches from its upper left corner.

    Attributes:
        figure: what is drawn on.
        width, height: of the figure.
        cell_width, cell_height: of one map.
    """

    figure: Figure
    width: float
    height: float
    cell_width: float
    cell_height: float

    def cell_corner(self, row: int, column: int) -> tuple[float, float]:
        """Upper left corner of a map; column 0 is the image."""
        return LEFT_IN + column * (self.cell_width + GAP_IN), TOP_IN + row * (self.cell_height + GAP_IN)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes with their upper left corner at x, y."""
        bottom = (self.height - y - height) / self.height
        return self.figure.add_axes((x / self.width, bottom, width / self.width, height / self.height))

    def chars(self, points: float) -> int:
        """How many characters of a font of this size fit on a line."""
        return round((self.width - 2 * EDGE_IN) * 126 / points)

    @property
    def cell_px(self) -> tuple[int, int]:
        """Height and width of a cell in pixels."""
        return max(1, round(self.cell_height * DPI)), max(1, round(self.cell_width * DPI))

    def picture_px(self, photo: np.ndarray) -> tuple[int, int]:
        """Height and width in pixels of a photograph that fits into a cell in its own proportions."""
        scale = min(cell / own for cell, own in zip(self.cell_px, photo.shape[:2], strict=True))
        return tuple(max(1, round(own * scale)) for own in photo.shape[:2])

    def show(self, row: int, column: int, picture: np.ndarray) -> None:
        """Puts a picture (h, w, 3) into the middle of a cell."""
        x, y = self.cell_corner(row, column)
        down, right = ((cell - own) // 2 for cell, own in zip(self.cell_px, picture.shape[:2], strict=True))
        bottom = round((self.height - y) * DPI) - len(picture) - down
        self.figure.figimage(picture, round(x * DPI) + right, bottom, origin="upper")

    def bar(self, height: float) -> Axes:
        """Axes of the colour bar, right of the maps."""
        return self.axes(self.width - RIGHT_IN + 0.1, TOP_IN, 0.14, height)

    def write(self, x: float, y: float, text: str, **style: object) -> None:
        """Text at x, y; dollar signs are no formulas."""
        self.figure.text(x / self.width, 1 - y / self.height, text, parse_math=False, **style)


def _lay_out(photo: np.ndarray, rows: int, columns: int) -> _Page:
    """An empty page for so many rows and columns of pictures in the proportions of the photograph."""
    cell_width, cell_height = _cell_in(photo.shape[:2], rows, columns)
    width = LEFT_IN + columns * (cell_width + GAP_IN) + RIGHT_IN
    height = TOP_IN + rows * (cell_height + GAP_IN) + BOTTOM_IN
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    return _Page(figure, width, height, cell_width, cell_height)


def _wrap(text: str, width: int, lines: int) -> str:
    return textwrap.fill(text, width=width, max_lines=lines, placeholder=" …")


def _draw_maps(page: _Page, photo: np.ndarray, maps: np.ndarray, limit: float) -> None:
    small = Image.fromarray(photo).resize(page.picture_px(photo)[::-1], Image.Resampling.LANCZOS)
    page.show(0, 0, np.asarray(small))
    grey = np.asarray(small.convert("L"), dtype=np.float64)[..., None].repeat(3, axis=-1) / 255  # (h, w, 3)
    for column, of_method in enumerate(maps):
        for row, values in enumerate(of_method):
            page.show(row, column + 1, lay_over(grey, values, limit))


def _draw_titles(page: _Page, rows: Sequence[str], columns: Sequence[str]) -> None:
    for column, title in enumerate(columns):
        x, y = page.cell_corner(0, column)
        chars = max(8, round(13 * page.cell_width))
        page.write(x + page.cell_width / 2, y - 0.05, _wrap(title, chars, 2), fontsize=9, va="bottom", ha="center")
    for row, title in enumerate(rows):
        y = page.cell_corner(row, 0)[1] + page.cell_height / 2
        page.write(EDGE_IN, y, _wrap(title, 17, 5), fontsize=9, va="center")


def _cell_in(size_px: tuple[int, int], rows: int, columns: int) -> tuple[float, float]:
    """Width and height of a cell in inches, with the proportions of the photograph but no thinner than 1 to 4."""
    ratio = min(4.0, max(0.25, size_px[1] / size_px[0]))
    w, h = (CELL_IN, CELL_IN / ratio) if ratio >= 1 else (CELL_IN * ratio, CELL_IN)
    shrink = min(1.0, MAX_SIDE_IN / (rows * h), MAX_SIDE_IN / (columns * w))
    return w * shrink, h * shrink


def lay_over(grey: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """A map over a grey picture: hue is the sign, opacity the magnitude.

    Args:
        grey: (h, w, 3) in [0, 1].
        values: (gh, gw), brought to the picture's size bilinearly.
        limit: magnitude of full opacity.

    Returns:
        (h, w, 3) in [0, 1].
    """
    values = F.interpolate(torch.from_numpy(values)[None, None], size=grey.shape[:2], mode="bilinear")[0, 0].numpy()
    opacity = (OPACITY * np.clip(np.abs(values) / limit, 0, 1))[..., None]  # (h, w, 1)
    hue = np.where(values[..., None] < 0, NEGATIVE_RGB, POSITIVE_RGB) / 255
    return grey * (1 - opacity) + hue * opacity


def _draw_bar(axes: Axes, limit: float, unit: str, one_sided: bool) -> None:
    """The colours as they look over a middle grey."""
    low = 0.0 if one_sided else -limit
    ramp = np.linspace(limit, low, 256)[:, None]
    axes.imshow(lay_over(np.full((256, 1, 3), 0.6), ramp, limit), aspect="auto", extent=(0, 1, low, limit))
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_xticks([])
    axes.set_yticks(np.linspace(low, limit, 5))
    axes.tick_params(labelsize=7)
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.set_ylabel(unit, fontsize=8)


def _min_max(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min(axis=(-2, -1), keepdims=True), maps.max(axis=(-2, -1), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1.0)
