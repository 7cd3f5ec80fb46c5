"""The Redundancy page: what all labels have in common, and what the set of labels does to every map."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from analysis.numerals import number, signed
from analysis.redundancy import Redundancy
from analysis.regions import Region
from dashboard import events, services, state
from dashboard.address import MAX_PROMPTS
from dashboard.case import METHOD_NAMES, Case, is_judged, method_title
from dashboard.fields import MAX_TEXT
from dashboard.figures import redundancy as figures
from dashboard.figures import shared_limit
from dashboard.pages.redundancy import PAGE, results
from dashboard.pages.redundancy.exports import redundancy_exports
from dashboard.pages.redundancy.settings import RedundancySettings
from dashboard.panels.chart import render_figure
from dashboard.panels.mapview import Bar, Cell, MapView, Photo, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.panels.page import Exports, render_badge
from dashboard.panels.texts import plain, shorten
from dashboard.regions import outline_path

HELP = """
**Feature surgery** (CLIP Surgery, arXiv 2304.05653) multiplies every image feature F with every weighted
label feature w·T, channel by channel, and takes away what is the same for all labels: F·g with g = mean(w·T). What is
taken away is the **redundant feature**; its sum over the channels is the same map for every label.

**Class weights** w: softmax of 2 × the cosines of the whole image with the labels, divided by its mean. A label that
fits the image weighs more in what is taken away.

**Share of energy**: |F·g|² over |F·g|² plus the mean of |F·(w·T − g)|², per patch. **Channels**: the same sum,
split up.

**Correlation** is Pearson's, over the patches, of two labels' maps. **One label left out**: the mean absolute change of
each map after feature surgery when one label leaves; no map is a property of its label alone.

With a single label, the feature of the empty text stands for the redundancy, as published, and all weights are 1.
"""

STRETCHED = 12
"""Up to so many labels the matrices fill the window; those of more have the height that they need."""

READ = """
**Rows**: after surgery only what sets a label apart is left. A label whose weight is above 1 weighs more in what is
taken away.

**Redundant feature**: part of every label's map; what it lights up says nothing about a label. **Channels**: do a few
of them, strong whatever the label, hold most of what is redundant?

