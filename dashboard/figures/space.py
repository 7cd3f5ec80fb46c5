"""Patch tokens as points in the plane: one picture, or one that moves through the blocks.

Point i of trace `POINTS_CURVE` is patch i % n of source i // n, n being the number of patches.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.theme import (
    GROUP_COLOURS,
    METHOD_COLOURS,
    NEUTRAL,
    PATCH_COLOUR,
    SERIES_COLOURS,
    apply_theme,
    escape,
)

POINTS_CURVE = 0
SYMBOLS = ("circle", "square", "diamond", "cross")
MAX_NAMES = 7
"""More names than that are told apart by no colours: the rarest are "others"."""

OTHERS = "others"
FADED = 0.22
HEIGHT_PX = 480
BUTTONS_PX = 96
"""Width of the buttons that play and stop, at the left of the slider."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Patch tokens of one image from s sources, laid out together.

    Attributes:
        coordinates: (s, n, 2).
        sources: s titles such as "after block 3" or "CLIP Surgery".
        names: s keys of `METHOD_COLOURS`, or the sources themselves.
        grid: rows and columns of patches, n in all.
        region: (n,) "foreground", "background" or "neither"; None without a region.
        nearest: (s, n) most similar prompt; None without prompts.
        prompts: all prompts, in order.
        method: "pca" or "umap".
        explained: share of the variance per axis; empty for UMAP.
    """

    coordinates: np.ndarray
    sources: tuple[str, ...]
    names: tuple[str, ...]
    grid: tuple[int, int]
    region: np.ndarray | None
    nearest: np.ndarray | None
    prompts: tuple[str, ...]
    method: str
    explained: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """What the points are coloured by.

    Attributes:
        names: (s, n) the name of each point's group.
        colours: name -> colour, in the order of the legend.
    """

    names: np.ndarray
    colours: dict[str, str]


def colour_choices(layout: Layout) -> tuple[str, ...]:
    """What this layout can be coloured by: "region", "nearest", "source"."""
    known = {"region": layout.region is not None, "nearest": layout.nearest is not None, "source": True}
    return tuple(name for name, there in known.items() if there)


def group_points(layout: Layout, by: str) -> Groups:
    """The groups of all points.

    Args:
        layout: any layout.
        by: one of `colour_choices`.

    Raises:
        ValueError: the layout cannot be coloured by this.
    """
    if by not in colour_choices(layout):
        raise ValueError(f"Expected by to be one of {', '.join(colour_choices(layout))}, but got {by!r}")
    shape = layout.coordinates.shape[:2]
    if by == "region":
        colours = {"foreground": GROUP_COLOURS["foreground"], "background": GROUP_COLOURS["background"]}
        return Groups(np.broadcast_to(layout.region, shape), colours | {"neither": NEUTRAL})
    if by == "source":
        rest = cycle(SERIES_COLOURS)
        colours = {s: METHOD_COLOURS.get(n) or next(rest) for s, n in zip(layout.sources, layout.names, strict=True)}
        return Groups(np.broadcast_to(np.array(layout.sources, dtype=object)[:, None], shape), colours)
    kept = list(layout.prompts)
    if len(kept) > MAX_NAMES:
        kept = [name for name, _ in Counter(layout.nearest.ravel().tolist()).most_common(MAX_NAMES)]
    colours = dict(zip(kept, SERIES_COLOURS, strict=False))
    names = np.where(np.isin(layout.nearest.astype(str), kept), layout.nearest, OTHERS)
    return Groups(names, colours | ({OTHERS: NEUTRAL} if OTHERS in names else {}))


def plot_space(
    layout: Layout,
    by: str = "region",
    lit: Sequence[int] = (),
    patch: tuple[int, int] | None = None,
    title: str = "",
) -> go.Figure:
    """All points of a layout.

    Args:
        layout: any layout.
        by: what to colour by, see `colour_choices`.
        lit: patches that stand out; the others fade.
        patch: the chosen patch, its points joined from source to source.
        title: already escaped where it holds a visitor's words.
    """
    groups = group_points(layout, by)
    sources = range(len(layout.sources))
    figure = go.Figure([_points(layout, groups, sources, lit), _ring(layout, sources, patch)])
    if by != "source" and len(layout.sources) > 1:
        for index, source in enumerate(layout.sources):
            figure.add_trace(_key(source, NEUTRAL, SYMBOLS[index % len(SYMBOLS)]))
    return _dress(figure, layout, groups, title)


def plot_space_frames(
    layout: Layout,
    by: str = "region",
    lit: Sequence[int] = (),
    patch: tuple[int, int] | None = None,
    start: int = 0,
    title: str = "",
) -> go.Figure:
    """One source after the other, with a slider and a button that plays them; axes stay as they are.

    Args:
        layout: its sources are the frames.
        by, lit, patch, title: as in `plot_space`; `by` "source" gives all points of a frame one colour.
        start: the frame that is shown first.
    """
    groups = group_points(layout, by)
    figure = go.Figure([_points(layout, groups, [start], lit), _ring(layout, [start], patch)])
    _dress(figure, layout, groups if by != "source" else Groups(groups.names, {}), title)
    figure.frames = [
        go.Frame(
            data=[_points(layout, groups, [index], lit), _ring(layout, [index], patch)], traces=[0, 1], name=str(index)
        )
        for index in range(len(layout.sources))
    ]
    reach = layout.coordinates.reshape(-1, 2)
    low, high = reach.min(axis=0), reach.max(axis=0)
    margin = 0.05 * (high - low)
    figure.update_xaxes(range=[low[0] - margin[0], high[0] + margin[0]])
    figure.update_yaxes(range=[low[1] - margin[1], high[1] + margin[1]])
    figure.update_layout(sliders=[_slider(layout, start)], updatemenus=[_buttons()], margin={"b": 130})
    return figure


def _points(layout: Layout, groups: Groups, sources: Sequence[int], lit: Sequence[int]) -> go.Scatter:
    """The points of some sources as trace `POINTS_CURVE`."""
    coordinates = layout.coordinates[list(sources)].reshape(-1, 2)  # (s * n, 2)
    names = groups.names[list(sources)].ravel()
    n = groups.names.shape[1]
    shown = np.ones(n, dtype=bool)
    if len(lit):
        shown[:] = False
        shown[list(lit)] = True
    shown = np.tile(shown, len(sources))
    colours = [_fade(groups.colours[name], on) for name, on in zip(names, shown, strict=True)]
    rows, columns = np.divmod(np.tile(np.arange(n), len(sources)), layout.grid[1])
    solid = {"marker": {"opacity": 1}}
    return go.Scatter(
        x=coordinates[:, 0].astype(np.float32),
        y=coordinates[:, 1].astype(np.float32),
        mode="markers",
        marker={
            "color": colours,
            "size": 8,
            "opacity": 1,
            "symbol": [SYMBOLS[s % len(SYMBOLS)] for s in range(len(sources)) for _ in range(n)],
            "line": {"width": 0.5, "color": "rgba(128,128,128,0.5)"},
        },
        selected=solid,
        unselected=solid,
        text=[escape(str(name)) for name in names],
        customdata=np.column_stack([rows, columns]).astype(np.int16),
        hovertemplate="row %{customdata[0]}, column %{customdata[1]}<br>%{text}<extra></extra>",
        showlegend=False,
    )


def _fade(colour: str, on: bool) -> str:
    """A colour, pale where the patch is not lit."""
    if on:
        return colour
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{FADED})"


def _ring(layout: Layout, sources: Sequence[int], patch: tuple[int, int] | None) -> go.Scatter:
    """The chosen patch: a white square with a black edge, its sources joined."""
    at = layout.coordinates[list(sources), patch[0] * layout.grid[1] + patch[1]] if patch else np.zeros((0, 2))
    return go.Scatter(
        x=at[:, 0].astype(np.float32),
        y=at[:, 1].astype(np.float32),
        mode="lines+markers" if len(sources) > 1 else "markers",
        line={"color": NEUTRAL, "width": 1.5, "dash": "dot"},
        marker={"symbol": "square", "size": 10, "color": PATCH_COLOUR, "line": {"color": "#000000", "width": 2}},
        hoverinfo="skip",
        showlegend=False,
    )


def _key(name: str, colour: str, symbol: str = "circle") -> go.Scatter:
    """An entry of the legend."""
    mark = {"color": colour, "size": 9, "symbol": symbol}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=mark, name=escape(name))


def _dress(figure: go.Figure, layout: Layout, groups: Groups, title: str) -> go.Figure:
    """Legend, axes and behaviour."""
    present = set(groups.names.ravel().tolist())
    for name, colour in groups.colours.items():
        if name in present:
            figure.add_trace(_key(name, colour))
    apply_theme(figure, title, HEIGHT_PX)
    axis = [f"PC {k + 1} ({100 * share:.0f} % of variance)" for k, share in enumerate(layout.explained)]
    x, y = axis or ["UMAP 1", "UMAP 2"]
    figure.update_layout(hovermode="closest", dragmode="lasso", clickmode="event+select", showlegend=True)
    figure.update_layout(legend={"y": 1.0, "x": 0, "xanchor": "left"}, margin={"t": 70, "l": 48, "r": 8})
    figure.update_xaxes(title=x, zeroline=False, showticklabels=layout.method == "pca")
    figure.update_yaxes(title=y, zeroline=False, showticklabels=layout.method == "pca", scaleanchor="x")
    return figure


def _slider(layout: Layout, start: int) -> dict:
    steps = [
        {"label": name, "method": "animate", "args": [[str(index)], _timing(0)]}
        for index, name in enumerate(layout.names)
    ]
    beside = {"x": 0, "len": 1, "pad": {"l": BUTTONS_PX, "t": 6}, "y": -0.14}
    return {"active": start, "steps": steps, "currentvalue": {"visible": False}, **beside}


def _buttons() -> dict:
    play = {"label": "▶", "method": "animate", "args": [None, _timing(700)]}
    stop = {"label": "❚❚", "method": "animate", "args": [[None], _timing(0)]}
    return {
        "type": "buttons",
        "direction": "left",
        "buttons": [play, stop],
        "showactive": False,
        "x": 0,
        "y": -0.17,
        "xanchor": "left",
        "yanchor": "top",
    }


def _timing(milliseconds: int) -> dict:
    move = {"duration": milliseconds // 2, "easing": "cubic-in-out"}
    return {"frame": {"duration": milliseconds, "redraw": False}, "mode": "immediate", "transition": move}
