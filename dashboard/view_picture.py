"""A map view of a page as a picture: the maps as they are seen, with outline, chosen patch, points, notes and scale.

page = draw_view(view)          # a matplotlib figure, see `dashboard.figure_png.save_page`
"""

import base64
import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from PIL import Image

from dashboard.figure_marks import draw_colour_bar, scale_colours
from dashboard.figure_png import DPI, outline_patch
from dashboard.figures.theme import DIVERGING, NEGATIVE_RGB, PATCH_COLOUR, POSITIVE_RGB, REGION_COLOUR

if TYPE_CHECKING:
    from dashboard.panels.mapview import Cell, MapView

CELL_IN = 1.9
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN = 0.1, 0.95, 0.15, 0.2
TITLE_IN, NOTE_IN, GAP_IN = 0.34, 0.36, 0.1
MAP_PX = 256
"""Longer side of a map once it is brought to the size of the photograph."""


def draw_view(view: "MapView") -> Figure:
    """All maps of a view, a line a row."""
    ratio = view.photo.ratio
    cell = (CELL_IN, CELL_IN / ratio) if ratio >= 1 else (CELL_IN * ratio, CELL_IN)
    columns = max((len(row.cells) for row in view.rows), default=1)
    line = TITLE_IN + cell[1] + NOTE_IN
    titles = sum(TITLE_IN / 2 for row in view.rows if row.title)
    width = LEFT_IN + columns * (cell[0] + GAP_IN) + RIGHT_IN
    height = TOP_IN + len(view.rows) * line + titles + BOTTOM_IN
    page = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    grey, y = _decode(view.photo.grey), TOP_IN
    for row in view.rows:
        if row.title:
            page.text(LEFT_IN / width, 1 - y / height, row.title, fontsize=9, weight="bold", va="top", parse_math=False)
            y += TITLE_IN / 2
        for column, spec in enumerate(row.cells):
            x = LEFT_IN + column * (cell[0] + GAP_IN)
            place = (x / width, 1 - (y + TITLE_IN + cell[1]) / height, cell[0] / width, cell[1] / height)
            _draw_cell(page.add_axes(place), view, spec, grey, round(13 * cell[0]))
        y += line
    bar = page.add_axes((1 - (RIGHT_IN - 0.1) / width, 1 - (y - NOTE_IN) / height, 0.12 / width, cell[1] / height))
    low, high = {"signed": (-view.limit, view.limit), "positive": (0, view.limit), "minmax": (0, 1)}[view.scale]
    half = DIVERGING if view.scale == "signed" else [[0, DIVERGING[2][1]], [1, DIVERGING[3][1]]]
    draw_colour_bar(page, half, low, high, textwrap.fill(view.unit, 34), cax=bar)
    return page


def _decode(source: str) -> np.ndarray:
    """The photograph of a data address, (h, w, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


def _draw_cell(axes: Axes, view: "MapView", cell: "Cell", grey: np.ndarray, chars: int) -> None:
    """One map with its title above and its note below."""
    width, height = view.photo.width, view.photo.height
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    small = {"fontsize": 8, "parse_math": False}
    axes.set_title(textwrap.fill(cell.title, chars, max_lines=2, placeholder=" …"), pad=3, **small)
    if cell.error or cell.values is None:
        words = textwrap.fill(cell.error, chars, max_lines=7, placeholder=" …")
        axes.text(0.03, 0.97, words, transform=axes.transAxes, va="top", fontsize=6, parse_math=False)
        return
    extent = (0, width, height, 0)
    axes.imshow(grey, extent=extent, aspect="auto", zorder=0)
    axes.imshow(map_pixels(view, cell.values, cell.limit), extent=extent, aspect="auto", zorder=1)
    if view.outline:
        axes.add_patch(outline_patch(view.outline, "#000000", 2.2))
        axes.add_patch(outline_patch(view.outline, REGION_COLOUR, 1.2))
    if view.patch is not None:
        _draw_patch(axes, view.patch, cell.values.shape, (height, width))
    if cell.points is not None:
        for (x, y), label in zip(cell.points.xy, cell.points.labels, strict=True):
            colour = np.array(POSITIVE_RGB if label else NEGATIVE_RGB) / 255
            axes.add_patch(Ellipse((x, y), width / 32, width / 32, fc=colour, ec="white", lw=0.8, zorder=6))
    axes.set_xlabel(cell.note, labelpad=2, **small)


def _draw_patch(axes: Axes, patch: tuple[int, int], grid: tuple[int, int], size: tuple[int, int]) -> None:
    high, wide = size[0] / grid[0], size[1] / grid[1]
    for colour, width in (("#000000", 2.4), (PATCH_COLOUR, 1.2)):
        corner = (patch[1] * wide, patch[0] * high)
        axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor=colour, linewidth=width, zorder=5))


def map_pixels(view: "MapView", values: np.ndarray, limit: float | None = None) -> np.ndarray:
    """A map in the colours of the view, (h, w, 4): bilinear in the values, as the browser does it.

    Args:
        view: its scale, limit and threshold.
        values: (gh, gw).
        limit: end of a signed scale of its own, to which the threshold says nothing; None for that of the view.
    """
    scale = MAP_PX / max(view.photo.width, view.photo.height)
    size = [max(1, round(side * scale)) for side in (view.photo.height, view.photo.width)]
    small = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
    raw = F.interpolate(small[None, None], size=size, mode="bilinear")[0, 0].numpy()
    floor = -np.inf if view.threshold is None or limit is not None else view.threshold
    low, high = -view.limit, view.limit
    if limit is not None:
        low, high = -limit, limit
    elif view.scale == "minmax":
        least, most = max(float(values.min()), floor), float(values.max())
        low, high = least - (most - least), most
    pixels = scale_colours(np.where(raw < floor, np.nan, raw), DIVERGING, low, high)
    pixels[..., 3] = pixels[..., 3] * (1.0 if view.opacity is None else view.opacity)
    return pixels
