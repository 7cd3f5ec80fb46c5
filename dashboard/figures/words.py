"""Figures of a caption: patches against words, and who writes the cosine with it.

A unit is the start token, a word or the end token. Names of units are a visitor's words and are escaped here.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.numerals import signed
from dashboard.figures.theme import DIVERGING, NEGATIVE, NEUTRAL, POSITIVE, apply_theme, escape, shared_limit

MATRIX_CURVE = 0
"""Trace whose point i is patch `order[i]` of `plot_word_matrix`."""

ROW_PX = 22


def plot_word_blame(labels: Sequence[str], terms: np.ndarray, title: str, height: int = 260) -> go.Figure:
    """Who writes the cosine with a text: a bar a component, in the order in which the network runs them.

    Args:
        labels: k names of components.
        terms: (k,) signed; they add up to the cosine, or the contrast.
        title: of what patch or region.
        height: in pixels.
    """
    colours = [POSITIVE if value > 0 else NEGATIVE for value in terms]
    hover = "%{x}: %{y:+.3r}<extra></extra>"
    figure = go.Figure(go.Bar(x=list(labels), y=terms, marker={"color": colours}, hovertemplate=hover))
    apply_theme(figure, f"{escape(title)}: {signed(terms.sum())}", height)
    figure.update_layout(showlegend=False, bargap=0.25, margin={"l": 8, "r": 8, "b": 40})
    figure.update_xaxes(
        type="category",
        tickmode="linear",
        tickfont={"size": 10},
        tickangle=-60,
        title="component (a: attention, m: MLP)",
    )
    figure.update_yaxes(title="cosine", zeroline=True, zerolinecolor=NEUTRAL, tickformat=".2~g")
    return figure


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
        hovertemplate="row %{customdata[0]}, column %{customdata[1]}: %{z:+.3r}<extra></extra>",
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
