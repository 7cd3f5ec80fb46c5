"""The Compare page: two cases in one window, their maps and the difference, figures, lenses, blame against blame."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from dashboard import events, pins, services, state
from dashboard.case import METHOD_NAMES, PLACES, Case, Pin, case_of_pin, describe_method, method_title
from dashboard.figures import shared_limit
from dashboard.figures.compare import plot_blames, plot_lenses
from dashboard.pages.compare import PAGE, results
from dashboard.pages.compare.exports import compare_exports
from dashboard.pages.compare.settings import CompareSettings, patch_at, place_of
from dashboard.pages.compare.table import figure_rows
from dashboard.panels.case import image_title
from dashboard.panels.chart import render_figure
from dashboard.panels.drawer import NOT_HERE, why_not
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note
from dashboard.panels.page import Exports
from dashboard.panels.texts import plain, shorten
from dashboard.regions import outline_path

UNITS = {"cosine": "cosine similarity", "feature surgery": "cosine similarity after feature surgery"}

HELP = """
**Two cases** are chosen at the top: pins of the drawer, or the view on the table by any method. Pin a case from any
page with *pins*, or a single map with its *pin* button on Maps; change model, image, prompt or method, and pin again.
The address holds the pins, so a link shows the same comparison.

**A − B** is taken patch by patch, where both maps have the same unit and the same grid of patches; all three maps then
share one scale. Images may differ: then it says how the same place of the picture changed.

**Lens** and **blame** are those of the page Flip, see its help. Both need a region. The diamond at the end of a lens is
the map that the case shows: methods other than CLIP leave the original path in the last blocks. Blame is that of the
case's own method, before feature surgery.

