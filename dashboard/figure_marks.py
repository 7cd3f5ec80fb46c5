"""The marks of plotly figures, drawn into matplotlib's axes: lines, markers, bands, bars, heat maps, texts.

draw_trace(axes, trace, Others(...))      # every trace in the order of the figure
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure

from dashboard.figures.theme import DIVERGING

Colour = tuple[float, float, float, float]

DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", None: "-"}
MARKS = {"circle": "o", "square": "s", "diamond": "D", "cross": "P", "x": "X", "triangle-up": "^"}
SIDES = {"left": -1, "bottom": -1, "center": 0, "middle": 0, "right": 1, "top": 1}
AWAY = {"left": "right", "right": "left", "top": "bottom", "bottom": "top", "center": "center", "middle": "center"}
"""Side of a point -> alignment of a text that stands there."""

MANY_BARS = 9
BAR = 0.75
SMOOTH = 8
"""Cells a patch of a smooth heat map becomes."""


@dataclass(slots=True)
class Others:
    """What a trace shares with the others on its axes.

    Attributes:
        layout: of the figure.
        bars: how many traces of bars stand side by side; 1 where they are stacked or laid over each other.
        drawn_bars: how many of them are drawn.
        tops: where stacked bars end so far.
        line: x and y of the last line, which a band is filled up to.
    """

    layout: go.Layout
    bars: int = 1
    drawn_bars: int = 0
    tops: dict[Any, float] = field(default_factory=dict)
    line: tuple[Any, Any] | None = None


def draw_trace(axes: Axes, trace: Any, others: Others) -> None:
    """Draws one trace.

    Raises:
        ValueError: a kind of trace that is not drawn here.
    """
    if trace.type not in _DRAW:
        raise ValueError(f"Expected traces to be of type {', '.join(_DRAW)}, but got {trace.type!r}")
    if trace.visible in (None, True):
        _DRAW[trace.type](axes, trace, others)


def _draw_scatter(axes: Axes, trace: go.Scatter, others: Others) -> None:
    mode = trace.mode or "lines"
    label = None if trace.showlegend is False or not trace.name else plain(trace.name)
    if trace.x is None or all(x is None for x in trace.x):  # stands in the legend only
        symbol = trace.marker.symbol or "circle"
        style = _mark_colours(symbol, colours_of(trace.marker.color, 1))
        axes.scatter([], [], marker=_mark(symbol), label=label, **style)
        return
    if trace.fill == "tonexty" and others.line is not None:
        style = {"color": colours_of(trace.fillcolor, 1)[0], "linewidth": 0}
        axes.fill_between(trace.x, others.line[1], trace.y, **style)
        return
    if trace.fill:
        axes.fill(trace.x, trace.y, color=colours_of(trace.fillcolor, 1)[0], linewidth=0)
        return
    others.line = trace.x, trace.y
    if "lines" in mode and trace.line.width != 0:
        style = {"color": colours_of(trace.line.color, 1)[0], "linestyle": DASHES[trace.line.dash], "label": label}
        axes.plot(trace.x, trace.y, linewidth=0.8 * (trace.line.width or 2), **style)
        label = None
    if "markers" in mode and np.any(trace.marker.opacity != 0):
        _draw_markers(axes, trace, label)
    _draw_reach(axes, trace, trace.x, trace.y)
    if "text" in mode:
        _draw_names(axes, trace)


def _draw_reach(axes: Axes, trace: Any, x: Any, y: Any) -> None:
    """Error bars to the left and right of points."""
    reach = trace.error_x
    if reach.array is not None:
        ends = [np.asarray(reach.array if reach.arrayminus is None else reach.arrayminus), np.asarray(reach.array)]
        style = {"ecolor": colours_of(reach.color, 1)[0], "elinewidth": 0.8, "capsize": 1.5, "zorder": 4}
        axes.errorbar(x, y, xerr=ends, fmt="none", **style)


def _draw_markers(axes: Axes, trace: go.Scatter, label: str | None) -> None:
    count = len(trace.x)
    sizes = np.broadcast_to(6 if trace.marker.size is None else trace.marker.size, count) * 0.7  # pixels -> points
    named = trace.line.color if trace.marker.color is None else trace.marker.color
    opacity = 1.0 if trace.marker.opacity is None else trace.marker.opacity
    if isinstance(named, np.ndarray) and named.dtype.kind in "uif":  # numbers on a scale
        scaled = scale_colours(named.astype(float), trace.marker.colorscale, trace.marker.cmin, trace.marker.cmax)
        colours = [(*rgb, alpha) for (*rgb, _), alpha in zip(scaled, np.broadcast_to(opacity, count), strict=True)]
    else:
        colours = colours_of(named, count, opacity)
    symbols = np.broadcast_to(np.array(trace.marker.symbol or "circle"), count)
    for symbol in np.unique(symbols):
        at = np.flatnonzero(symbols == symbol)
        style = _mark_colours(symbol, [colours[i] for i in at])
        if trace.marker.line.width and not symbol.endswith("-open"):
            style |= {"edgecolors": colours_of(trace.marker.line.color, 1), "linewidths": 0.7 * trace.marker.line.width}
        x, y = (np.asarray(values)[at] for values in (trace.x, trace.y))
        axes.scatter(x, y, s=sizes[at] ** 2, marker=_mark(symbol), zorder=3, label=label, **style)
        label = None


def _mark(symbol: str) -> str:
    return MARKS.get(str(symbol).removesuffix("-open"), "o")


def _mark_colours(symbol: str, colours: list[Colour]) -> dict[str, Any]:
    return {"facecolors": "none", "edgecolors": colours} if symbol.endswith("-open") else {"facecolors": colours}


def _draw_names(axes: Axes, trace: go.Scatter) -> None:
    """Texts beside points, on the sides that `textposition` says."""
    positions = np.broadcast_to(np.array(trace.textposition or "middle center"), len(trace.x))
    colour = {"color": colours_of(trace.textfont.color, 1)[0]} if isinstance(trace.textfont.color, str) else {}
    for x, y, text, position in zip(trace.x, trace.y, trace.text, positions, strict=True):
        vertical, horizontal = position.split()
        shift = 5 * SIDES[horizontal], 5 * SIDES[vertical]
        away = {"ha": AWAY[horizontal], "va": AWAY[vertical], "fontsize": 7, "parse_math": False, **colour}
        axes.annotate(plain(text), (x, y), shift, textcoords="offset points", **away)


def _draw_bar(axes: Axes, trace: go.Bar, others: Others) -> None:
    lying = trace.orientation == "h"
    names, lengths = (trace.y, trace.x) if lying else (trace.x, trace.y)
    lengths = np.array(lengths, dtype=float)  # None, for no bar, is NaN
    axis = others.layout[f"{'y' if lying else 'x'}axis{((trace.yaxis if lying else trace.xaxis) or '')[1:]}"]
    places, width = _bar_places(names, axis)
    starts = np.zeros(len(places)) if trace.base is None else np.broadcast_to(np.asarray(trace.base), len(places))
    if others.layout.barmode == "stack":
        starts = np.array([others.tops.get(name, 0.0) for name in names])
        others.tops |= {name: start + length for name, start, length in zip(names, starts, lengths, strict=True)}
    elif others.bars > 1:
        width = width / others.bars
        places = places + (others.drawn_bars - (others.bars - 1) / 2) * width
        others.drawn_bars += 1
    opacity = 1.0 if trace.marker.opacity is None else trace.marker.opacity
    style = {"color": colours_of(trace.marker.color, len(lengths), opacity)}
    if trace.name and trace.showlegend is not False:
        style["label"] = plain(trace.name)
    (axes.barh if lying else axes.bar)(places, lengths, width, starts, **style)
    if not _are_numbers(names, axis):
        put = axes.set_yticks if lying else axes.set_xticks
        turned = {"rotation": 90} if not lying and len(names) > MANY_BARS else {}
        put(np.arange(len(names)), [plain(str(name)) for name in names], fontsize=7, **turned)
    if lying:
        _draw_reach(axes, trace, starts + lengths, places)
    _write_on_bars(axes, places, trace)


def _are_numbers(names: Sequence[Any], axis: Any) -> bool:
    return axis.type != "category" and all(isinstance(name, int | float | np.number) for name in names)


def _bar_places(names: Sequence[Any], axis: Any) -> tuple[np.ndarray, float]:
    """Where bars stand, and how wide they are."""
    if not _are_numbers(names, axis):
        return np.arange(len(names)), BAR
    places = np.asarray(names, dtype=float)
    steps = np.diff(np.unique(places))
    return places, (BAR if axis.dtick is None else 1) * float(steps.min(initial=np.inf) if len(steps) else 1)


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
        axes.annotate(plain(text), at, shift, textcoords="offset points", fontsize=7, va="center", **style)


def _draw_heatmap(axes: Axes, trace: go.Heatmap, others: Others) -> None:
    """Cells in the colours of the figure; what is transparent or NaN shows what lies below."""
    shared = others.layout.coloraxis if trace.coloraxis else None
    colours = shared.colorscale if shared is not None else trace.colorscale
    low, high = (shared.cmin, shared.cmax) if shared is not None else (trace.zmin, trace.zmax)
    values = np.asarray(trace.z, dtype=np.float64)
    low, high = (np.nanmin(values) if low is None else low), (np.nanmax(values) if high is None else high)
    extent = _extent(trace, values.shape)
    if trace.zsmooth:
        values = F.interpolate(torch.from_numpy(values)[None, None], scale_factor=SMOOTH, mode="bilinear")[0, 0].numpy()
    pixels = scale_colours(values, colours or DIVERGING, low, high)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", zorder=1)
    bar = shared.colorbar if shared is not None else trace.colorbar
    if trace.showscale is not False and axes.figure.get_layout_engine() is not None:
        words = plain(bar.title.text)
        draw_colour_bar(axes.figure, colours or DIVERGING, low, high, words, ax=axes, fraction=0.05, pad=0.02)


def _extent(trace: go.Heatmap, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the cells, the first row on top."""
    ends = []
    for places, count in ((trace.x, shape[1]), (trace.y, shape[0])):
        known = places is not None and len(places) > 1 and isinstance(places[0], int | float | np.number)
        middle = np.asarray(places, dtype=float) if known else np.arange(count, dtype=float)
        half = (middle[1] - middle[0]) / 2 if count > 1 else 0.5
        ends += [middle[0] - half, middle[-1] + half]
    return ends[0], ends[1], ends[3], ends[2]


