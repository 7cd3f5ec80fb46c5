"""Plotly figures as pictures, drawn by matplotlib: no browser is needed, and one figure cannot disagree with the other.

Only what the figures of `dashboard.figures` are made of is drawn: lines, markers, bars, bands, heat maps, straight
lines, boxes and annotations.
"""

import html
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from dashboard.fonts import set_fonts
from dashboard.overview import lay_over

Colour = tuple[float, float, float, float]

DPI = 110
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", None: "-"}
MARKS = {"circle": "o", "square": "s", "diamond": "D", "cross": "P"}
ALIGN = {"left": "left", "right": "right", "center": "center", "top": "top", "bottom": "bottom", "middle": "center"}
SIDES = {"left": -1, "bottom": -1, "center": 0, "middle": 0, "right": 1, "top": 1}
AWAY = {"left": "right", "right": "left", "top": "bottom", "bottom": "top", "center": "center", "middle": "center"}
"""Side of a point -> alignment of a text that stands there."""

MANY_BARS = 9
MANY_TICKS = 24


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
    """A matplotlib figure as a PNG file."""
    set_fonts(page)
    stream = io.BytesIO()
    FigureCanvasAgg(page).print_png(stream)
    return stream.getvalue()


def draw_figure(axes: Axes, figure: go.Figure) -> None:
    """Draws a plotly figure with one pair of axes into matplotlib's.

    Args:
        axes: empty axes.
        figure: see the module.

    Raises:
        ValueError: a kind of trace that is not drawn here.
    """
    axes.use_sticky_edges = False  # a margin also where bars end
    for trace in figure.data:
        if trace.type not in _DRAW:
            raise ValueError(f"Expected traces to be of type {', '.join(_DRAW)}, but got {trace.type!r}")
        _DRAW[trace.type](axes, trace)
    _set_axis(axes, figure.layout.xaxis, "x")
    _set_axis(axes, figure.layout.yaxis, "y")
    if figure.layout.yaxis.scaleanchor == "x":
        axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(_plain(figure.layout.title.text), fontsize=10, loc="left", parse_math=False)
    for shape in figure.layout.shapes:
        _draw_shape(axes, shape)
    for note in figure.layout.annotations:
        place = {"ha": ALIGN.get(note.xanchor, "center"), "va": ALIGN.get(note.yanchor, "center")}
        transform = _transform(axes, note.xref, note.yref)
        axes.text(note.x, note.y, _plain(note.text), fontsize=8, transform=transform, parse_math=False, **place)
    if figure.layout.showlegend is not False and axes.get_legend_handles_labels()[1]:
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}  # on the axes it would hide points
        axes.legend(fontsize=8, frameon=False, **beside)


def _draw_scatter(axes: Axes, trace: go.Scatter) -> None:
    mode = trace.mode or "lines"
    label = None if trace.showlegend is False or not trace.name else _plain(trace.name)
    if trace.x is None or all(x is None for x in trace.x):  # stands in the legend only
        symbol = trace.marker.symbol or "circle"
        style = _mark_colours(symbol, _colours(trace.marker.color, 1))
        axes.scatter([], [], marker=_mark(symbol), label=label, **style)
        return
    if trace.fill:
        axes.fill(trace.x, trace.y, color=_colours(trace.fillcolor, 1)[0], linewidth=0)
        return
    if "lines" in mode:
        style = {"color": _colours(trace.line.color, 1)[0], "linestyle": DASHES[trace.line.dash], "label": label}
        axes.plot(trace.x, trace.y, linewidth=0.8 * (trace.line.width or 2), **style)
    if "markers" in mode and trace.marker.opacity != 0:
        _draw_markers(axes, trace)
    if "text" in mode:
        _draw_names(axes, trace)


def _draw_markers(axes: Axes, trace: go.Scatter) -> None:
    count = len(trace.x)
    sizes = np.broadcast_to(trace.marker.size or 6, count) * 0.7  # pixels -> points
    colours = _colours(trace.marker.color or trace.line.color, count)
    symbols = np.broadcast_to(np.array(trace.marker.symbol or "circle"), count)
    for symbol in np.unique(symbols):
        at = np.flatnonzero(symbols == symbol)
        style = _mark_colours(symbol, [colours[i] for i in at])
        if trace.marker.line.width and not symbol.endswith("-open"):
            style |= {"edgecolors": _colours(trace.marker.line.color, 1), "linewidths": 0.7 * trace.marker.line.width}
        x, y = (np.asarray(values)[at] for values in (trace.x, trace.y))
        axes.scatter(x, y, s=sizes[at] ** 2, marker=_mark(symbol), zorder=3, **style)


def _mark(symbol: str) -> str:
    return MARKS.get(str(symbol).removesuffix("-open"), "o")


def _mark_colours(symbol: str, colours: list[Colour]) -> dict[str, Any]:
    return {"facecolors": "none", "edgecolors": colours} if symbol.endswith("-open") else {"facecolors": colours}


def _draw_names(axes: Axes, trace: go.Scatter) -> None:
    """Texts beside points, on the sides that `textposition` says."""
    positions = np.broadcast_to(np.array(trace.textposition or "middle center"), len(trace.x))
    for x, y, text, position in zip(trace.x, trace.y, trace.text, positions, strict=True):
        vertical, horizontal = position.split()
        shift = 5 * SIDES[horizontal], 5 * SIDES[vertical]
        away = {"ha": AWAY[horizontal], "va": AWAY[vertical], "fontsize": 7, "parse_math": False}
        axes.annotate(_plain(text), (x, y), shift, textcoords="offset points", **away)


