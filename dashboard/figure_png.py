"""Plotly figures as pictures, drawn by matplotlib: no browser is needed, and one figure cannot disagree with the other.

    page = draw_page(figure)                    # a matplotlib figure, any number of axes
    content = save_page(page, "pdf")            # PNG, SVG or PDF

Only what the figures of `dashboard.figures` are made of is drawn: the marks of `dashboard.figure_marks`, and straight
lines, boxes, outlines, pictures and annotations.
"""

import base64
import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MultipleLocator
from PIL import Image

from dashboard.figure_marks import DASHES, Others, draw_colour_bar, draw_trace, plain
from dashboard.fonts import set_fonts

DPI = 110
PRINT_DPI = 200
"""Of pictures for papers."""

ALIGN = {"left": "left", "right": "right", "center": "center", "top": "top", "bottom": "bottom", "middle": "center"}
MANY_TICKS = 24
KINDS = ("png", "svg", "pdf")
"""What pictures are saved as."""

PLAIN_FILES = {"svg.hashsalt": "clip-theatre", "pdf.fonttype": 42, "svg.fonttype": "none"}
"""The same figure is the same file, and its texts stay texts."""

PANEL_IN = (3.3, 2.3)
MARGINS_IN = {"left": 0.75, "right": 0.35, "top": 0.8, "bottom": 0.65}


def figure_png(figure: go.Figure, size_in: tuple[float, float] = (8.0, 4.6)) -> bytes:
    """One figure as a PNG file.

    Args:
        figure: from `dashboard.figures`, with one pair of axes.
        size_in: width and height in inches.
    """
    page = Figure(figsize=size_in, dpi=DPI, layout="constrained")
    draw_figure(page.add_subplot(), figure)
    return save_png(page)


def save_png(page: Figure) -> bytes:
    """A matplotlib figure as a PNG file of its own resolution."""
    return save_page(page, "png", page.dpi)


