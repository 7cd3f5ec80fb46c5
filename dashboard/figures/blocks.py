"""Everything that is measured over the blocks as aligned small multiples, with one cursor through all of them."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.affinity import SameRegionMass
from analysis.norms import Entropy, StreamMeasure, norm_scores
from dashboard.figures.affinity import mass_over_blocks
from dashboard.figures.layers import KIND_COLOURS, group_lines
from dashboard.figures.theme import NEUTRAL, SERIES_COLOURS, apply_theme, kind_title

STREAMS = {"residual": "residual", "attention": "attention output", "mlp": "MLP output"}
HEIGHT = 640
CURSOR = {"color": NEUTRAL, "dash": "dot", "width": 1.5}


def plot_blocks(
    norms: StreamMeasure,
    cosines: StreamMeasure,
    entropy: Entropy,
    mass: SameRegionMass | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
    frobenius: bool = False,
) -> go.Figure:
    """A column a stream, a row a measure: norm, cosine to CLS, and below them what is measured of one stream alone.

    Args:
        norms, cosines, entropy: of one image.
        mass: of several kinds of attention; None without a region.
        layer, head: the chosen ones; the block is a dotted line through all panels, the head's dots are large.
        frobenius: norms as the root of the sum of squares over a group.

    Returns:
        A figure every marker of which has (block, head) as custom data, head -1 where it is of no head.
    """
    streams = norms.streams
    titles = [STREAMS[name] for name in streams] + [""] * len(streams)
    last = {"residual": "largest patch norm", "attention": "entropy, a dot a head", "mlp": "same-region mass"}
    titles += [last[name] if name != "mlp" or mass is not None else "" for name in streams]
    figure = make_subplots(
        3, len(streams), shared_xaxes="all", subplot_titles=titles, horizontal_spacing=0.09, vertical_spacing=0.09
    )
    for column, stream in enumerate(streams, start=1):
        figure.add_traces(group_lines(norms, stream, frobenius, named=column == 1), 1, column)
        if stream in cosines.streams:
            figure.add_traces(group_lines(cosines, stream, named=False), 2, column)
    bottom = {name: column for column, name in enumerate(streams, start=1)}
    if "residual" in bottom:
        figure.add_trace(_deviations(norms), 3, bottom["residual"])
    figure.add_trace(_entropy_dots(entropy, layer, head), 3, bottom["attention"])
    if mass is not None and "mlp" in bottom:
        figure.add_traces(_mass_lines(mass, head), 3, bottom["mlp"])
    return _finish(figure, norms, frobenius, layer)


def _finish(figure: go.Figure, norms: StreamMeasure, frobenius: bool, layer: int | None) -> go.Figure:
    apply_theme(figure, "", HEIGHT)
    depth, columns = len(norms.attention), len(norms.streams)
    figure.update_layout(margin={"t": 44, "b": 36, "l": 44, "r": 8}, hovermode="closest")
    figure.update_layout(legend={"y": 1.045, "x": 0, "xanchor": "left", "yanchor": "bottom"})
    figure.update_annotations(font={"size": 12}, yshift=-2)
    figure.update_xaxes(dtick=max(1, depth // 6), range=[-0.5, depth - 0.5])
    figure.update_xaxes(title={"text": "block", "standoff": 2}, row=3)
    figure.update_yaxes(tickformat=".3~g", title={"standoff": 2})
    for row, words in enumerate(("Frobenius norm" if frobenius else "L2 norm", "cosine to CLS", "deviations"), start=1):
        figure.update_yaxes(title_text=words, row=row, col=1)
    if columns > 1:
        figure.update_yaxes(title_text="nats", row=3, col=list(norms.streams).index("attention") + 1)
    if columns > 2:
        figure.update_yaxes(title_text="% of the weight", row=3, col=3)
    if layer is not None:
        places = [str(number) if number > 1 else "" for number in range(1, 3 * columns + 1)]
        line = {"type": "line", "x0": layer, "x1": layer, "y0": 0, "y1": 1, "line": CURSOR}
        figure.update_layout(shapes=[{**line, "xref": f"x{place}", "yref": f"y{place} domain"} for place in places])
    return figure


def _deviations(norms: StreamMeasure) -> go.Scatter:
    """The largest robust deviation of a patch norm in the stream that enters each block."""
    scores = norm_scores(norms)[:-1, 0].max(axis=-1)
    return _line(scores, "largest deviation", NEUTRAL, "block %{x}: %{y:.3r} deviations<extra></extra>")


def _line(values: np.ndarray, name: str, colour: str, hover: str, dash: str = "solid") -> go.Scatter:
    blocks = np.arange(len(values))
    return go.Scatter(
        x=blocks,
        y=values.astype(np.float32),
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 6},
        customdata=np.column_stack([blocks, np.full(len(blocks), -1)]),
        hovertemplate=hover,
        showlegend=False,
    )


def _entropy_dots(entropy: Entropy, layer: int | None, head: int | None) -> go.Scatter:
    values = entropy.mean("patches")[:, 0]  # (blocks, heads)
    block, index = (axis.ravel() for axis in np.indices(values.shape))
    heads = values.shape[1]
    picked = (block == (-1 if layer is None else layer)) & ((index == head) if head is not None else True)
    return go.Scatter(
        x=block + (index - (heads - 1) / 2) * min(0.5, 0.12 * heads) / max(1, heads),
        y=values.ravel().astype(np.float32),
        mode="markers",
        marker={
            "color": SERIES_COLOURS[0],
            "size": np.where(picked, 10, 6),
            "opacity": np.where(picked | (layer is None), 0.95, 0.5),
        },
        customdata=np.column_stack([block, index]),
        hovertemplate="block %{customdata[0]}, head %{customdata[1]}: %{y:.3r} nats<extra></extra>",
        showlegend=False,
    )


def _mass_lines(mass: SameRegionMass, head: int | None) -> list[go.Scatter]:
    """Same-region mass of the region's patches, a line a kind, named at its end."""
    shares = 100 * mass_over_blocks(mass, head)[..., 0]  # (kinds, blocks)
    lines = []
    for kind, values in zip(mass.kinds, shares, strict=True):
        title = kind_title(kind)
        hover = f"{title}, block %{{x}}: %{{y:.3r}} % stays in the region<extra></extra>"
        line = _line(values, title, KIND_COLOURS.get(kind, NEUTRAL), hover, "solid")
        line.update(mode="lines+markers+text", text=[title, *[""] * (len(values) - 1)], textposition="top right")
        lines.append(line)
    return lines


def picked_place(customdata: np.ndarray | None, index: int) -> tuple[int, int | None] | None:
    """(block, head) of a marker, head None where it is of no head; None for no marker. Pure."""
    if customdata is None or index >= len(customdata):
        return None
    block, head = (int(value) for value in customdata[index][:2])
    return block, None if head < 0 else head
