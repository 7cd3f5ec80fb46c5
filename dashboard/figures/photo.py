"""One photograph with a map, lit patches, a region and a chosen patch over it; its patches can be selected."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.maps import drawn_ratio, encode_photo
from dashboard.figures.theme import DIVERGING, PATCH_COLOUR, REGION_COLOUR, apply_theme, shared_limit
from data.geometry import Grid

PATCHES_CURVE = 0
"""Number of the trace whose points are the patches, row by row: point i is row i // columns, column i % columns."""

BELOW = {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.02, "yanchor": "top", "lenmode": "pixels", "len": 180}
"""Place of the colour bar: under the photograph, whose width is not known here."""

LIT = [[0.0, "rgba(240,228,66,0.55)"], [1.0, "rgba(240,228,66,0.55)"]]


def plot_photo(
    photo: np.ndarray,
    grid: tuple[int, int],
    *,
    values: np.ndarray | None = None,
    limit: float | None = None,
    unit: str = "cosine",
    lit: Sequence[int] = (),
    outline: str = "",
    patch: tuple[int, int] | None = None,
    title: str = "",
    height: int = 360,
) -> go.Figure:
    """A photograph in pixels of the image, y downwards.

    Args:
        photo: (H, W, 3) uint8; grey under `values`, in colour without.
        grid: rows and columns of patches.
        values: (gh, gw) map over the photograph.
        limit: end of the map's symmetric scale; None for its largest magnitude.
        unit: what the values are, for the colour bar.
        lit: indices of patches to light up, row by row.
        outline: SVG path of a region in pixels, see `dashboard.regions.outline_path`.
        patch: row and column of the chosen patch.
        title: already escaped where it holds a visitor's words.
        height: of the figure in pixels.

    Returns:
        A figure whose trace `PATCHES_CURVE` has a transparent marker at the centre of every patch.
    """
    h, w = photo.shape[:2]
    cells = Grid(*grid, h, w)
    figure = go.Figure(_patch_markers(cells))
    image = encode_photo(photo, side_px=480, grey=values is not None)
    place = {"xref": "x", "yref": "y", "xanchor": "left", "yanchor": "top", "sizing": "stretch", "layer": "below"}
    figure.add_layout_image(source=image, x=0, y=0, sizex=w, sizey=h, **place)
    if values is not None:
        limit = shared_limit([values]) if limit is None else limit
        bar = {"title": {"text": unit, "side": "bottom", "font": {"size": 12}}, "thickness": 10, "nticks": 5, **BELOW}
        figure.add_trace(
            _heat(cells, values, colorscale=DIVERGING, zmin=-limit, zmax=limit, colorbar=bar, zsmooth="best")
        )
    if len(lit):
        shown = np.full(grid[0] * grid[1], np.nan)
        shown[list(lit)] = 1.0
        figure.add_trace(_heat(cells, shown.reshape(grid), colorscale=LIT, showscale=False))
    if outline:
        figure.add_shape(type="path", path=outline, line={"color": REGION_COLOUR, "width": 2})
    if patch is not None:
        for colour, width in (("#000000", 4), (PATCH_COLOUR, 2)):
            x0, y0, x1, y1 = cells.patch_box_px(*patch)
            figure.add_shape(type="rect", x0=x0, y0=y0, x1=x1, y1=y1, line={"color": colour, "width": width})
    apply_theme(figure, title, height)
    figure.update_layout(hovermode="closest", hoverdistance=-1, dragmode="select", showlegend=False)
    figure.update_layout(margin={"l": 4, "r": 4, "t": 34, "b": 4 if values is None else 52})
    figure.update_xaxes(visible=False, range=[0, w], constrain="domain", constraintoward="left")
    squeeze = w / h / drawn_ratio(w, h)  # of a pixel, upright
    figure.update_yaxes(visible=False, range=[h, 0], scaleanchor="x", scaleratio=squeeze)
    figure.update_yaxes(constrain="domain", constraintoward="top")
    return figure


def _patch_markers(cells: Grid) -> go.Scatter:
    centres = cells.patch_centers_px().reshape(-1, 2)  # (gh * gw, 2)
    rows, columns = np.divmod(np.arange(len(centres)), cells.columns)
    clear = {"marker": {"opacity": 0}}
    return go.Scatter(
        x=centres[:, 0],
        y=centres[:, 1],
        mode="markers",
        marker={"opacity": 0, "size": 10},
        selected=clear,
        unselected=clear,
        customdata=np.column_stack([rows, columns]),
        hovertemplate="row %{customdata[0]}, column %{customdata[1]}<extra></extra>",
    )


def _heat(cells: Grid, values: np.ndarray, **options: object) -> go.Heatmap:
    centres = cells.patch_centers_px()
    return go.Heatmap(z=values.astype(np.float32), x=centres[0, :, 0], y=centres[:, 0, 1], hoverinfo="skip", **options)
