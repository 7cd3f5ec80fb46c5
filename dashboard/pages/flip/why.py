"""Why the map flips, right of the maps: lens above waterfall, heads above blame against removal."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import streamlit as st

from analysis.decomposition import Component
from analysis.flips import FlipReport
from dashboard import catalogue, events, state
from dashboard.case import Case
from dashboard.figures import flip as figures
from dashboard.jobs import Job, Stopped
from dashboard.pages.flip import results
from dashboard.panels.chart import render_figure
from dashboard.panels.work import is_under_way, watch

AUTOMATIC = frozenset({catalogue.TOY})
"""Models whose components are all removed without being asked to: it takes less than a second."""


def render_why(case: Case, report: FlipReport, chosen: Component | None) -> FlipReport:
    """Four figures; returns the report with the interventions that were computed."""
    depth, parts = st.columns(2, gap="small")
    with depth, st.container(key="window-under-depth"):
        _render_depth(case, report, chosen)
    with parts, st.container(key="window-under-parts"):
        return _render_components(case, report, chosen)


def _render_depth(case: Case, report: FlipReport, chosen: Component | None) -> None:
    render_figure(figures.plot_lens(report, case.layer), key="flip lens", on_event=_take_lens, stretch=True)
    parts = figures.waterfall_components(report)
    figure = figures.plot_waterfall(report, chosen)
    render_figure(figure, key="flip waterfall", on_event=lambda event: _take_component(event, parts), stretch=True)


def _take_lens(event: Mapping[str, Any]) -> None:
    index = events.picked_index(event, 0)
    if index is not None:
        state.update(**results.choice_of(figures.lens_component(index)))


def _take_component(event: Mapping[str, Any], parts: Sequence[Component]) -> None:
    part = figures.component_index(parts, events.picked_index(event, 0))
    if part is not None:
        state.update(**results.choice_of(part))


def _render_components(case: Case, report: FlipReport, chosen: Component | None) -> FlipReport:
    """Heads and removals; returns the report with the interventions that were computed."""
    parts = figures.heads_components(report)
    figure = figures.plot_heads(report, chosen)
    render_figure(figure, key="flip heads", on_event=lambda event: _take_component(event, parts), stretch=True)
    return _render_removals(case, report, chosen)


def _render_removals(case: Case, report: FlipReport, chosen: Component | None) -> FlipReport:
    if case.model in AUTOMATIC:
        results.removal_of_all(case, heads=False)(Job())
        report = results.flip_report(case)
    parts = [found.component for found in report.interventions]
    missing = {heads: len({*results.removable(case, heads)} - {*parts}) for heads in (False, True)}
    if parts:
        figure = figures.plot_ablation(report, chosen)
        render_figure(figure, key="flip removals", on_event=lambda event: _take_component(event, parts), stretch=True)
    else:
        st.markdown("**Blame against removal**")
        st.caption("Blame is arithmetic. Remove components, and a plot shows whether each is also a cause.")
    _render_removal_buttons(case, missing)
    return report


def _render_removal_buttons(case: Case, missing: Mapping[bool, int]) -> None:
    """Buttons for what was missing when the figure was drawn; a job that has gone on since then draws it anew."""
    for heads, words in ((False, "attention output and MLP"), (True, "head and MLP")):
        if not missing[heads]:
            continue
        key, title = results.removal_key(case, heads), f"Removing every {words}"
        label = f"Remove every {words}: {missing[heads]} re-runs"
        asked = st.button(label, key=f"flip remove {words}", help="Can be stopped; what is done is kept.")
        if asked or is_under_way(key, title):
            with suppress(Stopped):
                watch(key, title, results.removal_of_all(case, heads))
            st.rerun()
        if len(results.missing_removals(case, heads)) != missing[heads]:
            st.rerun()
