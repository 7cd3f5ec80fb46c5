"""Figures over the blocks: norms and cosines of the streams, attention entropy, and the alpha sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.norms import QUANTILES, Entropy, StreamMeasure
from analysis.numerals import number
from analysis.sweep import alpha_axis
from dashboard.figures.theme import GROUP_COLOURS, NEUTRAL, SERIES_COLOURS, apply_theme, escape, kind_title

STREAM_TITLES = {"residual": "residual (input of the block)", "attention": "attention output", "mlp": "MLP output"}
GROUP_TITLES = {"cls": "CLS", "patches": "patches", "foreground": "foreground", "background": "background"}
KIND_COLOURS = {"qk": "#8a8f94", "qq": "#CC79A7", "kk": "#0072B2", "vv": "#D55E00"}
"""Line colour of a kind of attention; others take the rest of `SERIES_COLOURS`."""

KIND_ORDER = ("qk", "qq", "kk", "vv")
BAND = (QUANTILES[0], QUANTILES[-1])


def plot_streams(measure: StreamMeasure, layer: int | None = None, frobenius: bool = False) -> go.Figure:
    """A measure of the tokens over the blocks: one panel a stream, one line a group, its band from 5 % to 95 %.

    Args:
        measure: of one image, from `compute_norms` or `compute_cosine_to_cls`.
        layer: the chosen block, marked.
        frobenius: the root of the sum of squares over the group instead of its mean; without band.

    Returns:
        A figure in which every marker of a line can be clicked; its point index is the block.
    """
    streams = measure.streams
    titles = [STREAM_TITLES[name] for name in streams]
    figure = make_subplots(1, len(streams), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.03)
    for column, stream in enumerate(streams, start=1):
        for group, title in _groups(measure).items():
            for trace in _group_traces(measure, stream, group, title, frobenius, first=column == 1):
                figure.add_trace(trace, row=1, col=column)
    apply_theme(figure, _streams_title(measure, frobenius), 340)
    depth = len(measure.attention)
    figure.update_xaxes(title="block", dtick=max(1, depth // 8), range=[-0.5, depth - 0.5])
    figure.update_yaxes(title=_quantity(measure, frobenius), col=1)
    figure.update_layout(margin={"t": 64, "b": 76}, hovermode="closest")
    figure.update_layout(legend={"y": -0.22, "yanchor": "top", "x": 0, "xanchor": "left"})
    figure.update_annotations(font={"size": 12})
    if layer is not None:
        figure.add_vline(x=layer, line={"color": NEUTRAL, "dash": "dot"})
    return figure


def _streams_title(measure: StreamMeasure, frobenius: bool) -> str:
    if frobenius:
        return "Frobenius norm over the tokens of a group, block by block"
    if measure.quantity.startswith("cosine"):
        return "Cosine of the tokens with the final CLS feature, block by block"
    return f"{measure.quantity} of the tokens, block by block"


def _quantity(measure: StreamMeasure, frobenius: bool) -> str:
    if frobenius:
        return "Frobenius norm"
    return "cosine" if measure.quantity.startswith("cosine") else measure.quantity


def group_lines(measure: StreamMeasure, stream: str, frobenius: bool = False, *, named: bool) -> list[go.Scatter]:
    """A line and a band for every group of tokens of one stream; `named` puts them into the legend."""
    return [
        trace
        for group, title in _groups(measure).items()
        for trace in _group_traces(measure, stream, group, title, frobenius, first=named)
    ]


def _groups(measure: StreamMeasure) -> dict[str, str]:
    """Groups that are drawn: patches only where there is no region that splits them."""
    shown = [g for g in measure.groups if not (g == "patches" and "foreground" in measure.groups)]
    return {group: GROUP_TITLES.get(group, group) for group in shown}


def _group_traces(
    measure: StreamMeasure, stream: str, group: str, title: str, frobenius: bool, first: bool
) -> list[go.Scatter]:
    colour = GROUP_COLOURS.get(title, NEUTRAL)
    values = (measure.frobenius if frobenius else measure.mean)(stream, group)[:, 0]
    blocks = np.arange(len(values))
    line = go.Scatter(
        x=blocks,
        y=values.astype(np.float32),
        mode="lines+markers",
        name=title,
        legendgroup=title,
        showlegend=first,
        line={"color": colour, "width": 2},
        marker={"size": 7},
        customdata=np.column_stack([blocks, np.full(len(blocks), -1)]),
        hovertemplate=f"{title}, block %{{x}}: %{{y:.3r}}<extra></extra>",
    )
    if frobenius or measure.groups[group].sum() < 2:
        return [line]
    low, high = measure.quantiles(stream, group, BAND)[:, :, 0]
    band = go.Scatter(
        x=[*blocks, *blocks[::-1]],
        y=np.concatenate([high, low[::-1]]).astype(np.float32),
        fill="toself",
        fillcolor=_faint(colour),
        line={"width": 0},
        mode="lines",
        legendgroup=title,
        showlegend=False,
        hoverinfo="skip",
    )
    return [band, line]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def plot_entropy(
    entropy: Entropy, layer: int | None = None, head: int | None = None, group: str = "patches"
) -> go.Figure:
    """Entropy of the attention of every head, a dot each. Trace 0 holds all dots, block by block, head by head.

    Args:
        entropy: of one image.
        layer, head: the chosen ones, drawn large; the block alone marks all its heads.
        group: the query tokens whose mean is taken.
    """
    values = entropy.mean(group)[:, 0]  # (blocks, heads)
    depth, heads = values.shape
    block, index = (axis.ravel() for axis in np.indices(values.shape))
    picked = (block == (-1 if layer is None else layer)) & ((index == head) if head is not None else True)
    spread = (index - (heads - 1) / 2) * min(0.5, 0.12 * heads) / max(1, heads)
    dots = go.Scatter(
        x=block + spread,
        y=values.ravel().astype(np.float32),
        mode="markers",
        marker={
            "color": SERIES_COLOURS[0],
            "size": np.where(picked, 13, 7),
            "opacity": np.where(picked | (layer is None), 0.95, 0.5),
        },
        customdata=np.column_stack([block, index]),
        hovertemplate="block %{customdata[0]}, head %{customdata[1]}: %{y:.3r} nats<extra></extra>",
        showlegend=False,
    )
    figure = apply_theme(go.Figure(dots), "Attention entropy, a dot per head", 330)
    most = float(np.log(entropy.values.shape[-1]))
    figure.add_hline(
        y=most,
        line={"color": NEUTRAL, "dash": "dot"},
        annotation={"text": f"all tokens alike: {number(most)}", "font": {"size": 11}},
        annotation_position="top left",
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title="block", dtick=max(1, depth // 12), range=[-0.5, depth - 0.5])
    figure.update_yaxes(title="entropy (nats)", range=[0, 1.12 * most])
    return figure


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """Where the slider stands.

    Attributes:
        kind: kind of attention.
        alpha, residual: of the method.
        contrast: of its map.
    """

    kind: str
    alpha: float
    residual: float
    contrast: float


def plot_alpha_sweep(
    table: pd.DataFrame, point: SweepPoint | None = None, critical: Mapping[str, Sequence[float]] | None = None
) -> go.Figure:
    """Contrast against alpha, a line a kind of attention, with "no residual" as the last tick.

    Args:
        table: from `analysis.sweep.sweep_table` (the mean over images is drawn) or `summarise` (with its interval).
        point: drawn as a large marker at its exact alpha; a residual of 0 stands at the last tick.
        critical: kind -> the alphas at residual 1 at which its contrast turns, see `analysis.alpha`; those on the axis
            are marked by a cross, all are told. None says nothing of them.

    Returns:
        A figure in which every marker can be clicked; `sweep_places` says what point index is which alpha.
    """
    axis = alpha_axis(table)
    lines = _lines(axis)
    figure = go.Figure()
    spare = iter(SERIES_COLOURS[4:] * len(lines))
    for place, (name, line) in enumerate(lines.items()):
        colour = KIND_COLOURS.get(str(line["kind"].iloc[0])) if len(lines) <= len(axis["kind"].unique()) else None
        colour = colour or next(spare)
        if "contrast_low" in line:
            figure.add_trace(_interval(line, colour))
        dash = ("solid", "dash", "dot")[place // len(SERIES_COLOURS) % 3]
        figure.add_trace(_sweep_line(line, name, colour, dash))
    apply_theme(figure, "Contrast against alpha", 300)
    if critical is not None:
        _mark_crossings(figure, axis, {kind_title(kind): alphas for kind, alphas in critical.items()})
    if point is not None:
        figure.add_trace(_slider_marker(axis, point))
    labels = axis.drop_duplicates("position").set_index("position")["label"]
    shown = [p for p in labels.index if _is_shown(labels[p], len(labels))]
    figure.update_layout(margin={"t": 58, "b": 62}, hovermode="closest")
    figure.update_layout(legend={"y": 1.09, "yanchor": "bottom", "x": 1, "xanchor": "right"})
    figure.update_xaxes(title={"text": "alpha (factor of the attention output)", "standoff": 0}, tickvals=shown)
    figure.update_xaxes(ticktext=[_tick(labels[place]) for place in shown], tickangle=0)
    figure.update_yaxes(title="contrast (cosine)", zeroline=True, tickformat=".2~g")
    return figure


def describe_crossings(crossings: Mapping[str, Sequence[float]]) -> str:
    """The critical alphas in words: "v-v turns at alpha 1.30; k-k at 1.41; q-k, q-q never turn". Pure.

    Args:
        crossings: title of a kind -> alphas, ascending.
    """
    turns = [f"{name} at {_and_more(alphas)}" for name, alphas in crossings.items() if alphas]
    turns[:1] = [first.replace(" at ", " turns at alpha ", 1) for first in turns[:1]]
    never = [name for name, alphas in crossings.items() if not alphas]
    if never:
        turns.append(f"{', '.join(never)} never {'turn' if len(never) > 1 else 'turns'}")
    return "; ".join(turns)


def _and_more(alphas: Sequence[float]) -> str:
    """ "1.20", "1.20 and 2.50"."""
    words = [number(alpha) for alpha in alphas]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _mark_crossings(figure: go.Figure, axis: pd.DataFrame, crossings: Mapping[str, Sequence[float]]) -> None:
    """A cross on the zero line at every critical alpha on the axis, and all of them in words under the title."""
    note = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "align": "left"}
    figure.add_annotation(text=escape(describe_crossings(crossings)), showarrow=False, font={"size": 11}, **note)
    largest = axis[axis["residual"] == 1]["alpha"].max()
    found = [(name, alpha) for name, alphas in crossings.items() for alpha in alphas if alpha <= largest]
    if not found:
        return
    marks = go.Scatter(
        x=[alpha_position(axis, SweepPoint("", alpha, 1.0, 0.0)) for _, alpha in found],
        y=[0.0] * len(found),
        mode="markers",
        marker={"symbol": "x-thin", "size": 11, "line": {"width": 2, "color": NEUTRAL}},
        text=[f"{escape(name)} turns at alpha {number(alpha)}" for name, alpha in found],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    figure.add_trace(marks)


def _tick(label: str) -> str:
    """Words stand below the numbers, so that "no residual" does not run into the largest alpha."""
    return label if label[0].isdigit() else "<br>" + label.replace(" ", "<br>")


def _is_shown(label: str, count: int) -> bool:
    """With many points only whole alphas have a tick, and the last point always."""
    return count <= 12 or not label[0].isdigit() or float(label).is_integer()


def _lines(axis: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Points by line: kind, and number of blocks and MLP where these differ; mean over the images."""
    varied = [name for name in ("blocks", "mlp") if axis[name].nunique() > 1]
    figures = [name for name in ("contrast", "contrast_low", "contrast_high") if name in axis]
    lines = {}
    for key, rows in axis.groupby(["kind", *varied], sort=False):
        kind, *rest = key
        words = [kind_title(str(kind)), *(_say_setting(name, value) for name, value in zip(varied, rest, strict=True))]
        mean = rows.groupby(["position", "label", "alpha", "residual"], as_index=False)[figures].mean()
        lines[", ".join(words)] = mean.assign(kind=kind)
    order = {kind: place for place, kind in enumerate(KIND_ORDER)}
    return dict(sorted(lines.items(), key=lambda item: order.get(item[1]["kind"].iloc[0], len(order))))


