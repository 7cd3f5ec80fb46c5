"""The quiet line on top of every page: what lies on the table, part by part, each of which can be cleared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard import state
from dashboard.case import Case, describe_image, describe_model, describe_region
from dashboard.panels.history import render_history
from dashboard.panels.neighbours import render_neighbours
from dashboard.panels.texts import plain, shorten

Change = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the line: what it says, and what clearing it changes (None: it cannot be cleared)."""

    name: str
    text: str
    clear: Change | None = None


def case_parts(case: Case, image_name: str) -> list[Part]:
    """The parts of the line, in order. Pure.

    Args:
        case: any case.
        image_name: how the image is called.
    """
    parts = [Part("model", describe_model(case.model, case.weights)), Part("image", image_name)]
    for index, prompt in enumerate(case.prompts):
        rest = case.prompts[:index] + case.prompts[index + 1 :]
        parts.append(Part(f"prompt {index}", f"“{prompt}”", {"prompts": rest}))
    if case.region:
        parts.append(Part("region", f"region: {describe_region(case.region)}", {"region": ""}))
    if case.patch is not None:
        row, column = case.patch
        parts.append(Part("patch", f"patch row {row}, column {column}", {"patch": None}))
    if case.layer is not None:
        parts.append(Part("block", f"block {case.layer}", {"layer": None}))
    if case.head is not None:
        parts.append(Part("head", f"head {case.head}", {"head": None}))
    elif case.layer is not None:
        parts.append(Part("head", "mean of heads"))
    if case.removed:
        parts.append(Part("removal", f"without {' + '.join(case.removed)}", {"removed": ()}))
    if case.word is not None:
        parts.append(Part("word", f"word {case.word}", {"word": None}))
    return parts


def image_title(case: Case) -> str:
    """How the case's image is called, also where it is missing."""
    if case.upload is None:
        return describe_image(case.image)
    found = state.upload(case.upload)
    return f"missing image {case.upload[:8]}" if found is None else found.name


def render_case_line(case: Case) -> None:
    """Undo and redo, the parts, and a button in each that can be cleared."""
    render_history()
    render_neighbours(case)
    for part in case_parts(case, image_title(case)):
        text = plain(shorten(part.text, 36))
        if part.clear is None:
            st.markdown(f":small[{text}]", width="content")
        else:
            st.button(
                f"{text} ✕",
                key=f"clear {part.name}",
                type="tertiary",
                help=f"Clear this {part.name.split()[0]}",
                on_click=_clear(part.clear),
            )


def _clear(change: Change) -> Callable[[], None]:
    return lambda: state.update(**change)
