"""The alpha sweep of the Layers page: sliders, the map at the slider, and the lines."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import events, services, state
from dashboard.case import Case, describe_method
from dashboard.figures import shared_limit
from dashboard.figures.layers import plot_alpha_sweep
from dashboard.pages.layers.results import alpha_sweep, critical_contrasts, slider_maps, slider_point, sweep_key
from dashboard.panels.chart import render_figure
from dashboard.panels.custom import render_custom_briefly
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.panels.work import work_through
from dashboard.regions import outline_path


def render_sweep(case: Case) -> tuple[DeltaGenerator, DeltaGenerator]:
    """Slider and the maps at the slider; the places for the lines, which take longest, and beside the maps."""
    render_custom_briefly(case, services.model(case))
    lines = st.container(key="window-rest")
    pictures, beside = st.columns([3, 1.05], gap="small")
    with pictures:
        render_map_view(
            sweep_view(case, slider_maps(case)),
            key="layers maps",
            on_event=lambda event: take_patch(event, services.grid(case)),
        )
    return lines, beside


def render_lines(case: Case) -> pd.DataFrame | None:
    """The lines of the sweep, or what they wait for; the table, where there is one."""
    if not services.model(case).tower.has_residual:
        st.info("A ResNet's map has no residual, so alpha only scales it and leaves every cosine as it is.")
        return None
    if not case.region:
        st.info(
            "The sweep plots contrast, so it needs a region: choose one in the sidebar, or draw it on the page Flip. "
            "The maps follow the sliders without one."
        )
        return None
    table = work_through(sweep_key(case), "Sweeping alpha", alpha_sweep(case))
    if table is not None:
        point = slider_point(case, slider_maps(case)["at the slider"])
        figure = plot_alpha_sweep(table, point, critical_contrasts(case))
        render_figure(figure, key="layers sweep", on_event=lambda event: _take_point(event, figure), stretch=True)
    return table


def _take_point(event: Mapping[str, Any], figure: go.Figure) -> None:
    method = picked_scales(event, figure)
    if method is not None:
        state.update(custom=replace(state.case().custom, **method))


def picked_scales(event: Mapping[str, Any], figure: go.Figure) -> dict[str, Any] | None:
    """Kind, alpha and residual of a clicked point of `plot_alpha_sweep`; None for no such click. Pure."""
    for curve, trace in enumerate(figure.data):
        index = events.picked_index(event, curve)
        if index is not None and trace.customdata is not None and index < len(trace.customdata):
            kind, alpha, residual, _ = trace.customdata[index]
            return {"attention": str(kind), "alpha": float(alpha), "residual": float(residual)}
    return None


def sweep_view(case: Case, maps: Mapping[str, services.Maps]) -> MapView:
    """The maps beside the sweep, on one scale."""
    region, mask, picture = services.region(case), services.region_mask(case), services.image(case)
    cells = [
        Cell(
            title,
            found.patches[:, :, 0],
            note=region_note(found.patches[:, :, 0], region),
            hint=describe_method(found.method),
        )
        for title, found in maps.items()
    ]
    return MapView(
        photo=photo_of(picture),
        rows=(Row("", tuple(cells)),),
        limit=shared_limit([cell.values for cell in cells]),
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
        wide=True,
    )
