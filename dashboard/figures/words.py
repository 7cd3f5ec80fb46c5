"""Figures of a caption: bars per word, and patches against words.

A unit is the start token, a word or the end token. Names of units are a visitor's words and are escaped here.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.figures.theme import DIVERGING, NEGATIVE, NEUTRAL, POSITIVE, apply_theme, escape, shared_limit

BARS_CURVE, MATRIX_CURVE = 0, 0
"""Trace whose point i is unit i of `plot_word_bars`; trace whose point i is patch `order[i]` of `plot_word_matrix`."""

DIMMED = 0.5
BAR_PX = 24
ROW_PX = 22
LEFT_OUT_COLOUR, GRADIENTS_COLOUR = "#CC79A7", "#009E73"


def plot_word_bars(
    units: Sequence[str],
    answers: np.ndarray,
    title: str,
    left_out: np.ndarray,
    gradients: np.ndarray | None = None,
    chosen: int | None = None,
) -> go.Figure:
    """Relevance per unit as bars; beside it, what two other ways say about the whole image.

    Args:
        units: u names.
        answers: (u,) signed; NaN leaves a bar out.
        title: what `answers` are.
        left_out: (u,) what the cosine with the image loses with each word.
        gradients: (u,) integrated gradients of the same cosine; None leaves them out.
        chosen: the marked unit.
    """
    second = f"whole image: {_coloured('left out', LEFT_OUT_COLOUR)}"
    second += "" if gradients is None else f", {_coloured('gradients', GRADIENTS_COLOUR)}"
    titles = [text.replace(": ", ":<br>", 1) for text in (escape(title), second)]
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.08, subplot_titles=titles)
    rows = np.arange(len(units))
    opacity = [1.0 if chosen in (None, row) else DIMMED for row in rows]
    colours = [POSITIVE if value > 0 else NEGATIVE for value in np.nan_to_num(answers)]
    figure.add_trace(_bars(rows, answers, units, "relevance", {"color": colours, "opacity": opacity}), row=1, col=1)
    for name, values, colour in (
        ("left out", left_out, LEFT_OUT_COLOUR),
        ("integrated gradients", gradients, GRADIENTS_COLOUR),
    ):
        if values is not None:
            figure.add_trace(_bars(rows, values, units, name, {"color": colour, "opacity": opacity}), row=1, col=2)
    apply_theme(figure, height=100 + BAR_PX * len(units))
    figure.update_annotations(font_size=12)
    figure.update_layout(showlegend=False, bargap=0.3, hovermode="closest", clickmode="event+select")
    figure.update_layout(margin={"l": 8, "r": 8, "t": 46, "b": 40})
    figure.update_xaxes(zeroline=True, zerolinecolor=NEUTRAL, tickformat=".2~g", nticks=4, title="cosine")
    labels = [f"<b>{escape(unit)}</b>" if row == chosen else escape(unit) for row, unit in enumerate(units)]
    figure.update_yaxes(tickvals=rows, ticktext=labels, range=[len(units) - 0.5, -0.5])
    figure.update_yaxes(showgrid=False, zeroline=False)
    return figure


def _coloured(text: str, colour: str) -> str:
    return f'<b style="color:{colour}">{text}</b>'


def _bars(rows: np.ndarray, values: np.ndarray, units: Sequence[str], name: str, marker: dict) -> go.Bar:
    return go.Bar(
        y=rows,
        x=[None if not np.isfinite(value) else float(value) for value in values],
        orientation="h",
        marker=marker,
        name=name,
        text=[escape(unit) for unit in units],
        textposition="none",
        hovertemplate=f"%{{text}}: %{{x:+.3f}}<extra>{name}</extra>",
    )


def patch_order(foreground: np.ndarray | None, patches: int) -> np.ndarray:
    """Patches as the matrix has them: those of the region first, else row by row.

    Args:
        foreground: bool (gh, gw) of the region; None for none.
        patches: their number.
    """
    return np.arange(patches) if foreground is None else np.argsort(~foreground.ravel(), kind="stable")


def plot_word_matrix(
    patches: np.ndarray,
    units: Sequence[str],
    unit: str = "cosine",
    foreground: np.ndarray | None = None,
    chosen: int | None = None,
    patch: tuple[int, int] | None = None,
) -> go.Figure:
    """Patches against words on one signed scale; a click anywhere in a column is its patch.

    Args:
        patches: (gh, gw, u); NaN leaves a cell empty.
        units: u names.
        unit: of the numbers, for the colour bar.
        foreground: bool (gh, gw); its patches come first.
        chosen: the marked unit.
        patch: the marked patch.
    """
    gh, gw, count = patches.shape
    order = patch_order(foreground, gh * gw)
    values = patches.reshape(-1, count)[order].T  # (u, patches)
    limit = shared_limit([values[np.isfinite(values)]])
    rows, columns = np.divmod(order, gw)
    heat = go.Heatmap(
        z=values.astype(np.float32),
        customdata=np.broadcast_to(np.stack([rows, columns], axis=-1).astype(np.int16), (count, len(order), 2)),
        colorscale=DIVERGING,
        zmin=-limit,
        zmax=limit,
        colorbar={
            "title": {"text": unit, "side": "right", "font": {"size": 12}},
            "thickness": 12,
            "tickformat": ".2~g",
        },
        hovertemplate="row %{customdata[0]}, column %{customdata[1]}: %{z:+.3f}<extra></extra>",
    )
    figure = go.Figure([_columns(len(order), count), heat])
    apply_theme(figure, "Every patch (a column) against every word (a row)", 110 + ROW_PX * count)
    labels = [f"<b>{escape(name)}</b>" if row == chosen else escape(name) for row, name in enumerate(units)]
    figure.update_layout(showlegend=False, hoverdistance=-1, dragmode=False, margin={"b": 40})
    figure.update_yaxes(
        tickvals=list(range(count)), ticktext=labels, range=[count - 0.5, -0.5], showgrid=False, zeroline=False
    )
    figure.update_xaxes(range=[-0.5, len(order) - 0.5], showgrid=False, showticklabels=False, ticks="")
    figure.update_xaxes(title="patches, row by row" if foreground is None else "patches of the region | all others")
    if foreground is not None:
        edge = int(foreground.sum()) - 0.5
        figure.add_vline(x=edge, line={"color": NEUTRAL, "width": 2, "dash": "dot"})
    _mark(figure, order, gw, chosen, patch, count)
    return figure


def _columns(count: int, rows: int) -> go.Scatter:
    """A transparent marker per column on one line, so that the nearest one is the column that was clicked."""
    clear = {"marker": {"opacity": 0}}
    return go.Scatter(
        x=np.arange(count),
        y=np.full(count, (rows - 1) / 2),
        mode="markers",
        marker={"opacity": 0, "size": 8},
        selected=clear,
        unselected=clear,
        hoverinfo="none",
    )


def _mark(
    figure: go.Figure, order: np.ndarray, gw: int, chosen: int | None, patch: tuple[int, int] | None, count: int
) -> None:
    """Lines around the chosen row and the chosen column."""
    line = {"color": NEUTRAL, "width": 1.5}
    if chosen is not None:
        corners = {"x0": -0.5, "x1": len(order) - 0.5, "y0": chosen - 0.5, "y1": chosen + 0.5}
        figure.add_shape(type="rect", line=line, **corners)
    if patch is not None:
        at = int(np.flatnonzero(order == patch[0] * gw + patch[1])[0])
        corners = {"x0": at - 0.5, "x1": at + 0.5, "y0": -0.5, "y1": count - 0.5}
        figure.add_shape(type="rect", line=line, **corners)
