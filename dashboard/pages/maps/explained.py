"""Explainers on the Maps page: relevance in units of its own, each map over its own largest value."""

import io
from collections.abc import Sequence

import numpy as np
import streamlit as st

from analysis.explainers import Explanation, usable_explainers
from dashboard import services
from dashboard.case import Case, is_judged
from dashboard.pages.maps.results import prompt_order
from dashboard.pages.maps.settings import MapsSettings
from dashboard.panels.explained import UNIT, explained, explained_cell, scale_of
from dashboard.panels.mapview import MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import take_patch
from dashboard.panels.page import File
from dashboard.regions import outline_path


def render_explained(case: Case, own: MapsSettings) -> dict[str, File]:
    """A grid of the chosen explainers' maps under that of the methods."""
    usable = usable_explainers(services.model(case).tower)
    chosen = [name for name in own.explainers if name in usable]
    if not chosen:
        return {}
    found = [explained(case, name) for name in chosen]
    st.markdown("## Explainers: relevance of the prompts")
    view = build_explained(case, own, found)
    render_map_view(view, key="explained", on_event=lambda event: take_patch(event, services.grid(case)))
    return explained_files(case.prompts, found)


def explained_files(prompts: Sequence[str], found: Sequence[Explanation]) -> dict[str, File]:
    """What can be taken away: every relevance in its own unit."""
    return {"NPZ, explainers": File("explainers.npz", lambda: explained_npz(prompts, found))}


def explained_npz(prompts: Sequence[str], found: Sequence[Explanation]) -> bytes:
    """Per explainer `<name>` (gh, gw, t) and `<name>_unit`; the prompts."""
    arrays = {one.explainer: one.patches[0] for one in found}
    arrays |= {f"{one.explainer}_unit": np.array(one.unit) for one in found}
    stream = io.BytesIO()
    np.savez_compressed(stream, prompts=np.array(prompts), **arrays)
    return stream.getvalue()


def build_explained(case: Case, own: MapsSettings, found: list[Explanation]) -> MapView:
    """The grid prompts x explainers; each map is divided by its largest magnitude, which its tooltip names."""
    region, mask, picture = services.region(case), services.region_mask(case), services.image(case)
    rows = []
    for index in prompt_order(case, own):
        prompt = case.prompts[index]
        judged_by = region if is_judged(case, prompt) else None
        cells = [explained_cell(one, index, judged_by) for one in found]
        rows.append(Row(f"“{prompt}”", tuple(cells)))
    return MapView(
        photo=photo_of(picture),
        rows=tuple(rows),
        limit=1.0,
        unit=UNIT,
        scale=scale_of(found),
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
        table=True,
        opacity=own.opacity,
    )