def save_page(page: Figure, kind: str, dpi: float = PRINT_DPI, *, tight: bool = False) -> bytes:
    """A matplotlib figure as a file.

    Args:
        page: what is drawn.
        kind: one of `KINDS`.
        dpi: of a PNG, and of the pictures inside of the others.
        tight: whether the page is cut, or grows, to what is drawn.

    Raises:
        ValueError: another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"Expected kind to be one of {', '.join(KINDS)}, but got {kind!r}")
    set_fonts(page)
    stream = io.BytesIO()
    about: Mapping[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with rc_context(PLAIN_FILES):
        page.savefig(stream, format=kind, dpi=dpi, metadata=about, bbox_inches="tight" if tight else None)
    return stream.getvalue()


def draw_page(figure: go.Figure, size_in: tuple[float, float] | None = None) -> Figure:
    """A figure of any number of axes as matplotlib's, its panels where plotly puts them.

    Args:
        figure: from `dashboard.figures`.
        size_in: width and height in inches; None for what its panels need.
    """
    pairs = list(dict.fromkeys(map(_pair_of, figure.data))) or [("x", "y")]
    below = {pair: _overlaid(figure, pair) for pair in pairs}
    panels = [pair for pair in pairs if below[pair] is None]
    if len(panels) == 1:
        page = Figure(figsize=size_in or (6.4, 4.0), dpi=DPI, layout="constrained", facecolor="white")
        drawn = {panels[0]: page.add_subplot()}
        draw_figure(drawn[panels[0]], figure, *panels[0])
    else:
        page, drawn = _draw_panels(figure, panels, size_in)
    for pair in (pair for pair in pairs if below[pair] is not None):
        over = drawn[below[pair]].twinx()
        draw_figure(over, figure, *pair, decorate=False)
    return page


def _overlaid(figure: go.Figure, pair: tuple[str, str]) -> tuple[str, str] | None:
    """The axes that a pair of axes is laid over; None for axes of their own place."""
    other = _axis(figure, pair[1], "y").overlaying
    return None if other in (None, "free") else (pair[0], other)


def _draw_panels(
    figure: go.Figure, panels: list[tuple[str, str]], size_in: tuple[float, float] | None
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    domains = [(_axis(figure, x, "x").domain or (0, 1), _axis(figure, y, "y").domain or (0, 1)) for x, y in panels]
    columns, rows = (len({domain[side] for domain in domains}) for side in (0, 1))
    width, height = size_in or (PANEL_IN[0] * columns + 1.6, PANEL_IN[1] * rows + 1.6)
    page = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    left, bottom = MARGINS_IN["left"] / width, MARGINS_IN["bottom"] / height
    across = 1 - left - MARGINS_IN["right"] / width - (0.6 / width if figure.layout.coloraxis.colorscale else 0)
    up = 1 - bottom - MARGINS_IN["top"] / height
    drawn = {}
    for panel, (x, y) in zip(panels, domains, strict=True):
        place = (left + x[0] * across, bottom + y[0] * up, (x[1] - x[0]) * across, (y[1] - y[0]) * up)
        drawn[panel] = page.add_axes(place)
        draw_figure(drawn[panel], figure, *panel, decorate=False)
    title = plain(figure.layout.title.text)
    page.text(0.01, 0.995, title, fontsize=10, va="top", parse_math=False)
    for note in figure.layout.annotations:
        if note.xref == "paper" and note.yref == "paper":
            at = left + note.x * across, bottom + note.y * up
            place = {"ha": ALIGN.get(note.xanchor, "center"), "va": ALIGN.get(note.yanchor, "center")}
            page.text(*at, plain(note.text), fontsize=8, parse_math=False, **place)
    shared = figure.layout.coloraxis
    if shared.colorscale:
        bar = page.add_axes((left + across + 0.15 / width, bottom, 0.1 / width, up))
        draw_colour_bar(page, shared.colorscale, shared.cmin, shared.cmax, plain(shared.colorbar.title.text), cax=bar)
    names = {}
    for axes in drawn.values():
        names |= {name: mark for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if figure.layout.showlegend is not False and names:
        style = {"fontsize": 7, "frameon": False, "ncols": min(len(names), 8), "loc": "upper right"}
        page.legend([*names.values()], [*names], bbox_to_anchor=(0.99, 0.975), **style)
    return page, drawn


def _axis(figure: go.Figure, name: str, side: str) -> Any:
    return figure.layout[f"{side}axis{name[1:]}"]


def draw_figure(axes: Axes, figure: go.Figure, x: str = "x", y: str = "y", *, decorate: bool = True) -> None:
    """Draws what a plotly figure has on one pair of its axes into matplotlib's.

    Args:
        axes: empty axes.
        figure: see the module.
        x, y: names of the pair, such as "x2" and "y2".
        decorate: whether title, annotations and legend are drawn too; those of several panels belong to the page.

    Raises:
        ValueError: a kind of trace that is not drawn here.
    """
    axes.use_sticky_edges = False  # a margin also where bars end
    traces = [trace for trace in figure.data if _pair_of(trace) == (x, y)]
    side_by_side = figure.layout.barmode in (None, "group")
    bars = sum(trace.type == "bar" for trace in traces) if side_by_side else 1
    others = Others(figure.layout, max(1, bars))
    for picture in figure.layout.images:
        if (picture.xref, picture.yref) == (x, y):
            _draw_image(axes, picture)
    for trace in traces:
        draw_trace(axes, trace, others)
    if axes.yaxis_inverted():  # matplotlib turns the axis of an image round, plotly only where it is told to
        axes.invert_yaxis()
    _set_axis(axes, _axis(figure, x, "x"), "x")
    _set_axis(axes, _axis(figure, y, "y"), "y")
    if _axis(figure, y, "y").scaleanchor == x:
        axes.set_aspect("equal", adjustable="box" if axes.images else "datalim")
    for shape in figure.layout.shapes:
        if _belongs(shape, x, y):
            _draw_shape(axes, shape)
    if decorate:
        _decorate(axes, figure)


def _pair_of(trace: Any) -> tuple[str, str]:
    """The pair of axes that a trace stands on; the first for a trace that has none."""
    return getattr(trace, "xaxis", None) or "x", getattr(trace, "yaxis", None) or "y"


def _belongs(shape: Any, x: str, y: str) -> bool:
    """Whether a shape stands on this pair of axes, or on the whole page."""
    refs = ((shape.xref or "x").removesuffix(" domain"), (shape.yref or "y").removesuffix(" domain"))
    return refs[0] in (x, "paper") and refs[1] in (y, "paper")


def _decorate(axes: Axes, figure: go.Figure) -> None:
    notes = [note for note in figure.layout.annotations if _is_subtitle(note)]
    words = [plain(figure.layout.title.text), *(plain(note.text) for note in notes)]
    axes.set_title("\n".join(filter(None, words)), fontsize=9 if notes else 10, loc="left", parse_math=False)
    for note in figure.layout.annotations:
        if not _is_subtitle(note):
            place = {"ha": ALIGN.get(note.xanchor, "center"), "va": ALIGN.get(note.yanchor, "center")}
            transform = _transform(axes, note.xref, note.yref)
            axes.text(note.x, note.y, plain(note.text), fontsize=8, transform=transform, parse_math=False, **place)
    if figure.layout.showlegend is not False and axes.get_legend_handles_labels()[1]:
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}  # on the axes it would hide points
        axes.legend(fontsize=8, frameon=False, **beside)


def _is_subtitle(note: Any) -> bool:
    """Whether an annotation is the line under the title."""
    return (note.xref, note.yref, note.x, note.y, note.yanchor) == ("paper", "paper", 0, 1, "bottom")


def _draw_image(axes: Axes, picture: Any) -> None:
    """A picture of the layout, whose y runs downwards from its upper edge."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))).convert("RGB"))
    extent = (picture.x, picture.x + picture.sizex, picture.y + picture.sizey, picture.y)
    axes.imshow(pixels, extent=extent, aspect="auto", zorder=0)


