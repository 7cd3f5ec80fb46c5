"""The plots of the Study page. A click or a lasso in one of them changes the settings that all of them follow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import events, state
from dashboard.case import method_title
from dashboard.figures import study as figures
from dashboard.pages.study import results
from dashboard.pages.study.layout import render_layout
from dashboard.pages.study.results import Key, Overview, Split
from dashboard.pages.study.settings import GROUPS, StudySettings
from dashboard.panels.chart import render_figure

GROUP_TITLES = {
    "norm.residual": "norm of the residual stream",
    "norm.attention": "norm of the attention output",
    "norm.mlp": "norm of the MLP output",
    "cosine.residual": "cosine of the stream with CLS",
    "cosine.attention": "cosine of the attention output with CLS",
    "entropy": "entropy of the attention (nats)",
    "mass.qk": "q-k attention that stays in the object",
    "mass.vv": "v-v attention that stays in the object",
}


def terms_of(key: Key, settings: StudySettings) -> np.ndarray | None:
    """Terms (n,) of the chosen component for every pair; None where none is chosen."""
    found = results.blame(key, settings.method)
    if settings.component not in found.labels:
        return None
    return found.values[:, found.labels.index(settings.component)]


def render_plots(key: Key, seen: Overview, settings: StudySettings) -> None:
    """AUC of all methods, one against another, blame, lens."""
    upper = st.columns(2, gap="small")
    with upper[0]:
        auc = {name: seen.figure("flip_auc", name) for name in seen.methods}
        kept, titles = results.chosen_rows(seen, settings), {name: method_title(name) for name in seen.methods}
        figure = figures.plot_auc_histogram(auc, kept, settings.method, titles)
        render_figure(figure, key="study histogram", on_event=_take_bin)
    with upper[1]:
        _render_pairs(seen, settings)
    lower = st.columns(2, gap="small")
    with lower[0]:
        _render_blame(key, settings)
    with lower[1]:
        _render_lens(key, seen, settings)


def render_more(key: Key, seen: Overview, settings: StudySettings) -> None:
    """Layers, classes, size and place, layout of the pictures: below the fold."""
    first, second, third = st.columns(3, gap="small")
    with first:
        _render_layers(key, settings)
    with second:
        _render_classes(seen, settings)
    with third:
        _render_sizes(seen, settings)
    render_layout(key, seen, settings)


def _take_bin(event: Mapping[str, Any]) -> None:
    places = [place for curve in (0, 1) if (place := events.picked_index(event, curve)) is not None]
    if places:
        state.adjust(StudySettings, low=places[0] / figures.BINS or None, high=(places[0] + 1) / figures.BINS, page=0)


def _words(seen: Overview) -> list[str]:
    return [
        f"{seen.names.get(int(n), n)}: {text}".replace("<", "‹") for n, text in zip(seen.index, seen.text, strict=True)
    ]


def _take_images(event: Mapping[str, Any], seen: Overview, shown: np.ndarray) -> None:
    places = [place for place in events.picked_indices(event, 0) if place < len(shown)]
    if places:
        state.adjust(StudySettings, chosen=tuple(sorted({int(seen.index[shown[place]]) for place in places})), page=0)


def render_scatter(
    key: str,
    seen: Overview,
    settings: StudySettings,
    x: np.ndarray,
    y: np.ndarray,
    title: str,
    axes: tuple[str, str],
    diagonal: bool = False,
) -> None:
    """Two figures of every map against each other; dots in a lasso are the selection of all plots."""
    kept, flipped = results.chosen_rows(seen, settings), seen.figure("flip_auc", settings.method) < 0.5
    figure, shown = figures.plot_pairs(x, y, kept, flipped, _words(seen), title, axes, diagonal)
    render_figure(figure, key, lambda event: _take_images(event, seen, shown), modes=("points", "lasso", "box"))


def _render_pairs(seen: Overview, settings: StudySettings) -> None:
    names = [method_title(name) for name in (settings.method, settings.other)]
    x, y = (seen.figure("flip_auc", name) for name in (settings.method, settings.other))
    title = f"Flip AUC, {names[1]} against {names[0]}"
    render_scatter("study pairs", seen, settings, x, y, title, (names[0], names[1]), diagonal=True)


def _render_blame(key: Key, settings: StudySettings) -> None:
    found = results.split(key, "blame", "", results.filters_of(settings))
    if not found.labels:
        st.info("This study has no blame; add the measure blame.")
        return
    group, name = (found.flipped, "flipped") if found.flipped is not None else (found.others, "not flipped")
    if group is None:
        st.info("No map passes the filters.")
        return
    title = f"Blame over {group.rows:,} {name} maps ({method_title(settings.method)})"
    figure, shown = figures.plot_components(
        found.labels, group.mean, group.low, group.high, found.worst, settings.component, title
    )

    def take(event: Mapping[str, Any]) -> None:
        place = events.picked_index(event, 0)
        if place is not None and place < len(shown):
            label = found.labels[shown[place]]
            state.adjust(StudySettings, component="" if label == settings.component else label, page=0)

    render_figure(figure, "study blame", take)


def _render_lens(key: Key, seen: Overview, settings: StudySettings) -> None:
    found = results.split(key, "lens", "depth_", results.filters_of(settings))
    if not found.labels:
        st.info("This study has no lens.")
        return
    turning = results.columns(key, "lens", "turning_depth", settings.method)
    kept = results.chosen_rows(seen, settings) & turning.read
    depths = turning.values[kept, 0] if turning.labels else np.zeros(0)
    counts = np.bincount(depths[np.isfinite(depths)].astype(int), minlength=len(found.labels)) / max(1, kept.sum())
    figure = figures.plot_depths(
        _groups(found), "Lens: contrast after every block (CLIP)", ("depth", "contrast"), settings.depth, counts
    )
    render_figure(figure, "study lens", lambda event: _take_depth(event, settings))


def _take_depth(event: Mapping[str, Any], settings: StudySettings) -> None:
    places = [place for curve in (0, 3, 6) if (place := events.picked_index(event, curve)) is not None]
    if places:
        state.adjust(StudySettings, depth=None if places[0] == settings.depth else places[0])


def _groups(found: Split) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    pairs = {"flipped": found.flipped, "not flipped": found.others}
    return {name: (group.mean, group.low, group.high) for name, group in pairs.items() if group is not None}


def _render_layers(key: Key, settings: StudySettings) -> None:
    st.selectbox("Layer curve", GROUPS, format_func=GROUP_TITLES.__getitem__, **state.setting(settings, "layers"))
    prefix = {"entropy": "entropy.patches.", "mass.qk": "mass.qk.foreground.", "mass.vv": "mass.vv.foreground."}.get(
        settings.layers, f"{settings.layers}.foreground."
    )
    found = results.split(key, "layers", prefix, results.filters_of(settings))
    if not found.labels:
        st.info("This study does not have this curve.")
        return
    blocks = np.array([int(label.removeprefix(prefix).partition(".")[0]) for label in found.labels])
    groups = {name: tuple(_by_block(part, blocks) for part in parts) for name, parts in _groups(found).items()}
    where = "object patches" if "foreground" in prefix else "patches"
    title = f"{GROUP_TITLES[settings.layers]}, {where}"
    render_figure(
        figures.plot_depths(groups, title[0].upper() + title[1:], ("block", ""), settings.depth),
        "study layers",
        lambda event: _take_depth(event, settings),
    )


def _by_block(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Mean over the heads of each block."""
    return np.array([np.nanmean(values[blocks == block]) for block in range(blocks.max() + 1)])


