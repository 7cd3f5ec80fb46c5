"""Segmentation of a collection: mIoU of every method with its protocol, IoU of every class, label maps of pictures."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.evaluation.published import SOURCES
from analysis.studies.classes import SEGMENTATION, protocol_line
from analysis.studies.label_maps import LabelDrawer
from analysis.studies.protocols import MAPS
from analysis.studies.reproduce import Row, rows_frame
from dashboard import events, state, studies
from dashboard.caches import cached
from dashboard.case import method_title
from dashboard.figures.study_bars import plot_class_ious
from dashboard.pages.study import results
from dashboard.pages.study.grid import Picture, open_list, render_grid
from dashboard.pages.study.pieces import Piece
from dashboard.pages.study.results import Key, Shown
from dashboard.pages.study.settings import StudySettings
from dashboard.pages.study.strips import Strip, draw_strip
from dashboard.panels.chart import render_figure
from dashboard.panels.page import EXPECTED
from dashboard.panels.texts import plain

STRIPS = 6
"""Pictures whose label maps are shown together."""


def has_segmentation(shown: Shown) -> bool:
    """Whether the study has measured it."""
    return SEGMENTATION in shown.folder.study.measures


def render_segmentation(shown: Shown) -> None:
    """Methods, classes and pictures; a class or method that is chosen here is the choice of all."""
    if not has_segmentation(shown):
        return
    rows = results.segmentation_rows(shown.key)
    if all(row.measured is None for row in rows):
        st.info("No picture of this study has a mask that counts.")
        return
    st.markdown(f"**Segmentation**, mIoU over the classes · :small[{plain(_protocol(shown, rows))}]")
    left, right = st.columns([1, 1.2], gap="medium")
    with left:
        _render_methods(shown, rows)
        _render_classes(shown)
    with right:
        render_figure(_class_figure(shown)[0], "study ious", partial(_take_class, names=_class_figure(shown)[1]))
    _render_pictures(shown)


def pieces(shown: Shown) -> Iterator[Piece]:
    """What `render_segmentation` draws."""
    if not has_segmentation(shown):
        return
    yield Piece(
        "segmentation",
        "Segmentation: mIoU of every method",
        lambda: rows_frame(results.segmentation_rows(shown.key)),
        (
            "from analysis.studies.classes import class_ious, image_figures, segmentation_rows",
            "from analysis.studies.reproduce import rows_frame",
            "segmentation = rows_frame(segmentation_rows(folder))",
        ),
    )
    yield Piece(
        "class-iou",
        "Segmentation: IoU of every class",
        lambda: results.class_ious(shown.key, shown.settings.method),
        ("class_iou = class_ious(folder, method)",),
        lambda: _class_figure(shown)[0],
    )
    yield Piece(
        "picture-iou",
        "Segmentation: mIoU of every picture",
        lambda: results.image_figures(shown.key, shown.settings.method),
        ("picture_iou = image_figures(folder, method)",),
    )


def _protocol(shown: Shown, rows: list[Row]) -> str:
    name = shown.folder.study.protocol
    return f"protocol {'of the maps themselves' if name == MAPS else name}: {protocol_line(rows)}"


def _render_methods(shown: Shown, rows: list[Row]) -> None:
    table = rows_frame(rows)
    names = list(shown.folder.study.methods)

    def taken() -> None:
        chosen = st.session_state["study segmentation"].selection.rows
        if chosen and chosen[0] < len(names):
            state.adjust(StudySettings, method=names[chosen[0]], page=0, segmented=0)

    there = table.assign(method=[method_title(name) for name in names])
    there["95 %"] = [f"{low:.1f} to {high:.1f}" for low, high in zip(table["low"], table["high"], strict=True)]
    columns = ["method", "miou", "95 %", "published", "difference", "present", "images"]
    numbers = {name: st.column_config.NumberColumn(format="%.2f") for name in ("difference", "present")}
    numbers["miou"] = st.column_config.NumberColumn("mIoU, %", format="%.2f")
    numbers["published"] = st.column_config.NumberColumn("published", format="%.2f")
    if table["published"].isna().all():
        columns = [name for name in columns if name not in ("published", "difference")]
    st.dataframe(
        there[columns],
        key="study segmentation",
        on_select=taken,
        selection_mode="single-row",
        hide_index=True,
        height="content",
        column_config=numbers,
    )
    for words in dict.fromkeys(note for row in rows for note in row.notes):
        st.caption(plain(words))
    if table["published"].isna().all():
        st.caption(plain(_why_none(shown)))


def _why_none(shown: Shown) -> str:
    name = shown.folder.study.protocol
    if name == MAPS:
        return "No published number: it needs a published protocol, such as clip-theatre reproduce runs."
    sources = ", ".join(SOURCES.values())
    return f"No number of this model in this protocol on this data set is known from {sources}."


def _class_figure(shown: Shown) -> tuple[go.Figure, list[str]]:
    table = results.class_ious(shown.key, shown.settings.method)
    title = f"IoU of every class ({method_title(shown.settings.method)})"
    return plot_class_ious(table, shown.settings.text, title)


def _take_class(event: Mapping[str, Any], names: list[str]) -> None:
    place = events.picked_index(event, 0)
    if place is not None and place < len(names):
        text = state.settings(StudySettings).text
        chosen = "" if names[place] == text else names[place]
        state.adjust(StudySettings, text=chosen, page=0, segmented=0)


def _render_classes(shown: Shown) -> None:
    table = results.class_ious(shown.key, shown.settings.method)
    flipped = shown.seen.class_table(shown.kept, *_methods(shown)).set_index("class")["flipped"]
    there = table.assign(flipped=table["class"].map(flipped), iou=100 * table["iou"])
    columns = ["class", "iou", "confused", "images", *(["flipped"] if len(shown.seen) else [])]
    names = {
        "iou": st.column_config.NumberColumn("IoU, %", format="%.1f"),
        "confused": st.column_config.TextColumn("most taken for"),
        "flipped": st.column_config.NumberColumn("maps flipped", format="percent"),
    }

    def taken() -> None:
        rows = st.session_state["study class ious"].selection.rows
        if rows and rows[0] < len(table):
            state.adjust(StudySettings, text=str(table["class"].iloc[rows[0]]), page=0, segmented=0)

    st.dataframe(
        there[columns],
        key="study class ious",
        on_select=taken,
        selection_mode="single-row",
        hide_index=True,
        height=248,
        column_config=names,
    )


def _methods(shown: Shown) -> tuple[str, str]:
    return shown.settings.method, shown.settings.other


def chosen_images(shown: Shown) -> pd.DataFrame:
    """Pictures that are segmented and in the selection, worst first."""
    table, settings = results.image_figures(shown.key, shown.settings.method), shown.settings
    if settings.text:
        table = table[table["index"].isin(results.images_with(shown.key, settings.text))]
    if settings.chosen:
        table = table[table["index"].isin(settings.chosen)]
    if settings.low is not None or settings.high is not None:
        table = table[table["index"].isin(shown.seen.index[shown.kept])]
    return table.reset_index(drop=True)


def _render_pictures(shown: Shown) -> None:
    table, own = chosen_images(shown), shown.folder.study.protocol == MAPS
    if not st.toggle("Label maps of the pictures, worst first", value=own, key="study labels"):
        st.caption("Each is segmented again, by the whole protocol.")
        return
    if not len(table):
        st.info("No segmented picture passes the filters.")
        return
    pages = -(-len(table) // STRIPS)
    page = min(shown.settings.segmented, pages - 1)
    rows = table.iloc[page * STRIPS : (page + 1) * STRIPS]
    _render_pager(page, pages, len(table))
    try:
        found = label_strips(shown.key, shown.settings.method, tuple(rows["index"].tolist()))
    except EXPECTED as error:
        st.info(f"The label maps cannot be made again here: {plain(str(error))}")
        return
    pictures, legend = [], {}
    for (_, row), label in zip(rows.iterrows(), found, strict=True):
        if label is not None:
            pictures.append(Picture(label.source, *_words(row, label.name)))
            legend |= label.colours
    entries = [(int(index), _text_of(shown, int(index))) for index in table["index"]]
    render_grid(
        pictures,
        lambda place: open_list(shown, entries, page * STRIPS + place),
        key="study strips",
        wide=True,
        legend=legend,
    )
    st.caption("Photograph, truth, label map, and in orange where they differ. Dark: does not count.")


def _render_pager(page: int, pages: int, count: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        for title, icon, step in (("Earlier", "chevron_left", -1), ("Later", "chevron_right", 1)):
            st.button(
                title,
                key=f"study strips {title}",
                icon=f":material/{icon}:",
                type="tertiary",
                disabled=not 0 <= page + step < pages,
                on_click=lambda step=step: state.adjust(StudySettings, segmented=page + step),
            )
        first = page * STRIPS
        words = f":small[{first + 1:,} to {min(first + STRIPS, count):,} of {count:,} pictures]"
        st.markdown(words, width="content")


def _words(row: pd.Series, name: str) -> tuple[str, str]:
    said = f"mIoU {100 * row['miou']:.0f} %, {100 * row['accuracy']:.0f} % of the pixels right"
    return f"{name}: {said}", f"{name}\n{said}"


def _text_of(shown: Shown, index: int) -> str:
    """The class that is examined in a picture: the chosen one, or its most flipped one."""
    own = np.flatnonzero(shown.seen.index == index)
    texts = shown.seen.text[own]
    if shown.settings.text in texts or not len(own):
        return shown.settings.text if shown.settings.text in texts else ""
    return str(texts[np.nanargmin(shown.seen.figure("flip_auc", shown.seen.methods[0])[own])])


@cached(max_entries=1)
def _drawer(key: Key, method: str) -> LabelDrawer:
    return LabelDrawer(studies.opened(key[0]), method)


@cached(max_entries=24)
def label_strips(key: Key, method: str, images: tuple[int, ...]) -> list[Strip | None]:
    """Strips of some pictures; None for one without a mask that counts."""
    drawer = _drawer(key, method)
    found = (drawer.label_map(index) for index in images)
    return [None if label is None else draw_strip(label) for label in found]