def _say_setting(name: str, value: object) -> str:
    if name == "mlp":
        return "with MLP" if value else "no MLP"
    return f"{value} block{'s' if value != 1 else ''}"


def _sweep_line(line: pd.DataFrame, name: str, colour: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=line["position"],
        y=line["contrast"],
        mode="lines+markers",
        name=escape(name),
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 6},
        customdata=line[["kind", "alpha", "residual", "label"]],
        hovertemplate=f"{escape(name)}, alpha %{{customdata[3]}}: %{{y:+.3r}}<extra></extra>",
    )


def _interval(line: pd.DataFrame, colour: str) -> go.Scatter:
    place, low, high = (line[name].to_numpy() for name in ("position", "contrast_low", "contrast_high"))
    return go.Scatter(
        x=np.concatenate([place, place[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor=_faint(colour),
        line={"width": 0},
        mode="lines",
        showlegend=False,
        hoverinfo="skip",
    )


def _slider_marker(axis: pd.DataFrame, point: SweepPoint) -> go.Scatter:
    return go.Scatter(
        x=[alpha_position(axis, point)],
        y=[point.contrast],
        mode="markers",
        name="the slider",
        marker={"symbol": "diamond-open", "size": 17, "color": NEUTRAL, "line": {"width": 3, "color": NEUTRAL}},
        hovertemplate=f"{escape(kind_title(point.kind))}, alpha {point.alpha:g}, residual {point.residual:g}: "
        "%{y:+.3r}<extra></extra>",
    )


def alpha_position(axis: pd.DataFrame, point: SweepPoint) -> float:
    """Where an alpha stands on the axis of `analysis.sweep.alpha_axis`, between two of its points if need be."""
    if point.residual == 0:
        return float(axis["position"].max())
    places = axis[axis["residual"] == 1].drop_duplicates("position")
    return float(np.interp(point.alpha, places["alpha"], places["position"]))
