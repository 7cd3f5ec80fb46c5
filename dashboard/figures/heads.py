"""The maps of all heads as thumbnails: one picture for all of them, and a clickable marker over each."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from PIL import Image

from analysis.decomposition import Component
from dashboard.figures.flip import describe_component, frame_cell, heads_place
from dashboard.figures.theme import DIVERGING, NEGATIVE_RGB, OPACITY, POSITIVE_RGB, apply_theme, shared_limit

WIDTH_PX = 640
"""Of the whole picture, where thumbnails are neither at their least nor at their largest."""
LEAST_PX, LARGEST_PX = 14, 120
GAP_PX = 2
QUALITY = 85
"""Of the WebP, which is a tenth of the size of a PNG."""
MANY = 16
"""Columns that all have a number; of more only some."""


def plot_head_maps(
    components: Sequence[Component],
    maps: np.ndarray,
    photo: np.ndarray,
    title: str,
    chosen: Component | None = None,
    notes: Sequence[str] = (),
) -> go.Figure:
    """Blocks x heads of thumbnails on one signed scale, the MLPs in a last column. Trace 0 holds a marker each.

    Args:
        components: k heads and MLPs.
        maps: (k, gh, gw) signed values.
        photo: (H, W, 3) uint8, in grey under every map.
        title: what is plotted.
        chosen: the marked component; the attention of a block marks all its heads.
        notes: k texts for the pointer after the component's name, such as its sum.
    """
    columns = 1 + max((part.head for part in components if part.kind == "head"), default=-1)
    has_mlp = any(part.kind == "mlp" for part in components)
    rows, places = 1 + max(part.block for part in components), [heads_place(part, columns) for part in components]
    limit = shared_limit([maps])
    picture = encode_thumbnails(maps, places, (rows, columns + has_mlp), photo, limit)
    texts = [describe_component(part) for part in components]
    texts = [f"{text}: {note}" for text, note in zip(texts, notes, strict=True)] if notes else texts
    figure = go.Figure(_markers(places, texts))
    figure.add_trace(_scale(limit))
    apply_theme(figure, title, 300)
    sheet = {"source": picture, "sizex": columns + has_mlp, "sizey": rows, "sizing": "stretch", "layer": "below"}
    figure.add_layout_image(x=-0.5, y=-0.5, xref="x", yref="y", **sheet)
    figure.update_layout(hovermode="closest", hoverdistance=-1, showlegend=False, dragmode=False)
    _finish_axes(figure, columns, has_mlp, rows, photo.shape[0] / photo.shape[1])
    frame_cell(figure, chosen, columns)
    return figure


def encode_thumbnails(
    maps: np.ndarray,
    places: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    photo: np.ndarray,
    limit: float,
) -> str:
    """All maps over the grey photograph in one WebP, as a data address; clear between them.

    Args:
        maps: (k, gh, gw).
        places: column and row of each.
        shape: rows and columns.
        photo: (H, W, 3) uint8.
        limit: magnitude of full opacity.
    """
    width = max(LEAST_PX, min(LARGEST_PX, WIDTH_PX // shape[1] - GAP_PX))
    height = max(4, min(4 * width, round(width * photo.shape[0] / photo.shape[1])))
    grey = np.asarray(Image.fromarray(photo).convert("L").resize((width, height), Image.Resampling.BILINEAR))
    values = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[:, None]
    values = F.interpolate(values, size=(height, width), mode="bilinear")[:, 0].numpy()  # (k, h, w)
    opacity = (OPACITY * np.minimum(np.abs(values) / limit, 1))[..., None]
    hue = np.where(values[..., None] < 0, np.float32(NEGATIVE_RGB), np.float32(POSITIVE_RGB))
    painted = (grey[None, ..., None] * (1 - opacity) + hue * opacity).astype(np.uint8)  # (k, h, w, 3)
    sheet = np.zeros((shape[0] * (height + GAP_PX), shape[1] * (width + GAP_PX), 4), np.uint8)
    for (column, row), cell in zip(places, painted, strict=True):
        y, x = row * (height + GAP_PX) + GAP_PX // 2, column * (width + GAP_PX) + GAP_PX // 2
        sheet[y : y + height, x : x + width, :3] = cell
        sheet[y : y + height, x : x + width, 3] = 255
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "WEBP", quality=QUALITY, method=1)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _markers(places: Sequence[tuple[int, int]], texts: Sequence[str]) -> go.Scatter:
    clear = {"marker": {"opacity": 0}}
    return go.Scatter(
        x=[column for column, _ in places],
        y=[row for _, row in places],
        mode="markers",
        marker={"opacity": 0, "size": 14},
        selected=clear,
        unselected=clear,
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def _scale(limit: float) -> go.Scatter:
    """No marker, but the colour bar of the thumbnails."""
    bar = {"title": {"text": "cosine", "font": {"size": 12}}, "thickness": 12, "tickformat": ".2~g", "len": 0.6}
    marker = {"color": [0.0], "cmin": -limit, "cmax": limit, "colorscale": DIVERGING, "showscale": True}
    return go.Scatter(x=[None], y=[None], mode="markers", marker={**marker, "colorbar": bar}, hoverinfo="skip")


def _finish_axes(figure: go.Figure, columns: int, has_mlp: bool, rows: int, ratio: float) -> None:
    shown = range(0, columns, -(-columns // MANY))
    names: Mapping[int, str] = {head: str(head) for head in shown} | ({columns: "MLP"} if has_mlp else {})
    plain = {"showgrid": False, "zeroline": False, "constrain": "domain"}
    figure.update_xaxes(title={"text": "head", "standoff": 2}, range=[-0.5, columns + has_mlp - 0.5], **plain)
    figure.update_xaxes(tickvals=[*names], ticktext=[*names.values()], tickangle=0)
    figure.update_yaxes(title="block", range=[rows - 0.5, -0.5], dtick=max(1, rows // 12), **plain)
    figure.update_yaxes(scaleanchor="x", scaleratio=min(4.0, max(0.25, ratio)))