def _draw_shape(axes: Axes, shape: Any) -> None:
    transform = _transform(axes, shape.xref, shape.yref)
    style = {"color": shape.line.color, "linestyle": DASHES[shape.line.dash], "linewidth": shape.line.width or 1}
    if shape.type == "path":
        axes.add_patch(outline_patch(shape.path, style["color"], style["linewidth"]))
        return
    corners = (shape.x0, shape.x1, shape.x1, shape.x0, shape.x0), (shape.y0, shape.y0, shape.y1, shape.y1, shape.y0)
    line = ((shape.x0, shape.x1), (shape.y0, shape.y1)) if shape.type == "line" else corners
    axes.plot(*line, transform=transform, scalex=False, scaley=False, **style)


def outline_patch(path: str, colour: str, width: float) -> PathPatch:
    """An SVG path of straight lines ("M x y L x y Z ...") as a patch without a filling."""
    points, codes = [], []
    for piece in re.findall(r"M[^MZ]*Z?", path):
        corners = [[float(number) for number in pair.split()] for pair in re.split("[ML]", piece.rstrip("Z")) if pair]
        points += [*corners, corners[0]]
        codes += [Path.MOVETO, *[Path.LINETO] * (len(corners) - 1), Path.CLOSEPOLY]
    shape = Path(np.array(points).reshape(-1, 2), codes)
    return PathPatch(shape, fill=False, edgecolor=colour, linewidth=width, zorder=4)


def _transform(axes: Axes, xref: str | None, yref: str | None) -> Any:
    free_x, free_y = ((ref or "").endswith(("domain", "paper")) for ref in (xref, yref))
    if free_x and free_y:
        return axes.transAxes
    return axes.get_yaxis_transform() if free_x else axes.get_xaxis_transform() if free_y else axes.transData


def _set_axis(axes: Axes, settings: Any, side: str) -> None:
    """Title, ticks, range and zero line of one axis."""
    axis, limits = (axes.xaxis, axes.set_xlim) if side == "x" else (axes.yaxis, axes.set_ylim)
    axis.set_label_text(plain(settings.title.text), fontsize=8)
    axis.set_tick_params(labelsize=7)
    if settings.tickvals is not None:
        names = settings.tickvals if settings.ticktext is None else settings.ticktext
        step = 1 + len(names) // MANY_TICKS
        axis.set_ticks(list(settings.tickvals)[::step], [plain(str(name)) for name in names[::step]])
    elif settings.dtick is not None:
        axis.set_major_locator(MultipleLocator(settings.dtick))
    elif settings.ticksuffix:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{settings.ticksuffix}"))
    if settings.range is not None:
        limits(*settings.range)
    elif settings.autorange == "reversed":
        limits(max(limits()), min(limits()))
    elif settings.rangemode == "tozero":
        limits(min(*limits(), 0), max(*limits(), 0))
    if settings.zeroline:
        (axes.axvline if side == "x" else axes.axhline)(0, color="0.6", linewidth=0.8, zorder=0)
    if settings.showticklabels is False:
        axis.set_tick_params(labelbottom=False, labelleft=False)
    axis.set_visible(settings.visible is not False)
    for edge in ("top", "right", *(() if axis.get_visible() else ("bottom" if side == "x" else "left",))):
        axes.spines[edge].set_visible(False)
