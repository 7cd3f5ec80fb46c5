"""The Maps page: a verdict, prompts x methods on one scale, explainers, masks, pins."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st

from analysis import Region
from analysis.numerals import number
from dashboard import events, services, state
from dashboard.case import MAX_PINS, Case, describe_method, is_judged, method_of, method_title
from dashboard.figures import shared_limit
from dashboard.pages.maps import PAGE
from dashboard.pages.maps.controls import render_controls
from dashboard.pages.maps.explained import render_explained
from dashboard.pages.maps.exports import maps_exports
from dashboard.pages.maps.judged import render_judged
from dashboard.pages.maps.masks import render_masks
from dashboard.pages.maps.results import NO_REGION, prompt_order, readings, verdict
from dashboard.pages.maps.settings import MapsSettings
from dashboard.panels.drawer import pin_cell
from dashboard.panels.mapview import Bar, Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.panels.page import Exports, render_badge
from dashboard.panels.texts import in_visitors_words, plain, why_not
from dashboard.regions import outline_path
from dashboard.removals import maps_without, removed_parts, title_without
from surgery import prompt_points
from surgery.dense import fit_method

UNITS = {"cosine": "cosine similarity", "feature surgery": "cosine similarity after feature surgery"}

HELP = """
**A map** is the cosine of every patch feature with a text feature. All maps share one symmetric scale: hue is the sign,
opacity the magnitude, zero is transparent. Nothing is stretched per map unless *min-max* is on.

**Methods** differ in how the last blocks are walked: kind of attention, number of blocks, factor of the residual,
factor alpha of the attention output, with or without MLP; point at a title to see its numbers. Sources: CLIP (arXiv
2103.00020), MaskCLIP (2112.01071), CLIP Surgery (2304.05653), SCLIP (2312.01597), GEM (2312.00878), NACLIP
(2404.08181), ClearCLIP (2407.12442).

**Contrast** is the mean over the region's patches minus the mean over the background's. **AUC** is the probability
that a patch of the region outscores one of the background; below 0.5 the map is flipped. The region of an object
judges the maps of its own phrase; under the others stands their mean.

**Explainers** under the maps show relevance by gradients or attention, each map over its own largest value: Chefer et
al. (2103.15679), rollout (2005.00928), Grad-ECLIP (ICML 2024; as published its last block has one head), Grad-CAM
(1610.02391), LeGrad (2404.03214), integrated gradients (1703.01365).

**Feature surgery** removes what all prompts have in common (CLIP Surgery). **Prompt points** are the highest and
lowest cells of a map, for Segment Anything (the same paper).

Keyboard: Tab reaches the maps, arrow keys go from map to map, Enter goes into one; there arrow keys move over its
patches, Enter chooses one, Escape leaves. On the threshold line arrow keys move it, Delete removes it.
"""


@dataclass(frozen=True, slots=True, eq=False)
class MethodMaps:
    """One column of the grid: a method's maps (gh, gw, t), or why it has none."""

    name: str
    maps: services.Maps | None
    error: str = ""


def render_maps(case: Case, own: MapsSettings) -> Exports:
    """Verdict and controls, the grid of maps with histogram, explainers, and masks."""
    headline = st.container(horizontal=True, vertical_alignment="center", gap="small", key="headline")
    with headline:
        place = st.container()
        with st.popover("more", type="tertiary"):
            st.markdown(PAGE.look_for)
        render_controls(case, own)
    if not case.methods:
        st.info("Choose at least one method above to see its maps.")
        return Exports()
    for message in services.text_warnings(case):
        render_badge("a prompt was cut", plain(in_visitors_words(message)))
    columns = [*(compute_column(case, name) for name in case.methods), *column_without(case)]
    region = services.region(case)
    with place:
        _render_verdict(case, tuple(column.name for column in columns if column.maps and column.name in case.methods))
    view = build_view(case, own, columns, region)
    render_map_view(view, key="maps", on_event=lambda event: take_event(event, services.grid(case)))
    more = {**render_explained(case, own), **render_judged(case, own), **render_masks(case, own)}
    found = maps_exports(case, own, {c.name: c.maps for c in columns if c.maps}, region)
    return replace(found, files={**found.files, **more})


def column_without(case: Case) -> list[MethodMaps]:
    """A column for CLIP without the parts that were removed together on Flip, where there are any."""
    parts = removed_parts(case)
    if not parts:
        return []
    return [MethodMaps(f"CLIP {title_without(parts)}", maps_without(case, parts, case.feature_surgery))]


