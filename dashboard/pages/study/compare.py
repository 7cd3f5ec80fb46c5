"""Two studies of the same pictures: paired differences, the pictures that changed most, blame against blame."""

import numpy as np
import pandas as pd
import streamlit as st

from analysis.studies import Comparison, compare_studies
from dashboard import services, state, studies
from dashboard.case import method_title
from dashboard.figures import study as figures
from dashboard.pages.study import results
from dashboard.pages.study.results import Key, Overview
from dashboard.pages.study.settings import StudySettings
from dashboard.panels.chart import render_figure
from dashboard.panels.texts import plain

MOST_CHANGED = 50


def render_comparison(key: Key, seen: Overview, settings: StudySettings) -> None:
    """The choice of the other study, and what differs."""
    others = [
        id
        for id in (*studies.lab_studies(), *state.recall("begun studies", {}))
        if id != key[0] and studies.parts_done(id)
    ]
    with st.expander("Compare with another study", expanded=bool(settings.against)):
        options = ["", *dict.fromkeys(others)]
        chosen = settings.against if settings.against in options else ""
        st.selectbox("The other study", options, format_func=_title, **state.setting(settings, "against", chosen))
        if not chosen:
            if not others:
                st.caption("There is no other study yet: begin one with another model, or start with --studies FOLDER.")
            return
        left, right = st.columns([1.3, 1], gap="medium")
        with left:
            _render_differences(key, results.key_of(chosen), seen, settings.method)
        with right:
            _render_blames(key, results.key_of(chosen), settings)


def _title(id: str) -> str:
    if not id:
        return "none"
    study, name = studies.opened(id).study, id.removeprefix("lab-") if id.startswith("lab-") else "begun here"
    return f"{name} · {study.model} {study.pretrained or ''}"


@services.cached(max_entries=8)
def comparison(key: Key, other: Key) -> Comparison:
    """Paired differences of flip AUC and contrast, the other study minus this one.

    Raises:
        ValueError: the studies are not of the same pictures.
    """
    folders = [studies.folder_of(id) for id, _ in (key, other)]
    return compare_studies(*folders, "maps", quantities=("flip_auc", "contrast"))


def _render_differences(key: Key, other: Key, seen: Overview, method: str) -> None:
    found = comparison(key, other)
    table = found.table.drop(columns=["note"], errors="ignore").round(3)
    st.dataframe(table.assign(method=table["method"].map(method_title)), hide_index=True)
    st.markdown(f":small[Maps that changed most ({method_title(method)}), the other study minus this one]")
    st.dataframe(most_changed(found, seen, method), hide_index=True, height=240)


def most_changed(found: Comparison, seen: Overview, method: str) -> pd.DataFrame:
    """The maps whose flip AUC differs most, largest first. Pure."""
    pairs = found.pairs[found.pairs["method"] == method]
    order = pairs["flip_auc"].abs().sort_values(ascending=False, kind="stable").index[:MOST_CHANGED]
    rows = pairs.loc[order]
    names = [seen.names.get(int(index), str(index)) for index in rows["index"]]
    shown = {"picture": names, "class": rows["text"].astype(str), "change of AUC": rows["flip_auc"].round(3)}
    return pd.DataFrame(shown | {"change of contrast": rows["contrast"].round(3)})


def _render_blames(key: Key, other: Key, settings: StudySettings) -> None:
    ours, theirs = results.blame(key, settings.method), results.blame(other, settings.method)
    shared = [label for label in ours.labels if label in theirs.labels]
    if not shared or not ours.read.any() or not theirs.read.any():
        st.info("The two studies have no component in common.")
        return
    means = [
        np.nanmean(found.values[:, [found.labels.index(label) for label in shared]], axis=0) for found in (ours, theirs)
    ]
    figure = figures.plot_blame_pairs(shared, *means, settings.component, ("here", "there"))
    render_figure(figure, "study blames")
    left_out = len(set(ours.labels) ^ set(theirs.labels))
    if left_out:
        st.caption(plain(f"{left_out} components that only one of the models has are left out."))
