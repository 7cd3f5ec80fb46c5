"""Figures of a head's path, of removals done together, and of what a part of the network says in words."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.decomposition import Component
from analysis.head_paths import SIDES, HeadPath
from analysis.interventions import JointRemoval
from analysis.text_span import NearText
from dashboard.figures.flip import describe_component
from dashboard.figures.theme import NEGATIVE, NEUTRAL, POSITIVE, SERIES_COLOURS, apply_theme, escape

BARS = 16
"""Components of a side that have a bar of their own; the others share one."""
SIDE_TITLES = {"query": "query: what it asks", "key": "key: what is found", "value": "value: what is taken along"}


def path_components(path: HeadPath, side: str) -> tuple[Component, ...]:
    """Component of every bar of a side of `plot_path` but the last ones (the others, the total), largest first."""
    order = np.argsort(-np.abs(path.terms(side)), kind="stable")[:BARS]
    return tuple(path.components[index] for index in order)


def plot_path(path: HeadPath) -> go.Figure:
    """What fed a head: a panel a side, a bar a component. Trace i belongs to `SIDES[i]`, bar j to `path_components`."""
    titles = [SIDE_TITLES[side] for side in SIDES]
    figure = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.13)
    for column, side in enumerate(SIDES, start=1):
        figure.add_trace(_side_bars(path, side), 1, column)
    apply_theme(figure, f"What fed {describe_component(path.head)}", 400)
    figure.update_layout(showlegend=False, bargap=0.2, margin={"t": 62, "l": 60}, clickmode="event+select")
    figure.update_annotations(font={"size": 12})
    figure.update_xaxes(zeroline=True, zerolinecolor="rgba(128,128,128,0.6)", tickformat=".2~g", nticks=4)
    figure.update_xaxes(tickangle=0)
    figure.update_xaxes(title={"text": "score before the softmax", "font": {"size": 11}, "standoff": 4})
    figure.update_xaxes(title_text="cosine", col=3)
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", tickfont={"size": 11}, dtick=1)
    return figure


def _side_bars(path: HeadPath, side: str) -> go.Bar:
    named, terms = path_components(path, side), path.terms(side)
    values = [float(terms[path.components.index(part)]) for part in named]
    labels, texts = [part.label for part in named], [describe_component(part) for part in named]
    others = len(path.components) - len(named)
    if others:
        values.append(path.total(side) - sum(values))
        labels.append(f"{others} others")
        texts.append(f"the {others} others together")
    return go.Bar(
        x=[*values, path.total(side)],
        y=[*labels, "total"],
        orientation="h",
        marker={"color": [*(POSITIVE if value > 0 else NEGATIVE for value in values), NEUTRAL]},
        text=[*texts, "total"],
        textposition="none",
        hovertemplate="%{text}: %{x:+.3r}<extra></extra>",
    )


def plot_together(joint: JointRemoval) -> go.Figure:
    """Removals one by one, their sum, and all at once. Bar i of trace 0 is `joint.singles[i]`."""
    singles = joint.singles
    labels = [*(single.component.label for single in singles), "sum of these", "all at once"]
    values = [*(single.change for single in singles), joint.sum_of_changes, joint.change]
    predicted = [*(-single.blame for single in singles), -joint.blame, -joint.blame]
    names = [*(describe_component(single.component) for single in singles), "one by one", "all at once"]
    bars = go.Bar(
        x=values,
        y=labels,
        orientation="h",
        marker={"color": [*[SERIES_COLOURS[0]] * len(singles), NEUTRAL, SERIES_COLOURS[1]]},
        customdata=names,
        hovertemplate="%{customdata}: the contrast changes by %{x:+.3r}<extra></extra>",
    )
    marks = go.Scatter(
        x=predicted,
        y=labels,
        mode="markers",
        marker={"symbol": "line-ns", "size": 14, "line": {"width": 2, "color": NEUTRAL}},
        hovertemplate="blame predicts %{x:+.3r}<extra></extra>",
    )
    figure = apply_theme(go.Figure([bars, marks]), "Change of the contrast when removed (│ as blame predicts)", 300)
    figure.update_layout(showlegend=False, bargap=0.3, clickmode="event+select")
    figure.update_xaxes(title="change of the contrast (cosine)", zeroline=True, tickformat=".2~g")
    figure.update_xaxes(zerolinecolor="rgba(128,128,128,0.6)")
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", dtick=1)
    return figure


def plot_texts(near: Sequence[NearText], title: str, unit: str, opposite: Sequence[NearText] = ()) -> go.Figure:
    """Texts as bars with their numbers, largest on top, and below them those of the opposite end.

    Args:
        near: the texts.
        title: what is plotted.
        unit: of the numbers.
        opposite: nearest to the opposite direction, drawn to the left.
    """
    values = [one.value for one in near] + [-one.value for one in reversed(opposite)]
    names = [one.text for one in near] + [one.text for one in reversed(opposite)]
    bars = go.Bar(
        x=values,
        y=[*range(len(values))],
        orientation="h",
        marker={"color": [POSITIVE if value > 0 else NEGATIVE for value in values]},
        customdata=[*map(escape, names)],
        hovertemplate="%{customdata}: %{x:.3r}<extra></extra>",
    )
    figure = apply_theme(go.Figure(bars), title, 300)
    figure.update_layout(showlegend=False, bargap=0.25, margin={"t": 34, "b": 34})
    figure.update_xaxes(title={"text": unit, "standoff": 2}, zeroline=True, tickformat=".2~g", rangemode="tozero")
    figure.update_yaxes(range=[len(values) - 0.4, -0.6], showgrid=False, zeroline=False)
    figure.update_yaxes(tickvals=[*range(len(values))], ticktext=[*map(escape, names)], tickfont={"size": 11})
    return figure
