"""Two studies of the same pictures: paired differences, the pictures that changed most, blame against blame."""

from collections.abc import Iterator
from functools import partial

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.studies import Comparison, compare_studies
from analysis.studies.groups import GROUPS
from analysis.studies.paired import blame_groups, difference_groups, most_changed
from analysis.studies.pairs import quantities
from dashboard import state, studies
from dashboard.caches import cached
from dashboard.case import method_title
from dashboard.figures.study_bars import plot_blame_pairs
from dashboard.pages.study import results
from dashboard.pages.study.pieces import Piece
from dashboard.pages.study.results import Key, Shown
from dashboard.pages.study.settings import StudySettings
from dashboard.panels.chart import render_figure
from dashboard.panels.texts import plain

OTHER = "out/other"
"""The other study's folder in the Python that is handed out."""
QUANTITIES = ("flip_auc", "contrast")


def render_comparison(shown: Shown) -> None:
    """The choice of the other study, and what differs."""
    key, settings = shown.key, shown.settings
    others = [id for id in _known() if id != key[0] and studies.parts_done(id)]
    with st.expander("Compare with another study", expanded=bool(settings.against)):
        options = ["", *dict.fromkeys(others)]
        chosen = settings.against if settings.against in options else ""
        st.selectbox("The other study", options, format_func=_title, **state.setting(settings, "against", chosen))
        if not chosen:
            if not others:
                st.caption("There is no other study yet: begin one with another model, or start with --studies FOLDER.")
            return
        other = results.key_of(chosen)
        left, right = st.columns([1.3, 1], gap="medium")
        with left:
            _render_differences(shown, other)
        with right:
            _render_blames(shown, other)


def _known() -> list[str]:
    return [*studies.lab_studies(), *state.recall("begun studies", {})]


def pieces(shown: Shown) -> Iterator[Piece]:
    """What `render_comparison` draws."""
    chosen = shown.settings.against
    if not chosen or chosen not in _known() or not studies.parts_done(chosen):
        return
    other, method = results.key_of(chosen), shown.settings.method
    compared = (
        f"compared = compare_studies(folder.path, {OTHER!r}, 'maps', methods=(method, method),",
        f"                           quantities={QUANTITIES!r})",
    )
    yield Piece(
        "differences",
        "The other study minus this one",
        lambda: differences(shown.key, other, method),
        (*compared, "differences = difference_groups(compared, pairs, method)"),
    )
    yield Piece(
        "changed",
        "Maps that changed most",
        lambda: most_changed(comparison(shown.key, other, method), shown.seen, method),
        ("changed = most_changed(compared, pairs, method)",),
    )
    if len(blames(shown.key, other, shown.filters)):
        yield Piece(
            "blame-pairs",
            "Blame here against blame there",
            lambda: blames(shown.key, other, shown.filters),
            (f"blame_pairs = blame_groups(folder, open_study({OTHER!r}), pairs, kept, method)",),
            partial(_blame_figure, shown, other),
        )


def _title(id: str) -> str:
    if not id:
        return "none"
    study, name = studies.opened(id).study, id.removeprefix("lab-") if id.startswith("lab-") else "begun here"
    return f"{name} · {study.model} {study.pretrained or ''}"


@cached(max_entries=4)
def comparison(key: Key, other: Key, method: str) -> Comparison:
    """Paired differences of flip AUC and contrast of a method, the other study minus this one.

    Raises:
        ValueError: the studies are not of the same pictures, or one lacks the method.
    """
    folders = [studies.folder_of(id) for id, _ in (key, other)]
    return compare_studies(*folders, "maps", methods=(method, method), quantities=QUANTITIES)


@cached(max_entries=8)
def differences(key: Key, other: Key, method: str) -> pd.DataFrame:
    """Mean differences in both groups."""
    return difference_groups(comparison(key, other, method), results.overview(key), method)


@cached(max_entries=8)
def blames(key: Key, other: Key, filters: StudySettings) -> pd.DataFrame:
    """Mean blame of every shared component, here and there, in both groups."""
    folders = [studies.opened(id) for id, _ in (key, other)]
    seen = results.overview(key)
    return blame_groups(*folders, seen, results.chosen_rows(seen, filters), filters.method)


def _render_differences(shown: Shown, other: Key) -> None:
    method = shown.settings.method
    table = differences(shown.key, other, method).drop(columns="method").round(3)
    st.markdown(f":small[{method_title(method)}, the other study minus this one; groups by this one]")
    st.dataframe(table, hide_index=True)
    st.markdown(":small[Maps that changed most: click a row to choose its picture]")
    changed = most_changed(comparison(shown.key, other, method), shown.seen, method)

    def taken() -> None:
        rows = st.session_state["study changed"].selection.rows
        if rows and rows[0] < len(changed):
            names = {name: index for index, name in shown.seen.names.items()}
            state.adjust(StudySettings, chosen=(int(names[changed["picture"].iloc[rows[0]]]),), page=0)

    options = {"key": "study changed", "on_select": taken, "selection_mode": "single-row"}
    st.dataframe(changed.round(3), hide_index=True, height=240, **options)


def _blame_figure(shown: Shown, other: Key) -> go.Figure:
    table = blames(shown.key, other, shown.filters)
    labels = list(dict.fromkeys(table["component"]))
    groups = {
        name: tuple(table.loc[table["group"] == name, side].to_numpy() for side in ("here", "there"))
        for name in GROUPS
        if (table["group"] == name).any()
    }
    return plot_blame_pairs(labels, groups, shown.settings.component, ("here", "there"))


def _render_blames(shown: Shown, other: Key) -> None:
    if not len(blames(shown.key, other, shown.filters)):
        st.info("The two studies have no component in common.")
        return
    render_figure(_blame_figure(shown, other), "study blames")
    own, theirs = (set(quantities(studies.opened(id), "blame")) for id, _ in (shown.key, other))
    if own ^ theirs:
        st.caption(plain(f"{len(own ^ theirs)} components that only one of the models has are left out."))
