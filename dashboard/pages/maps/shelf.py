"""The shelf of the Maps page: pinned maps side by side on one scale, also of other models, images and settings."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from dashboard import events, services, state
from dashboard.case import CUSTOM, Case, Pin, case_of_pin, describe_method, describe_model, method_title
from dashboard.figures import shared_limit
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.page import guarded

LETTERS = "ABCDEF"

Group = tuple[str, tuple[int, int]]
"""What pins must share to lie over one photograph: image and grid."""


def render_shelf(case: Case) -> None:
    """The shelf below the grid."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Shelf", anchor=False, width="content")
        if case.pins:
            st.button("Clear the shelf", type="tertiary", on_click=lambda: state.update(pins=()))
    if case.pins:
        guarded(case, _render_pins)
    else:
        st.caption(
            "Empty. Point at a map and press its “pin” to keep it here while you change model, image or sliders."
        )


def _render_pins(case: Case) -> None:
    maps = [pinned_map(pin) for pin in case.pins]
    limit = shared_limit(maps)
    groups: dict[Group, list[int]] = {}
    for index, (pin, values) in enumerate(zip(case.pins, maps, strict=True)):
        groups.setdefault((pin.image, values.shape), []).append(index)
    for number, members in enumerate(groups.values(), start=1):
        cells = shelf_cells({i: (case.pins[i], maps[i]) for i in members})
        view = MapView(
            photo=photo_of(services.image(case_of_pin(case.pins[members[0]]))),
            rows=(Row("", tuple(cells)),),
            limit=limit,
            unit="cosine similarity",
            colour_bar=number == len(groups),
        )
        render_map_view(view, key=f"shelf {number}", on_event=partial(_take_event, members))


def pinned_map(pin: Pin) -> np.ndarray:
    """The values (gh, gw) of a pin, computed again from the caches."""
    return services.maps(case_of_pin(pin), pin.method).patches[:, :, pin.prompt]


def shelf_cells(pinned: Mapping[int, tuple[Pin, np.ndarray]]) -> list[Cell]:
    """Pinned maps of one image and grid, and after them the difference of the first two. Pure.

    Args:
        pinned: place on the shelf -> pin and its values; the place gives it its letter.
    """
    cells = []
    for place, (pin, values) in pinned.items():
        method = method_title(pin.method) if pin.method != CUSTOM else describe_method(pin.custom)
        surgery = " + feature surgery" if pin.feature_surgery else ""
        size = f" at {pin.size} px" if pin.size else ""
        note = f"{describe_model(pin.model, pin.weights)}{size}\n“{pin.prompts[pin.prompt]}”"
        cells.append(Cell(f"{LETTERS[place]} · {method}{surgery}", values, note=note, action="unpin"))
    if len(pinned) > 1:
        (a, (_, first)), (b, (_, second)) = list(pinned.items())[:2]
        cells.append(Cell(f"{LETTERS[a]} − {LETTERS[b]}", first - second))
    return cells


def _take_event(members: list[int], event: Mapping[str, Any]) -> None:
    pins = state.case().pins
    cell = events.picked_cell(event, 1, len(members))
    if cell is not None:
        state.update(pins=tuple(pin for index, pin in enumerate(pins) if index != members[cell[1]]))
