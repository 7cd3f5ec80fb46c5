"""The drawer of pins: cases kept from any page, named, noted, put in order, saved as one file and brought back.

It opens from the navigation's line and takes no height of a page. Nothing in it is computed before it is open.
"""

from collections.abc import Callable

import streamlit as st

from dashboard import catalogue, pins, services, state
from dashboard.case import (
    MAX_NAME,
    MAX_NOTE,
    MAX_PINS,
    METHOD_NAMES,
    PLACES,
    Case,
    Pin,
    case_of_pin,
    is_judged,
    method_title,
    pin_of,
)
from dashboard.jobs import Stopped
from dashboard.panels.case import image_title
from dashboard.panels.notes import region_note
from dashboard.panels.texts import in_visitors_words, plain, shorten
from dashboard.pinned import PinnedMap, pinned_map

COMPARE = "dashboard/pages/compare/compare.py"
FILE = "pins file"
METHOD = "pin method"
NOT_HERE = (services.MissingImage, catalogue.DownloadNeeded, ValueError, OSError)


def render_drawer(case: Case) -> None:
    """The button, with the number of pins, and the drawer behind it."""
    with st.container(horizontal=True, width="content", gap=None, vertical_alignment="center", key="pins"):
        drawer = st.popover("pins", type="tertiary", key="drawer", on_change="rerun")
        if case.pins:
            st.markdown(f":small[{len(case.pins)}]", width="content")
    if drawer.open:
        with drawer, st.container(key="drawer-body", gap="small"):
            _render_head(case)
            for place, pin in enumerate(case.pins):
                _render_pin(case, place, pin)
            _render_foot(case)


def pin_cell(case: Case, prompt: int, method: str) -> None:
    """Pins one map of the case, with what should light up under its prompt. Call it in a callback."""
    text, sample = case.prompts[prompt], services.sample(case)
    own = f"object:{text}" if sample is not None and text in sample.masks else None
    region = own if case.region and not is_judged(case, text) else None
    state.replace_case(pins.add_pin(case, pin_of(case, prompt, method, region)))


def why_not(error: Exception) -> str:
    """Why a pin cannot be shown, in one line. Pure."""
    if isinstance(error, services.MissingImage):
        return "its uploaded image is not here, or not any more: upload the file again"
    if isinstance(error, catalogue.DownloadNeeded):
        return f"its weights are not on this machine; open it to download them. {error.size}"
    return in_visitors_words(str(error))


def _render_head(case: Case) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        full = len(case.pins) >= MAX_PINS
        st.selectbox(
            "Method to pin",
            METHOD_NAMES,
            format_func=method_title,
            label_visibility="collapsed",
            width=150,
            key=METHOD,
        )
        st.button(
            "Pin this view",
            icon=":material/keep:",
            disabled=full,
            on_click=_pin_view,
            help=f"The drawer is full: it holds {MAX_PINS}." if full else "The text under examination by this method.",
        )
        st.page_link(COMPARE, label="Compare", icon=":material/compare:", width="content")
    if state.problem(METHOD):
        st.error(plain(in_visitors_words(state.problem(METHOD)[1])))
    if not case.pins:
        st.caption(
            "Nothing is pinned. A pin keeps model, image, prompt, method and region; two of them can be compared."
        )


def _pin_view() -> None:
    state.clear_problem(METHOD)
    try:
        state.replace_case(pins.add_pin(state.case(), pins.live_pin(state.case(), st.session_state[METHOD])))
    except ValueError as error:
        state.set_problem(METHOD, "", str(error))


def _render_pin(case: Case, place: int, pin: Pin) -> None:
    found, problem = _look_up(pin)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"pin-{PLACES[place]}"):
        source = f'<img src="{found.thumbnail}" alt="">' if found else '<span class="none"></span>'
        st.html(f'<div class="thumbnail"><b>{PLACES[place]}</b>{source}</div>', width="content")
        with st.container(gap=None, width=205):
            st.markdown(f":small[{plain(pins.describe_pin(pin, shorten(image_title(case_of_pin(pin)))))}]")
            st.markdown(f":small[**{plain(_figures(found))}**]" if found else f":small[{plain(shorten(problem, 160))}]")
        with st.container(gap=None, width=140):
            for field, limit in (("name", MAX_NAME), ("note", MAX_NOTE)):
                st.text_input(
                    f"{field} of pin {PLACES[place]}",
                    max_chars=limit,
                    placeholder=field,
                    label_visibility="collapsed",
                    **state.tied(f"pin {place} {field}", getattr(pin, field), _renamed(place, field)),
                )
        _render_buttons(case, place)


def _look_up(pin: Pin) -> tuple[PinnedMap | None, str]:
    try:
        return pinned_map(pin), ""
    except NOT_HERE as error:
        return None, why_not(error)
    except Stopped:
        return None, "stopped"


def _figures(found: PinnedMap) -> str:
    return region_note(found.values, found.region).replace("\n", " · ")


def _renamed(place: int, field: str) -> Callable[[str], None]:
    return lambda text: state.replace_case(pins.renamed_pin(state.case(), place, **{field: text}))


def _render_buttons(case: Case, place: int) -> None:
    number = PLACES[place]
    chosen = pins.slots(case)
    with st.container(horizontal=True, gap=None, width="content", key=f"pin-buttons-{number}"):
        for side, letter in enumerate("AB"):
            st.button(
                letter,
                key=f"pin {place} {letter}",
                type="primary" if chosen[side] == number else "secondary",
                on_click=_choose,
                args=(side, number),
                help=f"Case {letter} of the page Compare is pin {number}",
            )
        acts = (
            ("arrow_upward", "Earlier", lambda: pins.moved_pin(state.case(), place, -1), place == 0),
            ("arrow_downward", "Later", lambda: pins.moved_pin(state.case(), place, 1), place == len(case.pins) - 1),
            ("open_in_full", "Put this case on the table", lambda: pins.opened(state.case(), PLACES[place]), False),
            ("close", "Take it out of the drawer", lambda: pins.without_pin(state.case(), place), False),
        )
        for icon, help, act, disabled in acts:
            st.button(
                f":material/{icon}:",
                key=f"pin {place} {icon}",
                type="tertiary",
                disabled=disabled,
                on_click=lambda act=act: state.replace_case(act()),
                help=f"{help}: pin {number}",
            )


def _choose(side: int, number: str) -> None:
    state.replace_case(pins.chosen_for(state.case(), side, number))


def _render_foot(case: Case) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="drawer-foot"):
        kept = case.pins
        st.download_button(
            "Save as a file",
            lambda: pins.write_pins(kept),
            "pins.json",
            disabled=not kept,
            on_click="ignore",
            icon=":material/download:",
            key="save pins",
        )
        st.button(
            "Clear the drawer",
            disabled=not kept,
            type="tertiary",
            on_click=lambda: state.update(pins=(), pair=pins.DEFAULT_PAIR),
            help="Undo brings the pins back.",
        )
    st.file_uploader("Bring back a file of pins", type=["json"], key=FILE, on_change=_bring_back)
    problem = state.problem(FILE)
    if problem is not None:
        st.error(f"{plain(in_visitors_words(problem[1]))}\n\nThe drawer stays as it was.")


def _bring_back() -> None:
    state.clear_problem(FILE)
    file = st.session_state[FILE]
    if file is None:
        return
    try:
        state.replace_case(pins.brought_back(state.case(), pins.read_pins(file.getvalue())))
    except ValueError as error:
        state.set_problem(FILE, file.name, str(error))
