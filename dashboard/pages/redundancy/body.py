"""The Redundancy page: what all labels have in common, and what the set of labels does to every map."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from analysis.redundancy import Redundancy
from analysis.regions import Region
from dashboard import events, services, state
from dashboard.address import MAX_PROMPTS
from dashboard.case import METHOD_NAMES, Case, describe_method, is_judged, method_title
from dashboard.fields import MAX_TEXT
from dashboard.figures import redundancy as figures
from dashboard.figures import shared_limit
from dashboard.pages.redundancy import results
from dashboard.pages.redundancy.exports import redundancy_exports
from dashboard.pages.redundancy.settings import RedundancySettings
from dashboard.panels.chart import render_figure
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.panels.page import Exports
from dashboard.panels.texts import plain
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

EMPTY_TEXT = (
    "**One label has nothing in common with others**, so the empty text stands for the redundancy, as published for a "
    "single label. Add a second label above to compare maps."
)


def render_redundancy(case: Case, own: RedundancySettings) -> Exports:
    """The label set, what is common, the maps before and after, how alike they are, and one label left out."""
    struck = results.struck_label(case, own)
    _render_controls(case, own, struck)
    found, region = results.redundancy(case), services.region(case)
    if found.common == "given text":
        st.info(EMPTY_TEXT, icon=":material/info:")
    _render_common(case, found, struck)
    _render_stages(case, region, struck)
    _render_alike(found)
    _render_effect(case, struck)
    return redundancy_exports(case, own, found, results.effect(case))


def _render_controls(case: Case, own: RedundancySettings, struck: str) -> None:
    labels, method = st.columns([3, 1], gap="medium", vertical_alignment="top")
    sample = services.sample(case)
    offered = dict.fromkeys((*case.prompts, *(sample.prompts if sample else ()), *(sample.masks if sample else ())))
    labels.multiselect(
        "Label set: remove with ×, or type a new label and press Enter",
        [*offered],
        accept_new_options=True,
        max_selections=MAX_PROMPTS,
        placeholder="Add a label, such as: grass",
        **state.widget("redundancy labels", [*dict.fromkeys(case.prompts)], set_labels),
    )
    method.selectbox(
        "Features of",
        METHOD_NAMES,
        format_func=method_title,
        help="The method of the image features. Change the free method on Maps.",
        **state.widget("redundancy method", case.method_a, lambda case, name: replace(case, method_a=name)),
    )
    if len(case.prompts) > 1:
        st.pills(
            "Strike one label out, to see the maps without it",
            [*dict.fromkeys(case.prompts)],
            format_func=plain,
            **state.setting(own, "struck", struck or None, lambda label: label or ""),
        )


def set_labels(case: Case, labels: list[str]) -> Case:
    """The case with another label set; blanks are joined, and empty or repeated labels are left out."""
    state.clear_problem("prompts")
    tidy = (" ".join(label.split())[:MAX_TEXT] for label in labels)
    return replace(case, prompts=tuple(dict.fromkeys(label for label in tidy if label)))


def _render_common(case: Case, found: Redundancy, struck: str) -> None:
    common, share, weights = st.columns([1, 1, 1.25], gap="medium")
    with common:
        st.markdown("**Redundant feature**, F·g")
        _render_map(case, found.map[0], "cosine, taken off every label's map", "{:+.3f}", "signed")
        st.caption("It is part of every label's map: what it lights up says nothing about a label.")
    with share:
        with_what = "all labels have in common" if len(found.labels) > 1 else "is shared with the empty text"
        st.markdown(f"**Share of energy** that {with_what}")
        _render_map(case, 100 * found.share[0], "% of the patch's energy", "{:.0f} %", "positive")
        st.caption(_say_share(case, found))
    with weights:
        labels = found.labels
        height = max(230, min(640, 110 + 30 * len(labels)))
        render_figure(
            figures.plot_weights(found, struck, height),
            key="redundancy weights",
            on_event=lambda event: take_label(event, 0, labels, 1),
        )
        if len(labels) > 1:
            st.caption("Labels above 1 weigh more in what is taken away. Click a bar to strike its label out.")


def _render_map(case: Case, values: np.ndarray, unit: str, number: str, scale: str) -> None:
    note = f"mean {number.format(values.mean())}, up to {number.format(values.max())}".replace("-", "−")
    _render_view(case, (Row("", (Cell("", values, note=note),)),), shared_limit([values]), unit, scale)


def _render_view(case: Case, rows: tuple[Row, ...], limit: float, unit: str, scale: str = "signed") -> None:
    picture, mask = services.image(case), services.region_mask(case)
    outline = "" if mask is None else outline_path(mask, picture.rgb.shape[:2])
    view = MapView(photo_of(picture), rows, limit, unit, scale, outline=outline, patch=case.patch)
    grid = services.grid(case)
    render_map_view(view, key=f"redundancy {unit}", on_event=lambda event: take_patch(event, grid))


def take_label(event: Mapping[str, Any], curve: int, labels: tuple[str, ...], width: int) -> None:
    """A click on point i of a trace strikes label i // width out, or puts it back."""
    index = events.picked_index(event, curve)
    if index is not None and index // width < len(labels):
        label = labels[index // width]
        shown = state.settings(RedundancySettings).struck
        state.adjust(RedundancySettings, struck="" if label == shown else label)


def _say_share(case: Case, found: Redundancy) -> str:
    whole = f"The whole image (CLS): {100 * found.cls_share[0]:.0f} %."
    if case.patch is None:
        return f"{whole} Click a patch to read its own."
    row, column = case.patch
    return f"Patch row {row}, column {column}: {100 * found.share[0, row, column]:.0f} %. {whole}"


def _render_stages(case: Case, region: Region | None, struck: str) -> None:
    before, after = (services.maps(case, case.method_a, surgery=on) for on in (False, True))
    shown = [before.patches, after.patches]
    title = method_title(case.method_a)
    hint = describe_method(before.method)
    rows = [
        Row(f"{title}, before feature surgery", _cells(case, before.patches, region, hint)),
        Row(f"{title}, after feature surgery", _cells(case, after.patches, region, hint)),
    ]
    if struck:
        rest, maps = results.without(case, struck)
        shown.append(maps.patches)
        rows.append(Row(f"{title}, after, without “{struck}”", _cells(case, maps.patches, region, hint, rest)))
    st.markdown("**Before and after**, one map a label, all on one scale")
    _render_view(case, tuple(rows), shared_limit(shown), _stages_unit(case))
    if len(case.prompts) > 1:
        st.caption(
            "After surgery only what sets a label apart is left. Strike a label out to see what it did to the others."
        )
    else:
        st.caption("After surgery only what sets the label apart from the empty text is left.")
    if struck and len(rest) == 1:
        st.caption(f"Only “{plain(rest[0])}” is left: the empty text stands for the redundancy.")


def _stages_unit(case: Case) -> str:
    return f"cosine; after: {'minus that of the empty text' if len(case.prompts) == 1 else 'times w, minus the mean'}"


def _cells(
    case: Case, maps: np.ndarray, region: Region | None, hint: str, kept: tuple[str, ...] | None = None
) -> tuple[Cell, ...]:
    """A cell a label; `maps` (gh, gw, k) belong to `kept`, or to all."""
    cells = []
    for prompt in case.prompts:
        if kept is not None and prompt not in kept:
            cells.append(Cell(f"“{prompt}”", error="struck out"))
            continue
        values = maps[:, :, (kept or case.prompts).index(prompt)]
        note = region_note(values, region if is_judged(case, prompt) else None)
        cells.append(Cell(f"“{prompt}”", values, note=note, hint=hint))
    return tuple(cells)


def _render_alike(found: Redundancy) -> None:
    correlation, channels = st.columns([1.5, 1], gap="medium")
    with correlation:
        if len(found.labels) > 1:
            figure = figures.plot_correlation(found)
            render_figure(figure, key="redundancy correlation")
            before, after = map(figures.mean_correlation, (found.correlation_before[0], found.correlation_after[0]))
            text = f"Mean of all pairs: {before:+.2f} before, {after:+.2f} after. Do maps that were alike move apart?"
            st.caption(text.replace("-", "−"))
        else:
            st.info("Add a second label to see how alike the maps are before and after.")
    with channels:
        render_figure(figures.plot_channels(found), key="redundancy channels")
        st.caption("Do a few channels, strong whatever the label, hold most of what is redundant?")


def _render_effect(case: Case, struck: str) -> None:
    effect = results.effect(case)
    if effect is None:
        st.info(f"Add labels until there are {results.LEAST_LABELS} to see what each does to the maps of the others.")
        return
    labels = effect.changes
    figure = figures.plot_effect(effect, struck)
    width = len(effect.labels)
    table, words = st.columns([1.5, 1], gap="medium")
    with table:
        render_figure(figure, key="redundancy effect", on_event=lambda event: take_label(event, 1, labels, width))
        st.caption("Read a row: without this label, how far does each map move? Click it to strike the label out.")
    with words:
        numbers = {
            "mean change": st.column_config.NumberColumn(format="%.3f"),
            "least r": st.column_config.NumberColumn(
                format="%.2f", help="Least correlation of a map with itself before."
            ),
            "contrast change": st.column_config.NumberColumn(format="%+.3f", help="Mean over the labels that stay."),
        }
        st.dataframe(figures.effect_table(effect), hide_index=True, column_config=numbers)
