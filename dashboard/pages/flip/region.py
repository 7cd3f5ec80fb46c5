"""The photograph on which the region is drawn: a box or a lasso becomes the region, a click chooses a patch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from dashboard import events, services, state
from dashboard.case import Case, Patch
from dashboard.figures import PATCHES_CURVE, plot_photo
from dashboard.panels.chart import render_figure
from dashboard.panels.page import EXPECTED
from dashboard.panels.texts import plain
from dashboard.regions import outline_path

FIELD = "drawn region"
MAX_CORNERS = 60
"""Corners of a drawn outline that are kept; the address has to hold them."""


def render_region(case: Case) -> None:
    """The photograph with the region, and what is drawn."""
    picture, grid = services.image(case).rgb, services.grid(case)
    try:
        mask = services.region_mask(case)
    except EXPECTED:
        mask = None  # the page says what is wrong; here another region can be drawn
    outline = "" if mask is None else outline_path(mask, picture.shape[:2])
    figure = _photo_figure(services.image(case).sha256, grid, outline, case.patch, picture)
    render_figure(
        figure,
        key="flip photo",
        on_event=lambda event: take_drawing(event, picture.shape[:2], grid),
        modes=("points", "box", "lasso"),
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Drag a box, or point at it and choose the lasso in its tool bar.", width="content")
        if case.region:
            st.button("Clear region", key="flip clear region", on_click=lambda: state.update(region=""))
    problem = state.problem(FIELD)
    if problem is not None:
        st.error(f"{plain(problem[1])}\n\nDraw a larger box; the region stays as it was.")


@services.cached(max_entries=32)
def _photo_figure(
    sha256: str, grid: tuple[int, int], outline: str, patch: Patch | None, _picture: np.ndarray
) -> go.Figure:
    figure = plot_photo(_picture, grid, outline=outline, patch=patch, height=326)
    return figure.update_layout(margin={"l": 4, "r": 4, "t": 34, "b": 4})


def take_drawing(event: Mapping[str, Any], size: tuple[int, int], grid: tuple[int, int]) -> None:
    """Puts a box, a lasso or a clicked patch into the case; a region without a patch is refused with the reason."""
    region = drawn_region(event, size)
    state.clear_problem(FIELD)
    if region:
        try:
            services.region(replace(state.case(), region=region))
        except EXPECTED as error:
            state.set_problem(FIELD, region, str(error))
        else:
            state.update(region=region)
        return
    index = events.picked_index(event, PATCHES_CURVE)
    if index is not None and index < grid[0] * grid[1]:
        state.update(patch=divmod(index, grid[1]))


def drawn_region(event: Mapping[str, Any], size: tuple[int, int]) -> str:
    """The region that a box or lasso means, as in `Case.region`; "" for neither. Pure.

    Args:
        event: of the photograph.
        size: height and width of the image.

    >>> drawn_region({"selection": {"box": [{"x": [10.4, -3], "y": [5, 300]}]}}, (200, 100))
    'box:0,5,10,200'
    """
    outline = events.picked_outline(event)
    if outline is not None:
        step = -(-len(outline) // MAX_CORNERS)
        return "polygon:" + ",".join(str(number) for corner in outline[::step] for number in _inside(corner, size))
    box = events.picked_box(event)
    if box is None:
        return ""
    corners = [*_inside(box[:2], size), *_inside(box[2:], size)]
    return "box:" + ",".join(map(str, corners))


def _inside(corner: tuple[float, float], size: tuple[int, int]) -> tuple[int, int]:
    """x and y as whole pixels inside the image."""
    x, y = np.clip(np.round(corner), 0, (size[1], size[0]))
    return int(x), int(y)
