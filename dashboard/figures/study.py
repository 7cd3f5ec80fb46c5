"""Figures over a collection: AUC of every method, one figure against another, curves over depths in two groups."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.studies.groups import GROUPS, GroupMeans
from analysis.studies.pairs import BINS, count_bins
from dashboard.figures.theme import NEUTRAL, apply_theme, escape, method_colour

FLIPPED, OTHERS = "#D55E00", "#0072B2"
"""Groups of maps, flipped and not, on every figure of a study."""

GROUP_COLOURS = dict(zip(GROUPS, (FLIPPED, OTHERS), strict=True))
BANDS = dict(zip(GROUPS, ("rgba(213,94,0,0.18)", "rgba(0,114,178,0.18)"), strict=True))

MOST_POINTS = 4000
"""A scatter of more points shows a sample of them over the density of all."""
DENSITY_CELLS = 40
HEIGHT = 270


def plot_auc_histogram(
    auc: Mapping[str, np.ndarray], chosen: np.ndarray, method: str, titles: Mapping[str, str]
) -> go.Figure:
    """How many maps have which flip AUC: bars of one method, chosen maps solid, and a line for every other method, of
    the chosen maps.

    Args:
        auc: method -> (n,).
        chosen: bool (n,).
        method: whose bars are drawn.
        titles: how methods are written.

    Returns:
        A figure whose bars can be clicked: curve 0, the point index is the bin of width 1 / `BINS`.
    """
    middles = (np.arange(BINS) + 0.5) / BINS
    every = count_bins(auc[method])
    figure = go.Figure()
    some = count_bins(auc[method][chosen])
    hover = "%{customdata} maps<extra></extra>"
    colours = [FLIPPED if middle < 0.5 else OTHERS for middle in middles]
    for values, opacity in ((every, 0.25), (some, 0.95)):
        figure.add_bar(
            x=middles,
            y=values,
            width=1 / BINS,
            marker={"color": colours, "opacity": opacity, "line": {"width": 0}},
            customdata=values,
            hovertemplate=hover,
            showlegend=False,
        )
    for name, values in auc.items():
        if name != method:
            figure.add_scatter(
                x=middles,
                y=count_bins(values[chosen]),
                mode="lines",
                name=escape(titles[name]),
                hoverinfo="skip",
                line={"color": method_colour(name), "shape": "hvh", "width": 1.4},
            )
    apply_theme(figure, f"Flip AUC of {escape(titles[method])}, maps", HEIGHT)
    figure.update_layout(barmode="overlay", legend={"y": -0.16, "yanchor": "top", "x": 0, "xanchor": "left"})
    figure.update_layout(legend={"font": {"size": 10}}, margin={"b": 64})
    figure.add_vline(x=0.5, line={"color": NEUTRAL, "dash": "dot"})
    figure.update_xaxes(range=[0, 1])
    return figure


def plot_pairs(
    x: np.ndarray,
    y: np.ndarray,
    chosen: np.ndarray,
    flipped: np.ndarray,
    words: Callable[[int], str],
    title: str,
    axes: tuple[str, str],
    diagonal: bool = False,
) -> tuple[go.Figure, np.ndarray]:
    """Two figures of every map against each other, a dot a map.

    Args:
        x, y: (n,).
        chosen: bool (n,), drawn solid.
        flipped: bool (n,), the colour.
        words: number of a map -> what its dot says.
        title: says what is plotted.
        axes: titles of x and y.
        diagonal: whether to draw the line of equal values.

    Returns:
        The figure, whose dots (curve 0) can be clicked and lassoed, and the numbers (k,) of the maps that are drawn:
        all, or a sample of `MOST_POINTS`, in which case the title says so.
    """
    shown = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    every, figure = shown, go.Figure()
    if len(shown) > MOST_POINTS:
        title = f"{title}, sample of {MOST_POINTS:,}"
        shown = _sample(shown, chosen)
    solid = chosen[shown]
    figure.add_scatter(
        x=x[shown],
        y=y[shown],
        mode="markers",
        customdata=np.array([words(int(n)) for n in shown], object),
        hovertemplate="%{customdata}<extra></extra>",
        marker={
            "color": flipped[shown].astype(np.uint8),  # plotly looks at every name of a colour, and takes its time
            "colorscale": [[0, OTHERS], [1, FLIPPED]],
            "cmin": 0,
            "cmax": 1,
            "size": 6,
            "opacity": np.where(solid, 0.8, 0.12) if not solid.all() else 0.8,
            "line": {"width": 0},
        },
        selected={"marker": {"opacity": 0.9}},
        unselected={"marker": {"opacity": 0.15}},
        showlegend=False,
    )
    if len(every) > len(shown):
        figure.add_trace(_density(x[every], y[every]))
    if diagonal:
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip", showlegend=False
        )
    apply_theme(figure, title, HEIGHT)
    figure.update_layout(dragmode="lasso", hovermode="closest")
    figure.update_xaxes(title=axes[0])
    figure.update_yaxes(title=axes[1])
    return figure, shown


def _sample(shown: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """`MOST_POINTS` of the maps, chosen ones first."""
    random = np.random.default_rng(0)
    first, rest = shown[chosen[shown]], shown[~chosen[shown]]
    if len(first) >= MOST_POINTS:
        return np.sort(random.choice(first, MOST_POINTS, replace=False))
    return np.sort(np.concatenate([first, random.choice(rest, MOST_POINTS - len(first), replace=False)]))


def _density(x: np.ndarray, y: np.ndarray) -> go.Heatmap:
    """How many maps are where, all of them, in grey under the dots: the logarithm, so that few are seen as well."""
    counts, across, up = np.histogram2d(x, y, DENSITY_CELLS)
    shade = np.where(counts > 0, np.log1p(counts), np.nan).T.astype(np.float32)
    middles = [(ends[:-1] + ends[1:]) / 2 for ends in (across, up)]
    grey = [[0, "rgba(138,143,148,0.08)"], [1, "rgba(138,143,148,0.6)"]]
    return go.Heatmap(x=middles[0], y=middles[1], z=shade, colorscale=grey, showscale=False, hoverinfo="skip")


def plot_depths(
    groups: Mapping[str, GroupMeans],
    title: str,
    axes: tuple[str, str],
    mark: int | None,
    turning: pd.DataFrame | None = None,
    ticks: Sequence[str] | None = None,
) -> go.Figure:
    """Means over depths of flipped maps and of the others, with bands; below them how often a sign turns at a depth.

    Args:
        groups: "flipped", "not flipped" -> means of k columns.
        title, axes: texts of the figure.
        mark: the chosen depth.
        turning: a column a group, share of its maps whose sign turns there for good; None for none.
        ticks: k names of the depths; None for numbers from 0.

    Returns:
        A figure whose markers can be clicked; the point index is the depth. Curves come in threes: mean, low, high.
    """
    figure = go.Figure()
    for name, group in groups.items():
        depths = np.arange(len(group.mean))
        line = {"color": GROUP_COLOURS[name]}
        figure.add_scatter(x=depths, y=group.mean, mode="lines+markers", name=name, line=line, marker={"size": 6})
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(x=depths, y=group.low, **band)
        figure.add_scatter(x=depths, y=group.high, fill="tonexty", fillcolor=BANDS[name], **band)
    apply_theme(figure, title, HEIGHT)
    if turning is not None:
        _add_turning(figure, turning)
    figure.update_xaxes(title=axes[0])
    if ticks is not None:
        every = max(1, len(ticks) // 7)
        places = sorted({*range(0, len(ticks) - 1, every), len(ticks) - 1})
        figure.update_xaxes(tickvals=places, ticktext=[ticks[place] for place in places])
    figure.update_yaxes(title=axes[1], selector={"anchor": "x"})
    figure.update_layout(
        hovermode="closest",
        legend={"y": -0.3, "yanchor": "top", "x": 0, "xanchor": "left", "traceorder": "normal"},
        margin={"b": 76},
    )
    if mark is not None:
        figure.add_vline(x=mark, line={"color": NEUTRAL, "dash": "dot"})
    return figure


def _add_turning(figure: go.Figure, turning: pd.DataFrame) -> None:
    for name in (name for name in GROUPS if name in turning):
        figure.add_bar(
            x=turning["depth"],
            y=turning[name],
            yaxis="y2",
            marker={"color": GROUP_COLOURS[name], "opacity": 0.35},
            showlegend=False,
            hovertemplate=f"depth %{{x}}: the sign turns for good in %{{y:.0%}} ({name})<extra></extra>",
        )
    right = {"overlaying": "y", "side": "right", "range": [0, 1], "showgrid": False, "tickformat": ".0%"}
    figure.update_layout(
        yaxis2={**right, "tickvals": [0, 0.5, 1], "title": {"text": "turns for good", "font": {"size": 11}}}
    )