def _render_verdict(case: Case, names: tuple[str, ...]) -> None:
    if not case.region or not names:
        st.markdown(NO_REGION if names else "None of these methods has a meaning for this model.")
        return
    st.markdown(f"## {plain(verdict(*readings(case, names)))}")


def compute_column(case: Case, name: str) -> MethodMaps:
    """A method's maps; a method that has no meaning for the model says so in its own place."""
    method = method_of(case, name)
    tower = services.model(case).tower
    try:
        fit_method(tower, method)
    except ValueError as error:
        return MethodMaps(name, None, why_not(method, len(tower.blocks), tower.kinds) or in_visitors_words(str(error)))
    return MethodMaps(name, services.maps(case, method))


def build_view(case: Case, own: MapsSettings, columns: list[MethodMaps], region: Region | None) -> MapView:
    """The grid prompts x methods as it is drawn."""
    rows, shares = [], services.probabilities(case)
    for index in prompt_order(case, own):
        prompt = case.prompts[index]
        judged_by = region if is_judged(case, prompt) else None
        cells = [_method_cell(case, own, column, index, judged_by) for column in columns]
        if own.difference:
            cells.append(_difference_cell(case, own, index, judged_by))
        share = Bar(prompt, float(shares[index]), f"{number(100 * float(shares[index]))} %")
        rows.append(Row(f"“{prompt}”", tuple(cells), share=share))
    found = [column.maps for column in columns if column.maps]
    mask = services.region_mask(case)
    picture = services.image(case)
    return MapView(
        photo=photo_of(picture),
        rows=tuple(rows),
        limit=shared_limit([maps.patches for maps in found]),
        unit=_unit(own, found),
        scale=own.scale,
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
        threshold=own.threshold,
        histogram=True,
        table=True,
        corner=f"probability ({'softmax' if services.model(case).logit_bias is None else 'sigmoid'})",
        opacity=own.opacity,
    )


def _unit(own: MapsSettings, found: list[services.Maps]) -> str:
    if own.scale == "minmax":
        return "each map min-max normalised: sign and size are lost"
    return UNITS[found[0].unit] if found else "cosine similarity"


def _method_cell(case: Case, own: MapsSettings, column: MethodMaps, prompt: int, region: Region | None) -> Cell:
    title = method_title(column.name)
    if column.maps is None:
        return Cell(title, error=column.error)
    values = column.maps.patches[:, :, prompt]
    size = services.image(case).rgb.shape[:2]
    return Cell(
        title,
        values,
        note=region_note(values, region),
        hint=describe_method(column.maps.method),
        points=prompt_points(values, image_size=size) if own.points else None,
        action="pin" if len(case.pins) < MAX_PINS and column.name in case.methods else "",
    )


def _difference_cell(case: Case, own: MapsSettings, prompt: int, region: Region | None) -> Cell:
    """A − B on a scale of its own; of min-max normalised maps, where those are shown."""
    title = f"{method_title(case.method_a)} − {method_title(own.method_b)}"
    pair = [compute_column(case, name) for name in (case.method_a, own.method_b)]
    errors = [column.error for column in pair if column.maps is None]
    if errors:
        return Cell(title, error=errors[0], counted=False)
    first, second = (column.maps.patches[:, :, prompt] for column in pair)
    if own.scale == "minmax":
        first, second = normalize_minmax(first), normalize_minmax(second)
    values = first - second
    limit = shared_limit([values])
    note = f"{region_note(values, region)}\nown scale ±{number(limit)}"
    return Cell(title, values, note=note, limit=limit, counted=False)


def normalize_minmax(values: np.ndarray) -> np.ndarray:
    """A map from 0 to 1; zero everywhere where all its values are one."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def take_event(event: Mapping[str, Any], grid: tuple[int, int]) -> None:
    """Puts what happened in the grid into the case."""
    case = state.case()
    take_patch(event, grid)
    cell, opacity = events.picked_cell(event, len(case.prompts), len(case.methods)), events.picked_opacity(event)
    if cell is not None:
        pin_cell(case, prompt_order(case, state.settings(MapsSettings))[cell[0]], case.methods[cell[1]])
    elif opacity is not None:
        state.adjust(MapsSettings, opacity=opacity)
    elif events.is_threshold(event):
        state.adjust(MapsSettings, threshold=events.picked_threshold(event))