def class_table(seen: Overview, settings: StudySettings) -> pd.DataFrame:
    """A row a class: maps, share of flipped ones, mean AUC of both methods. Pure."""
    frame = pd.DataFrame({"class": seen.text, "auc": seen.figure("flip_auc", settings.method)})
    frame["other"] = seen.figure("flip_auc", settings.other)
    frame["flipped"] = frame["auc"] < 0.5
    frame = frame[results.chosen_rows(seen, settings)]
    found = frame.groupby("class").agg(
        maps=("auc", "size"), flipped=("flipped", "mean"), auc=("auc", "mean"), other=("other", "mean")
    )
    return found.sort_values("flipped", ascending=False).reset_index()


def _render_classes(seen: Overview, settings: StudySettings) -> None:
    table = class_table(seen, settings)

    def taken() -> None:
        rows = st.session_state["study classes"].selection.rows
        if rows and rows[0] < len(table):
            state.adjust(StudySettings, text=str(table["class"].iloc[rows[0]]), page=0)

    st.markdown(":small[Classes: click a row to see its maps alone]")
    columns = {
        "flipped": st.column_config.NumberColumn("flipped", format="percent"),
        "auc": st.column_config.NumberColumn(f"AUC {method_title(settings.method)}", format="%.2f"),
        "other": st.column_config.NumberColumn(f"AUC {method_title(settings.other)}", format="%.2f"),
    }
    st.dataframe(
        table,
        key="study classes",
        on_select=taken,
        selection_mode="single-row",
        hide_index=True,
        height=286,
        column_config=columns,
    )


def _render_sizes(seen: Overview, settings: StudySettings) -> None:
    choices = {
        "area": "size of the object (share of patches)",
        "row": "its height in the picture (0 top)",
        "column": "its place from the left",
    }
    chosen = st.selectbox("Against contrast", list(choices), format_func=choices.__getitem__, key="study place")
    contrast = seen.figure("contrast", settings.method)
    title = f"Contrast ({method_title(settings.method)})"
    render_scatter("study sizes", seen, settings, seen.places[chosen], contrast, title, (choices[chosen], "contrast"))
