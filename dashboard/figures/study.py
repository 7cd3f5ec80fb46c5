"""Figures over a collection: AUC of every method, one method against another, components, lens and layers in groups."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.theme import NEGATIVE, NEUTRAL, POSITIVE, apply_theme, escape, method_colour

FLIPPED, OTHERS = "#D55E00", "#0072B2"
"""Groups of maps, flipped and not, on every figure of a study."""

BINS = 20
MOST_POINTS = 4000
"""A scatter of more points shows a sample."""
HEIGHT = 270
COMPONENT_HOVER = (
    "%{y}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f}), worst in %{customdata[2]:.0%}<extra></extra>"
)


def plot_auc_histogram(
    auc: Mapping[str, np.ndarray], chosen: np.ndarray, method: str, titles: Mapping[str, str]
) -> go.Figure:
    """How many maps have which flip AUC: bars of one method, chosen maps solid, and a line for every other method.

    Args:
        auc: method -> (n,).
        chosen: bool (n,).
        method: whose bars are drawn.
        titles: how methods are written.

    Returns:
        A figure whose bars can be clicked: curve 0, the point index is the bin of width 1 / `BINS`.
    """
    edges = np.linspace(0, 1, BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    every = _counts(auc[method], edges)
    figure = go.Figure()
    some = _counts(auc[method][chosen], edges)
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
                y=_counts(values, edges),
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


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(values[np.isfinite(values)], edges)[0]


def plot_pairs(
    x: np.ndarray,
    y: np.ndarray,
    chosen: np.ndarray,
    flipped: np.ndarray,
    words: Sequence[str],
    title: str,
    axes: tuple[str, str],
    diagonal: bool = False,
) -> tuple[go.Figure, np.ndarray]:
    """Two figures of every map against each other, a dot a map.

    Args:
        x, y: (n,).
        chosen: bool (n,), drawn solid.
        flipped: bool (n,), the colour.
        words: (n,) for hover.
        title: says what is plotted.
        axes: titles of x and y.
        diagonal: whether to draw the line of equal values.

    Returns:
        The figure, whose dots (curve 0) can be clicked and lassoed, and the numbers (k,) of the maps that are drawn:
        all, or a sample of `MOST_POINTS`, in which case the title says so.
    """
    shown = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(shown) > MOST_POINTS:
        title = f"{title}, sample of {MOST_POINTS:,}"
        shown = np.sort(np.random.default_rng(0).choice(shown, MOST_POINTS, replace=False))
    solid = chosen[shown]
    figure = go.Figure()
    figure.add_scatter(
        x=x[shown],
        y=y[shown],
        mode="markers",
        text=[words[n] for n in shown],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "color": np.where(flipped[shown], FLIPPED, OTHERS),
            "size": 6,
            "opacity": np.where(solid, 0.8, 0.12),
            "line": {"width": 0},
        },
        selected={"marker": {"opacity": 0.9}},
        unselected={"marker": {"opacity": 0.15}},
        showlegend=False,
    )
    if diagonal:
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip", showlegend=False
        )
    apply_theme(figure, title, HEIGHT)
    figure.update_layout(dragmode="lasso", hovermode="closest")
    figure.update_xaxes(title=axes[0])
    figure.update_yaxes(title=axes[1])
    return figure, shown


def plot_components(
    labels: Sequence[str],
    mean: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    worst: np.ndarray,
    marked: str,
    title: str,
) -> tuple[go.Figure, list[int]]:
    """What components add to the contrast on average, with intervals, and how often each is the worst.

    Args:
        labels: (k,) of the components.
        mean, low, high: (k,).
        worst: (k,) share of maps in which the component is the most negative.
        marked: label of the chosen component.
        title: says what is plotted.

    Returns:
        The figure, and the numbers of the components of its bars (curve 0), which can be clicked: the most negative
        first, then those of largest size.
    """
    order = np.argsort(mean)
    most = [*order[:8], *[n for n in order[::-1] if mean[n] > 0][:4][::-1]]
    shown = list(dict.fromkeys(int(n) for n in most))
    reach = [np.nan_to_num(high[shown] - mean[shown]), np.nan_to_num(mean[shown] - low[shown])]
    names = [labels[n] for n in shown]
    figure = go.Figure()
    figure.add_bar(
        x=mean[shown],
        y=names,
        orientation="h",
        showlegend=False,
        marker={
            "color": [NEGATIVE if mean[n] < 0 else POSITIVE for n in shown],
            "line": {"width": [2.5 if labels[n] == marked else 0 for n in shown], "color": NEUTRAL},
        },
        error_x={
            "type": "data",
            "array": reach[0],
            "arrayminus": reach[1],
            "thickness": 1.2,
            "width": 3,
            "color": NEUTRAL,
        },
        customdata=np.stack([low[shown], high[shown], worst[shown]], axis=1),
        hovertemplate=COMPONENT_HOVER,
    )
    for n in shown:
        if worst[n] >= 0.005:
            words = {"text": f"worst in {worst[n]:.0%}", "font": {"size": 11}, "showarrow": False}
            figure.add_annotation(x=1, xref="paper", xanchor="right", y=labels[n], **words)
    apply_theme(figure, title, 24 * len(shown) + 74)
    figure.update_yaxes(autorange="reversed", type="category")
    span = float(max(abs(np.nanmin(low[shown], initial=0)), np.nanmax(high[shown], initial=0), 1e-9))
    figure.update_xaxes(title="contrast (cosine)", range=[-1.2 * span, 1.9 * span])
    return figure, shown


def plot_depths(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    title: str,
    axes: tuple[str, str],
    mark: int | None,
    turning: np.ndarray | None = None,
) -> go.Figure:
    """Means over depths of flipped maps and of the others, with bands; below them how often a sign turns at a depth.

    Args:
        groups: name ("flipped", "not flipped") -> mean, low, high (k,).
        title, axes: texts of the figure.
        mark: the chosen depth.
        turning: (k,) share of maps whose sign turns there for good; None for none.

    Returns:
        A figure whose markers can be clicked; the point index is the depth. Curves come in threes: mean, low, high.
    """
    figure = go.Figure()
    for name, (mean, low, high) in groups.items():
        colour = FLIPPED if name == "flipped" else OTHERS
        depths = np.arange(len(mean))
        figure.add_scatter(
            x=depths, y=mean, mode="lines+markers", name=name, line={"color": colour}, marker={"size": 6}
        )
        figure.add_scatter(x=depths, y=low, mode="lines", line={"width": 0}, hoverinfo="skip", showlegend=False)
        figure.add_scatter(
            x=depths,
            y=high,
            mode="lines",
            line={"width": 0},
            fill="tonexty",
            hoverinfo="skip",
            showlegend=False,
            fillcolor="rgba(213,94,0,0.18)" if name == "flipped" else "rgba(0,114,178,0.18)",
        )
    apply_theme(figure, title, HEIGHT)
    if turning is not None:
        figure.add_bar(
            x=np.arange(len(turning)),
            y=turning,
            yaxis="y2",
            marker={"color": NEUTRAL, "opacity": 0.3},
            name="sign turns for good (share, right)",
            hovertemplate="depth %{x}: %{y:.0%}<extra></extra>",
        )
        figure.update_layout(
            yaxis2={"overlaying": "y", "side": "right", "range": [0, 1], "showgrid": False, "tickformat": ".0%"}
        )
    figure.update_xaxes(title=axes[0])
    figure.update_yaxes(title=axes[1], selector={"anchor": "x"})
    figure.update_layout(
        hovermode="closest",
        legend={"y": -0.34, "yanchor": "top", "x": 0, "xanchor": "left", "traceorder": "normal"},
        margin={"b": 96},
    )
    if mark is not None:
        figure.add_vline(x=mark, line={"color": NEUTRAL, "dash": "dot"})
    return figure


def plot_blame_pairs(
    labels: Sequence[str], x: np.ndarray, y: np.ndarray, marked: str, axes: tuple[str, str]
) -> go.Figure:
    """Mean blame of every component in one study against another, a dot a component."""
    figure = go.Figure()
    big = np.argsort(-(np.abs(x) + np.abs(y)))[:8]
    words = [label if place in big or label == marked else "" for place, label in enumerate(labels)]
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers+text",
        text=words,
        textposition="top center",
        customdata=list(labels),
        showlegend=False,
        hovertemplate="%{customdata}: %{x:.3f} and %{y:.3f}<extra></extra>",
        marker={"size": 7, "color": NEUTRAL},
    )
    ends = [float(np.nanmin([x, y])), float(np.nanmax([x, y]))]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip", showlegend=False
    )
    apply_theme(figure, "Mean blame, a dot a component", 300)
    figure.update_xaxes(title=axes[0])
    figure.update_yaxes(title=axes[1])
    return figure
