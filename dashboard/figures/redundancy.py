"""Figures of what all labels have in common: weights, correlation of maps, channels, one label left out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.label_set import LabelSetEffect
from analysis.numerals import number
from analysis.redundancy import Redundancy
from dashboard.figures.theme import (
    DIVERGING,
    OPACITY,
    POSITIVE,
    POSITIVE_RGB,
    SERIES_COLOURS,
    apply_theme,
    escape,
)

MAX_NUMBERED = 8
"""Up to so many labels a matrix has its numbers written in its cells."""

STRONG = 0.45
"""Share of the scale from which a cell's colour is dark enough, on any page, for white numbers."""

LABEL_LENGTH = 18
RAMP = [[end, f"rgba({','.join(map(str, POSITIVE_RGB))},{end * OPACITY})"] for end in (0.0, 1.0)]
"""For values that are never negative: zero is transparent."""


def label_ticks(labels: Sequence[str]) -> list[str]:
    """Labels as they stand at an axis: shortened, and without markup."""
    short = (label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1].rstrip() + "…" for label in labels)
    return [escape(label) for label in short]


def plot_correlation(found: Redundancy) -> go.Figure:
    """Correlation of every label's map with every other, before and after feature surgery, on one scale from -1 to 1.

    Args:
        found: from `compute_redundancy`, of one image.
    """
    figure = make_subplots(
        1, 2, shared_yaxes=True, subplot_titles=("before feature surgery", "after"), horizontal_spacing=0.05
    )
    for column, values in enumerate((found.correlation_before[0], found.correlation_after[0]), start=1):
        for trace in (_matrix(values, found.labels, found.labels), *_numbers(values, 1.0)):
            figure.add_trace(trace, row=1, col=column)
    count = len(found.labels)
    title = "Correlation of the labels' maps over the patches"
    apply_theme(figure, title, max(300, min(700, 170 + 30 * count)))
    _label_axes(figure, found.labels, found.labels)
    bar = {"title": {"text": "r", "side": "top"}, "thickness": 12, "tickvals": [-1, -0.5, 0, 0.5, 1]}
    figure.update_layout(
        coloraxis={"colorscale": DIVERGING, "cmin": -1, "cmax": 1, "colorbar": bar}, margin={"t": 62, "b": 92}
    )
    figure.update_annotations(font={"size": 12})
    return figure


def mean_correlation(matrix: np.ndarray) -> float:
    """Mean of the correlations of two different maps; NaN where there are none.

    Args:
        matrix: (t, t).
    """
    pairs = matrix[~np.eye(len(matrix), dtype=bool)]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")