def _draw_bar(axes: Axes, trace: go.Bar) -> None:
    names, lengths = (trace.y, trace.x) if trace.orientation == "h" else (trace.x, trace.y)
    starts = 0 if trace.base is None else np.asarray(trace.base)
    opacity = 1.0 if trace.marker.opacity is None else trace.marker.opacity
    colours = _colours(trace.marker.color, len(lengths), opacity)
    places = np.arange(len(names))
    draw, put = (axes.barh, axes.set_yticks) if trace.orientation == "h" else (axes.bar, axes.set_xticks)
    draw(places, lengths, 0.75, starts, color=colours)
    turned = {"rotation": 90} if trace.orientation != "h" and len(names) > MANY_BARS else {}
    put(places, [_plain(str(name)) for name in names], fontsize=7, **turned)
    _write_on_bars(axes, places, trace)


def _write_on_bars(axes: Axes, places: np.ndarray, trace: go.Bar) -> None:
    """The texts of bars: inside the end of long lying bars, beyond the end of short ones and of standing bars."""
    if trace.text is None:
        return
    lying = trace.orientation == "h"
    lengths = np.asarray(trace.x if lying else trace.y, dtype=float)
    inside = lengths > np.nanmax(np.abs(lengths)) / 2
    for place, length, within, text in zip(places, lengths, inside, trace.text, strict=True):
        at = (length, place) if lying else (place, length)
        style = {"ha": "right", "color": "white"} if lying and within else {"ha": "left" if lying else "center"}
        shift = (-3 if within else 3, 0) if lying else (0, 5)
        axes.annotate(_plain(text), at, shift, textcoords="offset points", fontsize=7, va="center", **style)


def _draw_heatmap(axes: Axes, trace: go.Heatmap) -> None:
    """Signed values on white: hue is the sign, opacity the magnitude; NaN stays white."""
    values = np.nan_to_num(np.asarray(trace.z, dtype=np.float64))
    cells = np.kron(values, np.ones((8, 8)))  # so that a cell keeps its colour up to its edge
    height, width = values.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(lay_over(np.ones((*cells.shape, 3)), cells, trace.zmax), extent=extent, aspect="auto")


_DRAW = {"scatter": _draw_scatter, "bar": _draw_bar, "heatmap": _draw_heatmap}


def _draw_shape(axes: Axes, shape: Any) -> None:
    transform = _transform(axes, shape.xref, shape.yref)
    style = {"color": shape.line.color, "linestyle": DASHES[shape.line.dash], "linewidth": shape.line.width or 1}
    corners = (shape.x0, shape.x1, shape.x1, shape.x0, shape.x0), (shape.y0, shape.y0, shape.y1, shape.y1, shape.y0)
    line = ((shape.x0, shape.x1), (shape.y0, shape.y1)) if shape.type == "line" else corners
    axes.plot(*line, transform=transform, scalex=False, scaley=False, **style)


def _transform(axes: Axes, xref: str | None, yref: str | None) -> Any:
    free_x, free_y = ((ref or "").endswith(("domain", "paper")) for ref in (xref, yref))
    if free_x and free_y:
        return axes.transAxes
    return axes.get_yaxis_transform() if free_x else axes.get_xaxis_transform() if free_y else axes.transData


def _set_axis(axes: Axes, settings: Any, side: str) -> None:
    """Title, ticks, range and zero line of one axis."""
    axis, limits = (axes.xaxis, axes.set_xlim) if side == "x" else (axes.yaxis, axes.set_ylim)
    axis.set_label_text(_plain(settings.title.text), fontsize=8)
    axis.set_tick_params(labelsize=7)
    if settings.tickvals is not None:
        names = settings.tickvals if settings.ticktext is None else settings.ticktext
        step = 1 + len(names) // MANY_TICKS
        axis.set_ticks(list(settings.tickvals)[::step], [_plain(str(name)) for name in names[::step]])
    elif settings.dtick is not None:
        axis.set_major_locator(MultipleLocator(settings.dtick))
    if settings.range is not None:
        limits(*settings.range)
    elif settings.autorange == "reversed":
        limits(max(limits()), min(limits()))
    if settings.zeroline:
        (axes.axvline if side == "x" else axes.axhline)(0, color="0.6", linewidth=0.8, zorder=0)
    axis.set_visible(settings.visible is not False)
    for edge in ("top", "right", *(() if axis.get_visible() else ("bottom" if side == "x" else "left",))):
        axes.spines[edge].set_visible(False)


def _colours(colour: Any, count: int, opacity: Any = 1.0) -> list[Colour]:
    """Plotly's colours, one or many, as matplotlib's."""
    named = list(colour) if isinstance(colour, Sequence) and not isinstance(colour, str) else [colour] * count
    return [_colour(name, alpha) for name, alpha in zip(named, np.broadcast_to(opacity, len(named)), strict=True)]


def _colour(name: str | None, opacity: float) -> Colour:
    numbers = re.fullmatch(r"rgba?\(([^)]*)\)", name or "#0072B2")
    if numbers is None:
        return to_rgba(name or "#0072B2", float(opacity))
    red, green, blue, *alpha = (float(part) for part in numbers[1].split(","))
    return red / 255, green / 255, blue / 255, (alpha[0] if alpha else 1.0) * float(opacity)


def _plain(text: str | None) -> str:
    """Plotly's small HTML as plain text, lines kept."""
    return html.unescape(re.sub(r"<(?!br)[^>]*>", "", text or "").replace("<br>", "\n"))
