"""Small multiples of similarity maps over a grey photograph."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from dashboard.figures.theme import DIVERGING, apply_theme, escape, shared_limit

CELL_PX = 190

NARROWEST, WIDEST = 0.4, 2.5
"""Width over height of a photograph as it is drawn: what is narrower or wider is squeezed, so that no page gets endless
and no map a strip. Patches stay where they are in the image."""


def drawn_ratio(width: int, height: int) -> float:
    """Width over height of a photograph as pages draw it.

    >>> drawn_ratio(300, 200), drawn_ratio(100, 2000), drawn_ratio(2000, 100)
    (1.5, 0.4, 2.5)
    """
    return min(WIDEST, max(NARROWEST, width / height))


def encode_photo(rgb: np.ndarray, side_px: int = 320, grey: bool = False) -> str:
    """A photograph as a small JPEG in a data address.

    Args:
        rgb: (H, W, 3) uint8.
        side_px: length of the longer side.
        grey: whether the colours are dropped.
    """
    image = Image.fromarray(rgb)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    (image.convert("L") if grey else image).save(stream, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def plot_maps(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    photo: np.ndarray,
    unit: str = "cosine",
    limit: float | None = None,
) -> go.Figure:
    """Maps as a grid of rows and columns on one signed scale; hover shows the value.

    Args:
        values: (rows, columns, gh, gw).
        rows, columns: titles, such as prompts and methods.
        photo: (H, W, 3) uint8, shown in grey under every map.
        unit: what the numbers are, for the colour bar.
        limit: end of the scale; None for the largest magnitude.

    Returns:
        A figure; hue is the sign, opacity the magnitude, zero is transparent.

    Raises:
        ValueError: titles and values do not agree.
    """
    if values.ndim != 4 or values.shape[:2] != (len(rows), len(columns)):
        raise ValueError(
            f"Expected values to be of shape ({len(rows)}, {len(columns)}, gh, gw), but got {tuple(values.shape)}"
        )
    figure = make_subplots(
        rows=len(rows),
        cols=len(columns),
        column_titles=[escape(title) for title in columns],
        row_titles=[escape(title) for title in rows],
        horizontal_spacing=0.012,
        vertical_spacing=0.02,
    )
    source = encode_photo(photo, side_px=224, grey=True)
    for r in range(len(rows)):
        for c in range(len(columns)):
            _add_map(figure, values[r, c], source, r + 1, c + 1)
    limit = shared_limit([values]) if limit is None else limit
    axis = {"colorscale": DIVERGING, "cmin": -limit, "cmax": limit, "colorbar": {"title": unit, "thickness": 12}}
    apply_theme(figure, height=CELL_PX * len(rows) + 60)
    figure.update_layout(coloraxis=axis, width=CELL_PX * len(columns) + 140, plot_bgcolor="#8b8b8b")
    figure.update_xaxes(visible=False, constrain="domain", range=[-0.5, values.shape[3] - 0.5])
    figure.update_yaxes(visible=False, range=[values.shape[2] - 0.5, -0.5])
    return figure


def _add_map(figure: go.Figure, values: np.ndarray, source: str, row: int, column: int) -> None:
    gh, gw = values.shape
    heat = go.Heatmap(
        z=values.astype(np.float32),
        coloraxis="coloraxis",
        zsmooth="best",
        hovertemplate="%{z:.3r}<br>row %{y}, column %{x}<extra></extra>",
    )
    figure.add_trace(heat, row=row, col=column)
    image = {"source": source, "x": -0.5, "y": -0.5, "sizex": gw, "sizey": gh, "sizing": "stretch", "layer": "below"}
    figure.add_layout_image(image, row=row, col=column, xanchor="left", yanchor="top")
