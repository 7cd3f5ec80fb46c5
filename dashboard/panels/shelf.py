"""The shelf of the Maps page: pinned maps side by side on one scale, also of other models, images and settings."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from dashboard import events, services, state
from dashboard.case import Case, Pin, case_of_pin, describe_method, describe_model, method_title
from dashboard.figures import shared_limit
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.page import guarded

Group = tuple[str, tuple[int, int]]
"""What pins must share to lie over one photograph: image and grid."""


def render_shelf(case: Case) -> None:
    """The shelf below the grid."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
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
    for number, members in enumerate(groups.values()):
        cells = shelf_cells([case.pins[i] for i in members], [maps[i] for i in members])
        view = MapView(
            photo=photo_of(services.image(case_of_pin(case.pins[members[0]]))),
            rows=(Row("", tuple(cells)),),
            limit=limit,
        )
        render_map_view(view, key=f"shelf {number}", on_event=partial(_take_event, members))


def pinned_map(pin: Pin) -> np.ndarray:
    """The values (gh, gw) of a pin, computed again from the caches."""
    return services.maps(case_of_pin(pin), pin.method).patches[:, :, pin.prompt]


def shelf_cells(pins: list[Pin], maps: list[np.ndarray]) -> list[Cell]:
    """Pinned maps of one image and grid, named A, B, ..., and A - B after them where there are two. Pure."""
    cells = []
    for letter, pin, values in zip("ABCDEFGH", pins, maps, strict=False):
        method = method_title(pin.method) if pin.method != "custom" else describe_method(pin.custom)
        surgery = " + feature surgery" if pin.feature_surgery else ""
        size = f" at {pin.size} px" if pin.size else ""
        note = f"{describe_model(pin.model, pin.weights)}{size}\n“{pin.prompts[pin.prompt]}”"
        cells.append(Cell(f"{letter} · {method}{surgery}", values, note=note, action="unpin"))
    if len(maps) > 1:
        cells.append(Cell("A − B", maps[0] - maps[1], note="first minus second"))
    return cells


def _take_event(members: list[int], event: Mapping[str, Any]) -> None:
    pins = state.case().pins
    cell = events.picked_cell(event, 1, len(members))
    if cell is not None:
        state.update(pins=tuple(pin for index, pin in enumerate(pins) if index != members[cell[1]]))