def _matrix(values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> go.Heatmap:
    ticks = np.array([[f"{row} / {column}" for column in label_ticks(columns)] for row in label_ticks(rows)])
    return go.Heatmap(
        z=values.astype(np.float32),
        hovertext=ticks,
        hovertemplate="%{hovertext}: %{z:.3r}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
        hoverongaps=False,
    )


def _numbers(values: np.ndarray, limit: float) -> list[go.Scatter]:
    """The numbers in the cells, where there is room: white in strong colours, else in the colour of the theme's text.

    Plotly's own choice for heat maps takes a transparent cell for a white one, which it is not on a dark page.
    """
    if max(values.shape) > MAX_NUMBERED:
        return []
    strong = np.abs(values) > STRONG * limit
    traces = []
    for cells, font in ((strong, {"size": 11, "color": "#ffffff"}), (~strong & ~np.isnan(values), {"size": 11})):
        rows, columns = np.nonzero(cells)
        text = [number(value) for value in values[cells]]
        place = {"x": columns, "y": rows, "mode": "text", "text": text, "textfont": font}
        traces.append(go.Scatter(**place, hoverinfo="skip", showlegend=False))
    return traces


def _label_axes(figure: go.Figure, rows: Sequence[str], columns: Sequence[str]) -> None:
    figure.update_xaxes(
        tickvals=list(range(len(columns))), ticktext=label_ticks(columns), tickangle=-35, showgrid=False
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=label_ticks(rows),
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        ticks="",
    )


def plot_channels(found: Redundancy, count: int = 12, height: int = 330) -> go.Figure:
    """The channels that hold most of what the labels have in common, strongest first.

    Args:
        found: from `compute_redundancy`, of one image.
        count: how many.
        height: in pixels.
    """
    channels = found.strongest_channels(count)
    shares = 100 * found.channel_share[0, channels]
    bars = go.Bar(
        x=[str(channel) for channel in channels],
        y=shares.astype(np.float32),
        marker={"color": POSITIVE},
        hovertemplate="channel %{x}: %{y:.3r} %<extra></extra>",
    )
    total = 100 * float(found.channel_share[0].sum())
    title = f"Channels: {shares.sum():.0f} of {total:.0f} %"
    figure = apply_theme(go.Figure(bars), title, height)
    figure.update_layout(showlegend=False, bargap=0.25)
    figure.update_xaxes(title="channel", type="category", tickangle=-60)
    figure.update_yaxes(title="share of energy", ticksuffix=" %", rangemode="tozero", nticks=5)
    return figure


def plot_effect(effect: LabelSetEffect, struck: str = "") -> go.Figure:
    """How far every map moves when one label is left out: a row a label that leaves, a column a map.

    Args:
        effect: from `label_set_effect`, of one image, of labels that leave.
        struck: the label whose row is framed.

    Returns:
        A figure whose trace 1 has a transparent marker in every cell: point i is row i // labels.
    """
    values = effect.mean_change[0]  # (k, t)
    rows, columns = np.indices(values.shape)
    limit = float(np.nanmax(values)) or 1.0
    heat = _matrix(values, effect.changes, effect.labels)
    heat.hovertemplate = "without %{hovertext}: moves by %{z:.3r} (cosine), r = %{customdata:.3r}<extra></extra>"
    heat.customdata = effect.correlation[0].astype(np.float32)
    figure = go.Figure(heat)
    clear = {"marker": {"opacity": 0}}
    markers = {"mode": "markers", "marker": {"opacity": 0, "size": 22, "symbol": "square"}, "hoverinfo": "skip"}
    figure.add_trace(
        go.Scatter(x=columns.ravel(), y=rows.ravel(), **markers, selected=clear, unselected=clear, showlegend=False)
    )
    figure.add_traces(_numbers(values, limit))
    title = "One label left out: mean change of every map"
    apply_theme(figure, title, max(270, min(760, 150 + 30 * len(effect.changes))))
    _label_axes(figure, effect.changes, effect.labels)
    if struck in effect.changes:
        row = effect.changes.index(struck)
        x1, line = len(effect.labels) - 0.5, {"color": SERIES_COLOURS[0], "width": 2}
        figure.add_shape(type="rect", x0=-0.5, x1=x1, y0=row - 0.5, y1=row + 0.5, line=line)
    bar = {
        "title": {"text": "cosine", "side": "top", "font": {"size": 12}},
        "thickness": 12,
        "nticks": 5,
        "tickformat": ".2~g",
    }
    figure.update_layout(
        coloraxis={"colorscale": RAMP, "cmin": 0, "cmax": limit, "colorbar": bar},
        hovermode="closest",
        clickmode="event+select",
    )
    figure.update_xaxes(title="map of", range=[-0.5, len(effect.labels) - 0.5])
    figure.update_yaxes(title="left out")
    return figure


def effect_table(effect: LabelSetEffect) -> pd.DataFrame:
    """One row per label that is left out: mean change and least correlation over the other maps, contrast if known."""
    rows = []
    for index, label in enumerate(effect.changes):
        change, kept = effect.mean_change[0, index], effect.correlation[0, index]
        row = {"left out": label, "mean change": np.nanmean(change), "least r": np.nanmin(kept)}
        if effect.contrast is not None:
            row["contrast change"] = np.nanmean(effect.contrast[0, index] - effect.contrast_before[0])
        rows.append(row)
    return pd.DataFrame(rows)
