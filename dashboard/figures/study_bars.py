"""Figures over a collection with a row a component, method or class: means of two groups of maps with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.studies.groups import GROUPS, FlipGroups, GroupMeans
from dashboard.figures.study import GROUP_COLOURS, HEIGHT
from dashboard.figures.theme import NEUTRAL, apply_theme, escape

INTERVAL_HOVER = "%{y}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>"
WORST_HOVER = (
    "%{y}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f}), "
    "worst in %{customdata[2]:.0%} (%{customdata[3]:.0%} to %{customdata[4]:.0%})<extra></extra>"
)
MOST_COMPONENTS = 12
MOST_CLASSES = 24
LEAST_SHARE = 0.005
"""Of flipped maps in which a component is the worst; less is not written."""


def plot_components(found: FlipGroups, marked: str, title: str) -> tuple[go.Figure, list[int]]:
    """What components add to the contrast in both groups, and beside the name in how many flipped maps each is worst.

    Args:
        found: blame, see `analysis.studies.groups.split_flipped`.
        marked: label of the chosen component.
        title: says what is plotted.

    Returns:
        The figure, and the numbers of the components of its bars (curve 0), which can be clicked: the most negative
        first, then those of largest positive size.

    Raises:
        ValueError: both groups are empty.
    """
    first = found.flipped or found.others
    if first is None:
        raise ValueError("Expected at least 1 map, but both groups are empty")
    order = np.argsort(first.mean)
    most = [*order[: MOST_COMPONENTS - 4], *[n for n in order[::-1] if first.mean[n] > 0][:4][::-1]]
    shown = list(dict.fromkeys(int(n) for n in most))
    names, figure = [found.labels[n] for n in shown], go.Figure()
    for name, group in found.groups.items():
        _add_bars(figure, name, group, shown, names, found, marked)
    apply_theme(figure, title, 24 * len(shown) + 92)
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=[_with_share(found, n) for n in shown])
    figure.update_xaxes(title="contrast (cosine)")
    figure.update_layout(barmode="overlay", legend={"y": -0.2, "yanchor": "top", "x": 0, "xanchor": "left"})
    return figure, shown


def _with_share(found: FlipGroups, place: int) -> str:
    """A component, and in how many flipped maps it is the worst, with the interval."""
    label = found.labels[place]
    if found.worst is None or found.worst.mean[place] < LEAST_SHARE:
        return label
    low, high = found.worst.low[place], found.worst.high[place]
    ends = "" if np.isnan(low) else f" ({100 * low:.0f}–{100 * high:.0f})"
    return f"{label} · {found.worst.mean[place]:.0%}{ends}"


def _add_bars(
    figure: go.Figure,
    name: str,
    group: GroupMeans,
    shown: list[int],
    names: list[str],
    found: FlipGroups,
    marked: str,
) -> None:
    """The first group as bars, the second as diamonds over them; both with intervals."""
    mean, reach = group.mean[shown], _reach(group, shown)
    data = [group.low[shown], group.high[shown]]
    worst = name == GROUPS[0] and found.worst is not None
    if worst:
        data += [found.worst.mean[shown], found.worst.low[shown], found.worst.high[shown]]
    common = {"x": mean, "y": names, "name": name, "customdata": np.stack(data, axis=1)}
    common |= {"error_x": reach, "hovertemplate": WORST_HOVER if worst else INTERVAL_HOVER}
    if not figure.data:
        edges = [2.5 if found.labels[n] == marked else 0 for n in shown]
        marker = {"color": GROUP_COLOURS[name], "opacity": 0.85, "line": {"width": edges, "color": NEUTRAL}}
        figure.add_bar(orientation="h", marker=marker, **common)
    else:
        marker = {"color": GROUP_COLOURS[name], "size": 7, "symbol": "diamond"}
        figure.add_scatter(mode="markers", marker=marker, **common)


def _reach(group: GroupMeans, shown: Sequence[int] | slice = slice(None)) -> dict[str, object]:
    """Error bars of an interval."""
    mean, low, high = (part[shown] for part in (group.mean, group.low, group.high))
    ends = {"array": np.nan_to_num(high - mean), "arrayminus": np.nan_to_num(mean - low)}
    return {"type": "data", "thickness": 1.2, "width": 3, "color": NEUTRAL, **ends}


def plot_method_figures(table: pd.DataFrame, titles: Mapping[str, str], title: str, axis: str) -> go.Figure:
    """A figure of every method in both groups, with intervals.

    Args:
        table: see `analysis.studies.curves.method_figures`.
        titles: how methods are written.
        title, axis: texts of the figure.
    """
    figure = go.Figure()
    for name in GROUPS:
        own = table[table["group"] == name]
        if len(own):
            ends = {"array": np.nan_to_num(own["high"] - own["mean"])}
            ends |= {"arrayminus": np.nan_to_num(own["mean"] - own["low"])}
            figure.add_scatter(
                x=own["mean"],
                y=[escape(titles.get(method, method)) for method in own["method"]],
                mode="markers",
                name=name,
                marker={"color": GROUP_COLOURS[name], "size": 9, "symbol": "diamond"},
                error_x={"type": "data", "thickness": 1.4, "width": 4, "color": GROUP_COLOURS[name], **ends},
                customdata=own[["low", "high", "maps"]].to_numpy(),
                hovertemplate=INTERVAL_HOVER.replace("<extra>", ", %{customdata[2]:,} maps<extra>"),
            )
    apply_theme(figure, title, max(HEIGHT, 18 * table["method"].nunique() + 130))
    figure.update_yaxes(autorange="reversed", type="category", tickfont={"size": 11})
    figure.update_xaxes(title=axis)
    figure.update_layout(legend={"y": -0.3, "yanchor": "top", "x": 0, "xanchor": "left"}, margin={"b": 76})
    return figure


def plot_class_ious(table: pd.DataFrame, marked: str, title: str) -> tuple[go.Figure, list[str]]:
    """IoU of classes with intervals, lowest first; of many classes the lowest and the highest.

    Args:
        table: see `analysis.studies.classes.class_ious`.
        marked: the chosen class.
        title: says what is plotted.

    Returns:
        The figure, and the classes of its bars (curve 0), which can be clicked.
    """
    if len(table) > MOST_CLASSES:
        title = f"{title}, {MOST_CLASSES // 2} lowest and {MOST_CLASSES // 2} highest of {len(table)}"
        table = pd.concat([table.head(MOST_CLASSES // 2), table.tail(MOST_CLASSES // 2)])
    names = table["class"].tolist()
    ends = {"array": np.nan_to_num(table["high"] - table["iou"])}
    ends |= {"arrayminus": np.nan_to_num(table["iou"] - table["low"])}
    figure = go.Figure()
    figure.add_bar(
        x=table["iou"],
        y=[escape(name) for name in names],
        orientation="h",
        marker={"color": "#009E73", "line": {"width": [2.5 if n == marked else 0 for n in names], "color": NEUTRAL}},
        error_x={"type": "data", "thickness": 1.2, "width": 3, "color": NEUTRAL, **ends},
        customdata=table[["low", "high", "images"]].to_numpy(),
        hovertemplate=INTERVAL_HOVER.replace("<extra>", ", in %{customdata[2]:,} pictures<extra>"),
        showlegend=False,
    )
    apply_theme(figure, title, 17 * len(names) + 92)
    figure.update_yaxes(autorange="reversed", type="category", tickfont={"size": 10})
    top = float(np.nanmax([0.01, *table["iou"], *table["high"]]))
    figure.update_xaxes(title="IoU", range=[0, min(1.0, 1.1 * top)])
    return figure, names


def plot_blame_pairs(
    labels: Sequence[str],
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    marked: str,
    axes: tuple[str, str],
) -> go.Figure:
    """Mean blame of every component in one study against another, a dot a component and group.

    Args:
        labels: (k,) of the components.
        groups: "flipped", "not flipped" -> means (k,) in the one study and in the other.
        marked: label of the chosen component.
        axes: titles of x and y.
    """
    figure = go.Figure()
    ends = [0.0, 0.0]
    for name, (x, y) in groups.items():
        big = np.argsort(-(np.abs(x) + np.abs(y)))[:6]
        words = [label if place in big or label == marked else "" for place, label in enumerate(labels)]
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers+text",
            text=words,
            textposition="middle right",
            customdata=list(labels),
            name=name,
            hovertemplate="%{customdata}: %{x:.3f} and %{y:.3f}<extra></extra>",
            marker={"size": 7, "color": GROUP_COLOURS[name]},
        )
        ends = [min(ends[0], float(np.nanmin([x, y]))), max(ends[1], float(np.nanmax([x, y])))]
    dots = {"color": NEUTRAL, "dash": "dot"}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=dots, hoverinfo="skip", showlegend=False)
    apply_theme(figure, "Mean blame, a dot a component", 320)
    figure.update_xaxes(title=axes[0])
    figure.update_yaxes(title=axes[1])
    figure.update_layout(legend={"y": -0.24, "yanchor": "top", "x": 0, "xanchor": "left"}, margin={"b": 76})
    return figure