**Correlation**: do maps that were alike move apart? **One label left out**: read a row: without this label, how far
does each map move? Click it to strike the label out.
"""

EMPTY_TEXT = (
    "**One label has nothing in common with others**, so the empty text stands for the redundancy, as published for a "
    "single label. Add a second label to compare maps."
)


def render_redundancy(case: Case, own: RedundancySettings) -> Exports:
    """Labels and method; the maps before and after; what is common; how alike the maps are, and one label left out."""
    struck = results.struck_label(case, own)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="headline"):
        _render_controls(case, own, struck)
    found, region = results.redundancy(case), services.region(case)
    if found.common == "given text":
        render_badge("one label", EMPTY_TEXT)
    stages, common, alike = st.columns([1.2 if struck else 0.9, 0.41, 1.29], gap="small")
    with stages:
        _render_stages(case, found, region, struck)
    with common:
        _render_common(case, found)
    with alike, st.container(key="window-alike") if len(found.labels) <= STRETCHED else st.container():
        _render_alike(found)
        _render_effect(case, struck)
    return redundancy_exports(case, own, found, results.effect(case))


def _render_controls(case: Case, own: RedundancySettings, struck: str) -> None:
    sample = services.sample(case)
    offered = dict.fromkeys((*case.prompts, *(sample.prompts if sample else ()), *(sample.masks if sample else ())))
    st.multiselect(
        "Label set",
        [*offered],
        accept_new_options=True,
        max_selections=MAX_PROMPTS,
        placeholder="Add a label, such as: grass",
        label_visibility="collapsed",
        **state.widget("redundancy labels", [*dict.fromkeys(case.prompts)], set_labels),
    )
    if len(case.prompts) > 1:
        st.selectbox(
            "Strike one label out",
            ["", *dict.fromkeys(case.prompts)],
            format_func=lambda label: f"without “{label}”" if label else "strike out: none",
            label_visibility="collapsed",
            width=170,
            help="Strike one label out, to see the maps without it.",
            **state.setting(own, "struck", struck),
        )
    st.selectbox(
        "Features of",
        METHOD_NAMES,
        format_func=method_title,
        label_visibility="collapsed",
        width=140,
        help="The method of the image features. Change the free method on Maps.",
        **state.widget("redundancy method", case.method_a, lambda case, name: replace(case, method_a=name)),
    )
    with st.popover("more", type="tertiary"):
        st.markdown(PAGE.look_for)
        st.markdown(READ)


def set_labels(case: Case, labels: list[str]) -> Case:
    """The case with another label set; blanks are joined, and empty or repeated labels are left out."""
    state.clear_problem("prompts")
    tidy = (" ".join(label.split())[:MAX_TEXT] for label in labels)
    return replace(case, prompts=tuple(dict.fromkeys(label for label in tidy if label)))


def _render_common(case: Case, found: Redundancy) -> None:
    """The map that all labels share, its share of the energy, and the channels that hold it."""
    common, share = found.map[0], 100 * found.share[0]
    note = f"mean {signed(common.mean())}, up to {signed(common.max())}"
    _render_map(case, "redundant feature, F·g", common, note, "cosine, off every map", "signed")
    note = f"mean {number(share.mean())} %, up to {number(share.max())} %\n{_say_share(case, found)}"
    _render_map(case, "share of energy", share, note, "% of the patch's energy", "positive")
    render_figure(figures.plot_channels(found, height=200), key="redundancy channels")


def _render_map(case: Case, title: str, values: np.ndarray, note: str, unit: str, scale: str) -> None:
    rows = (Row("", (Cell(title, values, note=note),)),)
    _render_view(case, MapView(_photo(case), rows, shared_limit([values]), unit, scale))


def _photo(case: Case) -> Photo:
    return photo_of(services.image(case))


def _render_view(case: Case, view: MapView) -> None:
    picture, mask, grid = services.image(case), services.region_mask(case), services.grid(case)
    outline = "" if mask is None else outline_path(mask, picture.rgb.shape[:2])
    view = replace(view, outline=outline, patch=case.patch)
    render_map_view(view, key=f"redundancy {view.unit}", on_event=lambda event: take_patch(event, grid))


def take_label(event: Mapping[str, Any], curve: int, labels: tuple[str, ...], width: int) -> None:
    """A click on point i of a trace strikes label i // width out, or puts it back."""
    index = events.picked_index(event, curve)
    if index is not None and index // width < len(labels):
        label = labels[index // width]
        shown = state.settings(RedundancySettings).struck
        state.adjust(RedundancySettings, struck="" if label == shown else label)


def _say_share(case: Case, found: Redundancy) -> str:
    whole = f"whole image (CLS) {number(100 * found.cls_share[0])} %"
    if case.patch is None:
        return whole
    row, column = case.patch
    return f"patch row {row}, column {column}: {number(100 * found.share[0, row, column])} %\n{whole}"


def _render_stages(case: Case, found: Redundancy, region: Region | None, struck: str) -> None:
    """A row a label with its class weight: the map before, after, and after without the label that is struck out."""
    before, after = (services.maps(case, case.method_a, surgery=on) for on in (False, True))
    columns = {"before surgery": before.patches, "after": after.patches}
    kept: dict[str, tuple[str, ...]] = {}
    if struck:
        rest, maps = results.without(case, struck)
        columns[title := f"without “{shorten(struck, 16)}”"] = maps.patches
        kept[title] = rest
        if len(rest) == 1:
            render_badge(
                "one label left", f"Only “{plain(rest[0])}” is left: the empty text stands for the redundancy."
            )
    rows, most = [], float(found.weights[0].max())
    for prompt in case.prompts:
        judged_by = region if is_judged(case, prompt) else None
        cells = [
            _stage(title, maps, kept.get(title, case.prompts), prompt, judged_by) for title, maps in columns.items()
        ]
        weight = float(found.weights[0, found.labels.index(prompt)])
        rows.append(Row(f"“{prompt}”", tuple(cells), share=Bar(prompt, weight / most, f"weight {number(weight)}")))
    limit, unit = shared_limit([*columns.values()]), _stages_unit(case)
    _render_view(case, MapView(_photo(case), tuple(rows), limit, unit, table=True, corner="class weight"))


def _stage(title: str, maps: np.ndarray, kept: tuple[str, ...], prompt: str, region: Region | None) -> Cell:
    """The map of a label in one column; `maps` (gh, gw, k) belong to `kept`."""
    if prompt not in kept:
        return Cell(title, error="struck out")
    values = maps[:, :, kept.index(prompt)]
    return Cell(title, values, note=region_note(values, region))


def _stages_unit(case: Case) -> str:
    return f"cosine; after: {'minus that of the empty text' if len(case.prompts) == 1 else 'times w, minus the mean'}"


def _render_alike(found: Redundancy) -> None:
    if len(found.labels) < 2:
        st.info("Add a second label to see how alike the maps are before and after.")
        return
    render_figure(figures.plot_correlation(found), key="redundancy correlation", stretch=len(found.labels) <= STRETCHED)
    before, after = map(figures.mean_correlation, (found.correlation_before[0], found.correlation_after[0]))
    st.caption(f"Mean of all pairs: {signed(before)} before, {signed(after)} after.")


def _render_effect(case: Case, struck: str) -> None:
    effect = results.effect(case)
    if effect is None:
        st.info(f"Add labels until there are {results.LEAST_LABELS} to see what each does to the maps of the others.")
        return
    labels, width = effect.changes, len(effect.labels)
    figure = figures.plot_effect(effect, struck)
    render_figure(
        figure,
        key="redundancy effect",
        on_event=lambda event: take_label(event, 1, labels, width),
        stretch=width <= STRETCHED,
    )
    with st.popover("as a table", type="tertiary"):
        st.dataframe(written(figures.effect_table(effect)), hide_index=True)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose figures are written as everywhere on the pages."""
    figures_of = table.select_dtypes("number").columns
    return table.assign(**{name: [signed(value) for value in table[name]] for name in figures_of})
