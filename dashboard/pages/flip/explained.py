"""Explainers beside the methods, on Flip: relevance of the examined text by gradients and attention."""

import streamlit as st

from analysis.explainers import usable_explainers
from analysis.flips import FlipReport
from dashboard import services
from dashboard.case import Case, examined_prompt
from dashboard.panels.explained import UNIT, explained, explained_cell, scale_of
from dashboard.panels.mapview import MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import take_patch
from dashboard.regions import outline_path

SLOW = ("chefer_all", "legrad_all", "integrated_gradients")
"""Explainers of many backward passes; on Maps they can be asked for."""


def render_explainers(case: Case, report: FlipReport) -> None:
    """The maps of all quick explainers, with contrast and flip AUC where the region judges them too."""
    names = [name for name in usable_explainers(services.model(case).tower) if name not in SLOW]
    with st.spinner("Explaining …", show_time=True):
        found = [explained(case, name, (examined_prompt(case),)) for name in names]
    mask, picture = services.region_mask(case), services.image(case)
    view = MapView(
        photo=photo_of(picture),
        rows=(Row("", tuple(explained_cell(one, 0, report.region) for one in found)),),
        limit=1.0,
        unit=UNIT,
        scale=scale_of(found),
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
    )
    render_map_view(view, key="flip explainers", on_event=lambda event: take_patch(event, services.grid(case)))
