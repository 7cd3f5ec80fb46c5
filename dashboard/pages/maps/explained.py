"""Explainers on the Maps page: relevance in units of its own, each map over its own largest value."""

from dataclasses import replace

import numpy as np
import streamlit as st

from analysis import Region
from analysis.explainers import EXPLAINERS, Explanation, explain, usable_explainers
from dashboard import services, state
from dashboard.case import Case, is_judged
from dashboard.pages.maps.settings import MapsSettings
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.regions import outline_path

UNIT = "relevance, share of each map's largest"
EMPTY = "zero everywhere: nothing speaks for this text"


def render_explained(case: Case, own: MapsSettings) -> None:
    """The choice of explainers, and a grid of their maps under that of the methods."""
    usable = usable_explainers(services.model(case).tower)
    st.pills(
        "Explainers",
        usable,
        selection_mode="multi",
        format_func=lambda name: EXPLAINERS[name].title,
        help="Relevance by gradients or attention. It is no cosine: every map has its own unit and its own scale.",
        **state.setting(
            own,
            "explainers",
            [name for name in own.explainers if name in usable],
            lambda new: tuple(name for name in EXPLAINERS if name in new),
        ),
    )
    chosen = [name for name in own.explainers if name in usable]
    if not chosen:
        return
    with st.spinner("Explaining …", show_time=True):
        found = [explained(case, name) for name in chosen]
    render_map_view(
        build_explained(case, found), key="explained", on_event=lambda e: take_patch(e, services.grid(case))
    )


def explained(case: Case, name: str) -> Explanation:
    """Relevance of the case's prompts by one explainer."""
    interpolation = EXPLAINERS[name].position_interpolation
    return _explained(services.trace_key(case, interpolation), services.text_key(case), name, case)


@services.cached(max_entries=64)
def _explained(key: services.TraceKey, texts: services.TextKey, name: str, _case: Case) -> Explanation:
    loaded, picture, text = services.model(_case), services.original(_case), services.text(_case)
    with services.turn(_case):
        pixels = loaded.preprocess([picture.to_pil()], key.size, fit=key.fit)
        found = explain(loaded, pixels, text, name)
    return replace(found, patches=found.patches.astype(np.float32))


def build_explained(case: Case, found: list[Explanation]) -> MapView:
    """The grid prompts x explainers; each map is divided by its largest magnitude, which its tooltip names."""
    region, mask, picture = services.region(case), services.region_mask(case), services.image(case)
    rows = []
    for index, prompt in enumerate(case.prompts):
        judged_by = region if is_judged(case, prompt) else None
        cells = [_cell(one, index, judged_by) for one in found]
        rows.append(Row(f"“{prompt}”", tuple(cells)))
    return MapView(
        photo=photo_of(picture),
        rows=tuple(rows),
        limit=1.0,
        unit=UNIT,
        scale="signed" if any(one.signed for one in found) else "positive",
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
    )


def _cell(found: Explanation, prompt: int, region: Region | None) -> Cell:
    explainer = EXPLAINERS[found.explainer]
    values = found.patches[0, :, :, prompt]
    if found.empty[0, prompt]:
        return Cell(explainer.title, error=EMPTY)
    largest = float(np.abs(values).max())
    hint = f"{explainer.unit}, largest {largest:.3g}"
    return Cell(explainer.title, values / largest, note=region_note(values, region), hint=hint)