def scale_colours(values: np.ndarray, scale: Sequence[Sequence[Any]], low: float, high: float) -> np.ndarray:
    """Values in the colours of a plotly colour scale, (..., 4) in [0, 1]; NaN is transparent."""
    stops = np.array([float(stop) for stop, _ in scale])
    stops = stops + 1e-9 * np.arange(len(stops))  # two colours at one stop stay in order
    parts = np.array([colours_of(name, 1)[0] for _, name in scale])  # (stops, 4)
    share = np.clip((np.nan_to_num(values) - low) / ((high - low) or 1.0), 0, 1)
    pixels = np.stack([np.interp(share, stops, part) for part in parts.T], axis=-1)
    pixels[..., 3] *= np.isfinite(values)
    return pixels


def draw_colour_bar(
    page: Figure, scale: Sequence[Sequence[Any]], low: float, high: float, unit: str, **place: Any
) -> None:
    """A colour bar of a plotly colour scale over white, where matplotlib's `Figure.colorbar` is told to put it."""
    shown = scale_colours(np.linspace(low, high, 256), scale, low, high)
    on_white = shown[:, :3] * shown[:, 3:] + 1 - shown[:, 3:]
    colours = LinearSegmentedColormap.from_list("scale", on_white)
    bar = page.colorbar(ScalarMappable(Normalize(low, high), colours), **place)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(unit, fontsize=8)


_DRAW = {"scatter": _draw_scatter, "bar": _draw_bar, "heatmap": _draw_heatmap}


def colours_of(colour: Any, count: int, opacity: Any = 1.0) -> list[Colour]:
    """Plotly's colours, one or many, as matplotlib's."""
    named = list(colour) if isinstance(colour, Sequence) and not isinstance(colour, str) else [colour] * count
    return [_colour(name, alpha) for name, alpha in zip(named, np.broadcast_to(opacity, len(named)), strict=True)]


def _colour(name: str | None, opacity: float) -> Colour:
    numbers = re.fullmatch(r"rgba?\(([^)]*)\)", name or "#0072B2")
    if numbers is None:
        return to_rgba(name or "#0072B2", float(opacity))
    red, green, blue, *alpha = (float(part) for part in numbers[1].split(","))
    return red / 255, green / 255, blue / 255, (alpha[0] if alpha else 1.0) * float(opacity)


def plain(text: str | None) -> str:
    """Plotly's small HTML as plain text, lines kept."""
    return html.unescape(re.sub(r"<(?!br)[^>]*>", "", text or "").replace("<br>", "\n"))
