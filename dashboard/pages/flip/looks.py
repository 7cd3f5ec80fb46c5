"""What stands right of the maps of Flip: blame, all heads, a head's path, words, or several parts removed together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from analysis.decomposition import Component
from analysis.flips import FlipReport
from analysis.head_paths import SIDES
from analysis.numerals import signed
from dashboard import events, services, state
from dashboard.case import Case, examined_prompt
from dashboard.figures.flip import component_index, describe_component
from dashboard.figures.heads import plot_head_maps
from dashboard.figures.paths import path_components, plot_path, plot_together
from dashboard.pages.flip import results
from dashboard.pages.flip.explained import render_explainers
from dashboard.pages.flip.settings import LOOKS, SPLITS, FlipSettings
from dashboard.pages.flip.why import render_why
from dashboard.pages.flip.words import render_words
from dashboard.panels.chart import render_figure
from dashboard.panels.texts import plain, shorten
from dashboard.services import TextKey, TraceKey

TITLES = {
    "why": "Blame",
    "heads": "All heads",
    "path": "Path",
    "words": "In words",
    "together": "Together",
    "explainers": "Explainers",
}
SPLIT_TITLES = {"writes": "what it writes", "reads": "where it comes from"}


def render_look(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> FlipReport:
    """The choice of a look, and the look; returns the report with what was computed beside it."""
    st.segmented_control(
        "What to look at",
        LOOKS,
        format_func=TITLES.__getitem__,
        label_visibility="collapsed",
        required=True,
        **state.setting(own, "look"),
    )
    if own.look == "why":
        return render_why(case, report, chosen)
    if own.look == "explainers":
        render_explainers(case, report)
        return report
    with st.container(key="window-under-look"):
        looks = {"heads": _render_heads, "path": _render_path, "words": render_words, "together": _render_together}
        looks[own.look](case, own, report, chosen)
    return report


def take_part(parts: Sequence[Component], curve: int = 0) -> Callable[[Mapping[str, Any]], None]:
    """What a click on a figure does whose trace number `curve` has a point a component: it chooses that component."""

    def take(event: Mapping[str, Any]) -> None:
        part = component_index(parts, events.picked_index(event, curve))
        if part is not None:
            state.update(**results.choice_of(part))

    return take


def _render_heads(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "The map of a head",
            SPLITS,
            format_func=SPLIT_TITLES.__getitem__,
            label_visibility="collapsed",
            required=True,
            **state.setting(own, "split"),
        )
        st.caption(plain(describe_split(case, own.split)))
    if not any(part.kind == "head" for part in report.blame.components):
        st.info("This model has no heads over all tokens.")
        return
    key, texts = services.trace_key(case), services.text_key(case, (examined_prompt(case),))
    patch = case.patch if own.split == "reads" else None
    figure = _heads_figure(key, texts, case.region, patch, own.split, chosen, case, report)
    parts = results.head_maps(case, report, own.split).components
    render_figure(figure, key="flip head maps", on_event=take_part(parts), stretch=True)


def describe_split(case: Case, split: str) -> str:
    """What the maps of the heads are, in a sentence. Pure."""
    if split == "writes":
        return "Its term of the cosine of every patch; all terms together are the CLIP map."
    what = "the contrast" if case.patch is None else f"patch row {case.patch[0]}, column {case.patch[1]}"
    return f"Its term of {what}, split over the places it attends to; with CLS they add up to it."


@services.cached(max_entries=32)
def _heads_figure(
    key: TraceKey,
    texts: TextKey,
    region: str,
    patch: tuple[int, int] | None,
    split: str,
    chosen: Component | None,
    _case: Case,
    _report: FlipReport,
) -> go.Figure:
    found = results.head_maps(_case, _report, split)
    weights = _report.region.foreground / _report.region.foreground.sum()
    weights = weights - _report.region.background / _report.region.background.sum()
    sums = (found.maps * weights).sum(axis=(1, 2)) if split == "writes" else found.maps.sum(axis=(1, 2)) + found.prefix
    notes = [signed(float(value)) for value in sums]
    title = f"{'What every head writes' if split == 'writes' else 'Where every head brings it from'}: “{{}}”"
    title = title.format(shorten(texts.texts[0]))
    return plot_head_maps(found.components, found.maps, services.image(_case).rgb, title, chosen, notes)


def _render_path(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> None:
    head = results.path_head(report, chosen)
    if head is None:
        st.info("This model has no heads over all tokens, so nothing feeds one.")
        return
    path = results.path_of(case, head)
    asks = "the region's patches" if path.patch is None else f"patch row {path.patch[0]}, column {path.patch[1]}"
    looks = "the region" if path.score > 0 else "the background"
    writes = "the contrast" if path.patch is None else "this patch's cosine"
    st.caption(
        plain(
            f"In {describe_component(head)} {asks} look rather at {looks} (score {signed(path.score)}), and it adds "
            f"{signed(path.written)} to {writes}. A bar is what one part adds directly; a click chooses the part."
        )
    )
    figure = plot_path(path)
    sides = [path_components(path, side) for side in SIDES]

    def take(event: Mapping[str, Any]) -> None:
        for curve, parts in enumerate(sides):
            take_part(parts, curve)(event)

    render_figure(figure, key="flip path", on_event=take, stretch=True)


def _render_together(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> None:
    options = [part.label for part in (*results.removable(case, heads=True), *results.removable(case))]
    options = list(dict.fromkeys([*options, *case.removed]))
    st.multiselect(
        "Removed together",
        options,
        placeholder="Choose heads, attention outputs and MLPs",
        help="Each gives every patch the mean of what it would write, all at once. Kept on the page Maps.",
        **state.widget("removed", list(case.removed), lambda case, new: _with_removed(case, new)),
    )
    worst = [culprit.label for culprit in report.culprits[:3] if results.can_be_removed(culprit.component)]
    with st.container(horizontal=True):
        if chosen is not None and results.can_be_removed(chosen) and chosen.label not in case.removed:
            st.button(f"Add {chosen.label}", on_click=_add, args=([chosen.label],))
        if set(worst) - set(case.removed):
            st.button(f"Add the worst: {', '.join(worst)}", on_click=_add, args=(worst,))
    with st.spinner("Running the network without them …", show_time=True):
        joint = results.joint_removal(case, report)
    if joint is None:
        st.caption("Nothing is removed yet. What is chosen here stays in the address, and its map stands on Maps too.")
        return
    st.caption(
        plain(
            f"All at once the contrast changes by {signed(joint.change)}, to {signed(joint.contrast)}; one by one the "
            f"changes add up to {signed(joint.sum_of_changes)}. The rest, {signed(joint.interaction)}, is what they do "
            "through each other and through the norms that all of them share."
        )
    )
    parts = [single.component for single in joint.singles]
    render_figure(plot_together(joint), key="flip together", on_event=take_part(parts), stretch=True)


def _with_removed(case: Case, labels: Sequence[str]) -> Case:
    return replace(case, removed=tuple(labels))


def _add(labels: Sequence[str]) -> None:
    state.update(removed=tuple(dict.fromkeys([*state.case().removed, *labels])))