**Matching**: networks of the same shape are compared head by head, networks of as many blocks by block, others by share
of the depth; terms of blocks that fall together are summed, so that the dots of a case add up to its contrast.
"""


def render_compare(case: Case, own: CompareSettings) -> Exports:
    """Headline with the choice of cases, maps and figures on the left, lens and blame on the right."""
    headline = st.container(horizontal=True, vertical_alignment="center", key="headline")
    slots = pins.slots(case)
    with headline:
        line = st.container(width="stretch")
        _render_choice(case, slots)
    chosen = [pins.pin_in(case, slot) for slot in slots]
    with line:
        _render_line(pins.differences(*chosen, _image_name))
    sides = _sides(case, slots, chosen)
    if sides is None:
        return Exports()
    left, right = st.columns([1.5, 1], gap="medium")
    with left:
        _render_maps(own, sides)
        _render_table(own, sides)
    with right:
        _render_depth(own, sides)
    return compare_exports(own, sides)


def _image_name(image: str) -> str:
    return image_title(Case(image=image))


def _render_line(words: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"## {plain(shorten(words, 110))}", width="content", help=plain(words))
        with st.popover("more", type="tertiary"):
            st.markdown(plain(words))
            st.markdown(PAGE.look_for)


def _render_choice(case: Case, slots: Sequence[str]) -> None:
    """A select box a side, and a button that changes the sides."""
    options = [*PLACES[: len(case.pins)], *METHOD_NAMES]
    for side, letter in enumerate("AB"):
        st.markdown(f"**{letter}**", width="content")
        st.selectbox(
            letter,
            options,
            format_func=partial(_slot_title, case),
            label_visibility="collapsed",
            width=185,
            help=f"Case {letter}: a pin of the drawer, or the view on the table by one of the methods.",
            **state.widget(f"compare {letter}", slots[side], partial(_chosen_for, side)),
        )
        if side == 0:
            st.button(
                ":material/swap_horiz:",
                type="tertiary",
                on_click=lambda: state.update(pair=pins.slots(state.case())[::-1]),
                help="Swap A and B",
                key="compare-swap",
            )


def _chosen_for(side: int, case: Case, slot: str) -> Case:
    return pins.chosen_for(case, side, slot)


def _slot_title(case: Case, slot: str) -> str:
    if slot in METHOD_NAMES:
        return f"this view · {method_title(slot)}"
    pin = case.pins[PLACES.index(slot)]
    return f"{slot} · {shorten(pin.name or pins.describe_pin(pin, _image_name(pin.image)), 60)}"


def _sides(case: Case, slots: Sequence[str], chosen: Sequence[Pin]) -> list[results.Side] | None:
    """Both cases with all that is shown of them; None where one cannot be shown, which is said with a way out."""
    sides = []
    for letter, slot, pin in zip("AB", slots, chosen, strict=True):
        try:
            sides.append(results.side_of(letter, _slot_title(case, slot), pin))
        except NOT_HERE as error:
            st.error(f"{letter} cannot be shown: {plain(why_not(error))}")
            st.button(
                f"Put {letter} on the table",
                key=f"open {letter}",
                on_click=lambda slot=slot: state.replace_case(pins.opened(state.case(), slot)),
                help="Then choose the page Maps: it offers what is missing.",
            )
    return sides if len(sides) == 2 else None


def _render_maps(own: CompareSettings, sides: Sequence[results.Side]) -> None:
    problem = results.why_no_difference(*sides)
    columns = st.columns(3, gap="small")
    views = map_views(own, sides)
    for column, letter, view in zip(columns, ("A", "B", "A−B"), views, strict=False):
        with column:
            grid = view.rows[0].cells[0].values.shape
            render_map_view(view, key=f"compare {letter}", on_event=partial(_take_event, grid))
    if problem:
        with columns[2]:
            st.info(plain(problem))


def map_views(own: CompareSettings, sides: Sequence[results.Side]) -> list[MapView]:
    """The maps of both cases and, where there is one, their difference; on one scale where they have one unit."""
    values = [side.found.values for side in sides]
    if not results.why_no_difference(*sides):
        values.append(values[0] - values[1])
    one_unit = sides[0].found.unit == sides[1].found.unit
    limits = [shared_limit(values)] * len(values) if one_unit else [shared_limit([found]) for found in values]
    titles = pins.what_differs(sides[0].pin, sides[1].pin, _image_name)
    views = []
    for index, (found, limit) in enumerate(zip(values, limits, strict=True)):
        side = sides[0] if index == 2 else sides[index]
        title = "A − B" if index == 2 else f"{side.letter} · {titles[index]}"
        hint = "" if index == 2 else pins.describe_pin(side.pin, _image_name(side.pin.image))
        alike = index < 2 or (sides[0].pin.image, sides[0].pin.region) == (sides[1].pin.image, sides[1].pin.region)
        note = region_note(found, side.found.region if alike else None)
        cell = Cell(title, found, note=note, hint=hint)
        views.append(_view(own, side, cell, limit, colour_bar=index == 0 or not one_unit))
    return views


def _view(own: CompareSettings, side: results.Side, cell: Cell, limit: float, colour_bar: bool) -> MapView:
    case = case_of_pin(side.pin)
    picture, mask = services.image(case), services.region_mask(case)
    return MapView(
        photo=photo_of(picture),
        rows=(Row("", (cell,)),),
        limit=limit,
        unit=UNITS[side.found.unit],
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=patch_at(own.place, cell.values.shape),
        colour_bar=colour_bar,
        wide=True,
        link="compare",
    )


def _take_event(grid: tuple[int, int], event: Mapping[str, Any]) -> None:
    patch = events.picked_patch(event, grid)
    if patch is not None:
        state.adjust(CompareSettings, place=place_of(patch, grid))


def _render_table(own: CompareSettings, sides: Sequence[results.Side]) -> None:
    lines = ["| | A | B | A − B |", "|:--|--:|--:|--:|"]
    lines += [f"| {' | '.join(plain(cell) for cell in row)} |" for row in figure_rows(own, sides)]
    with st.container(key="compare-table"):
        st.markdown("\n".join(lines))
    st.caption("  \n".join(_details(side) for side in sides))


def _details(side: results.Side) -> str:
    pin, method = side.pin, describe_method(side.found.method)
    return f"{side.letter}: {plain(pins.describe_pin(pin, _image_name(pin.image)))} ({plain(method)})"


def _render_depth(own: CompareSettings, sides: Sequence[results.Side]) -> None:
    problem = results.missing_regions(sides)
    if problem:
        st.info(problem)
        return
    matched = results.match(sides[0].depth, sides[1].depth)
    with st.container(key="window-compare"):
        ends = [side.found.reading.contrast if side.found.unit == "cosine" else np.nan for side in sides]
        render_figure(plot_lenses([side.depth.lens for side in sides], ends), key="compare lenses", stretch=True)
        figure = plot_blames(matched.labels, matched.kinds, matched.first, matched.second, own.component)
        take = partial(_take_component, matched.labels)
        render_figure(figure, key="compare blames", on_event=take, stretch=True)
        if matched.note:
            st.caption(matched.note)


def _take_component(labels: Sequence[str], event: Mapping[str, Any]) -> None:
    index = events.picked_index(event, 0)
    if index is not None and index < len(labels):
        state.adjust(CompareSettings, component=labels[index])
