"""Figures of two cases against each other: lenses over each other, blame against blame."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.flip import KIND_MARKS
from dashboard.figures.names import place_names
from dashboard.figures.theme import NEUTRAL, SERIES_COLOURS, apply_theme

COLOURS = {"A": SERIES_COLOURS[2], "B": SERIES_COLOURS[3]}
"""Of the two cases: neither is the colour of a sign."""

DASHES = {"A": "solid", "B": "dash"}
NAMED = 9
OTHER_MARK = ("diamond", NEUTRAL, "◆ other")


def plot_lenses(lenses: Sequence[np.ndarray], ends: Sequence[float], names: Sequence[str] = ("A", "B")) -> go.Figure:
    """Contrast after every block of two cases.

    Args:
        lenses: (L + 1,) contrasts, one array a case; empty for a network without a residual stream.
        ends: the contrast of the map that each case shows, a diamond at the end of its line.
        names: of the two cases, from `COLOURS`.

    Returns:
        A figure over blocks where both are as deep, else over the share of the depth.
    """
    figure = apply_theme(go.Figure(), "Contrast after every block (logit lens)", 300)
    depths = [max(1, len(lens) - 1) for lens in lenses]
    shared = len({len(lens) for lens in lenses if len(lens)}) <= 1
    for name, lens, end, depth in zip(names, lenses, ends, depths, strict=True):
        scale = 1 if shared else depth
        style = {"color": COLOURS[name]}
        line = go.Scatter(
            x=np.arange(len(lens)) / scale,
            y=lens,
            mode="lines+markers",
            name=name,
            line={**style, "width": 2, "dash": DASHES[name]},
            marker={**style, "size": 6},
            text=["embedding", *(f"block {index} of {depth}" for index in range(depth))][: len(lens)],
            hovertemplate=f"{name} after %{{text}}: %{{y:+.3r}}<extra></extra>",
        )
        mark = {**style, "size": 11, "symbol": "diamond"}
        last = max(depths) if shared else 1
        diamond = go.Scatter(
            x=[last],
            y=[end],
            mode="markers",
            marker=mark,
            showlegend=False,
            hovertemplate=f"{name}, the map shown: %{{y:+.3r}}<extra></extra>",
        )
        figure.add_traces([line, diamond])
    figure.update_xaxes(title="read out after block (0: the embedding)" if shared else "share of the depth read out")
    if shared:
        ticks = list(range(0, max(depths) + 1, max(1, round(max(depths) / 12))))
        figure.update_xaxes(
            title="read out after", tickvals=ticks, ticktext=["emb." if t == 0 else str(t - 1) for t in ticks]
        )
    figure.update_yaxes(title="contrast (cosine)", zeroline=True, rangemode="tozero", tickformat=".2~g")
    return figure


def plot_blames(
    labels: Sequence[str], kinds: Sequence[str], first: np.ndarray, second: np.ndarray, chosen: str = ""
) -> go.Figure:
    """Blame of A against blame of B, a dot a component; on the dotted line both write the same.

    Args:
        labels, kinds: (k,) of the components, see `analysis.Component`.
        first, second: (k,) what each adds to the contrast of A and of B.
        chosen: label of the marked component.
    """
    figure = apply_theme(go.Figure(), "Blame of B against blame of A", 300)
    ends = _span(np.concatenate([first, second]))
    marks = [KIND_MARKS.get(kind, OTHER_MARK) for kind in kinds]
    sides = _names(labels, first, second, ends, chosen)
    dots = go.Scatter(
        x=first,
        y=second,
        mode="markers+text",
        marker={
            "symbol": [mark[0] for mark in marks],
            "color": [mark[1] for mark in marks],
            "size": [15 if label == chosen else 8 for label in labels],
            "opacity": 1,
        },
        text=[label if place in sides else "" for place, label in enumerate(labels)],
        textposition=[sides.get(place, "top center") for place in range(len(labels))],
        textfont={"size": 10},
        customdata=np.column_stack([np.array(labels, dtype=object), second - first]),
        hovertemplate="%{customdata[0]}: A %{x:+.3r}, B %{y:+.3r}<br>B − A %{customdata[1]:+.3r}<extra></extra>",
        cliponaxis=False,
    )
    line = {"color": NEUTRAL, "dash": "dot", "width": 1}
    figure.add_traces([dots, go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip")])
    used = dict.fromkeys(marks)
    legend = " ".join(f'<span style="color:{colour}">{words}</span>' for _, colour, words in used)
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    figure.add_annotation(text=f"{legend} ┈ the same in both", showarrow=False, font={"size": 11}, **place)
    figure.update_layout(hovermode="closest", showlegend=False)
    axis = {"zeroline": True, "zerolinecolor": "rgba(128,128,128,0.6)", "tickformat": ".2~g", "range": ends}
    figure.update_xaxes(title="A: adds to the contrast", **axis)
    figure.update_yaxes(title="B: adds to the contrast", **axis)
    return figure


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = min(float(values.min(initial=0)), 0.0), max(float(values.max(initial=0)), 0.0)
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin


def _names(
    labels: Sequence[str], first: np.ndarray, second: np.ndarray, ends: tuple[float, float], chosen: str
) -> dict[int, str]:
    """Dots that carry their name -> the side it stands on: those that differ most, and those that write most."""
    weight = np.abs(second - first) + 0.5 * (np.abs(first) + np.abs(second))
    picked = [place for place, label in enumerate(labels) if label == chosen]
    order = [place for place in np.argsort(-weight)[:NAMED].tolist() if place not in picked]
    low, high = ends
    places = [(values - low) / (high - low) for values in (first, second)]
    return dict.fromkeys(picked, "top center") | place_names(*places, labels, [*picked, *order])
