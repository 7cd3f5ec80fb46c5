"""The session: one `View` (the case and each page's settings), the files a visitor brought, and how widgets are tied.

Panels read `state.case()` and change it with `state.update(...)` inside a callback; they never talk to each other. A
page reads its own settings with `state.settings(FlipSettings)` and changes them with `state.adjust(...)`.

    case = state.case()
    tie = state.widget("layer", case.layer or 0, lambda case, value: replace(case, layer=value))
    st.slider("Block", 0, 11, **tie)

`widget` shows the case's value, also after it was changed elsewhere, and writes it back; `setting` does the same for a
field of a page's settings. They take the place of `value=`, `key=` and `on_change=`. Callbacks run before the script,
so that one run of the page always sees one case.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from dashboard.address import Opening, from_query, to_query
from dashboard.case import Case
from dashboard.settings import S, Settings, View
from data.images import LoadedImage

VIEW, UPLOADS, MASKS, IGNORED, ALLOWED = "view", "uploads", "masks", "ignored_parameters", "allowed_downloads"
PROBLEMS = "problems"
"""All session keys besides those of widgets."""

WIDGET = "widget:"
OWN: Any = object()
"""Stands for a field's own value."""
MAX_UPLOADS = 4


def start(opening: Opening) -> None:
    """Reads the address in the first run of a session.

    Args:
        opening: gives the case for what the address does not say.
    """
    session = st.session_state
    if VIEW not in session:
        session[VIEW], session[IGNORED] = from_query(_address(), opening)
        session[UPLOADS], session[MASKS], session[ALLOWED], session[PROBLEMS] = {}, {}, frozenset(), {}


def view() -> View:
    """All that this session shows."""
    return st.session_state[VIEW]


def case() -> Case:
    """The case of this session."""
    return view().case


def settings(kind: type[S]) -> S:
    """A page's own settings."""
    return view().of(kind)


def update(**changes: Any) -> None:
    """Replaces fields of the case. Call it in a callback, or before `st.rerun()`."""
    replace_case(replace(case(), **changes))


def adjust(kind: type[Settings], **changes: Any) -> None:
    """Replaces fields of a page's settings. Call it in a callback, or before `st.rerun()`."""
    st.session_state[VIEW] = view().having(replace(settings(kind), **changes))


def replace_case(new: Case) -> None:
    """Replaces the whole case; what pages have set for an image that is leaving goes with it."""
    found = view().settings
    kept = found if new.image == case().image else tuple(own.of_new_image() for own in found)
    st.session_state[VIEW] = View(new, kept)


def fit_settings(grid: tuple[int, int]) -> bool:
    """Drops from all settings what has no meaning on this grid; whether there was something to drop."""
    fitted = View(case(), tuple(own.fitted(grid) for own in view().settings))
    changed = fitted != view()
    st.session_state[VIEW] = fitted
    return changed


def write_address() -> None:
    """Brings the address bar in step with the case."""
    wanted = to_query(view())
    if wanted != _address():
        st.query_params.from_dict(wanted)


def _address() -> dict[str, list[str]]:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def widget(name: str, value: Any, apply: Callable[[Case, Any], Case]) -> dict[str, Any]:
    """Keyword arguments that tie a widget to the case.

    Args:
        name: unique on the page.
        value: what the widget shows, taken from the case; one of the widget's options.
        apply: (case, new value of the widget) -> new case.
    """
    return _tied(name, value, lambda new: replace_case(apply(case(), new)))


def setting(
    shown: Settings, field: str, value: Any = OWN, read: Callable[[Any], Any] = lambda new: new
) -> dict[str, Any]:
    """Keyword arguments that tie a widget to one field of a page's settings.

    Args:
        shown: the settings that the page shows.
        field: name of the field; a field has one widget on its page.
        value: what the widget shows, where that is not the field's own value.
        read: what the widget says -> value of the field.
    """
    kind = type(shown)
    value = getattr(shown, field) if value is OWN else value
    return _tied(f"{kind.PAGE} {field}", value, lambda new: adjust(kind, **{field: read(new)}))


def _tied(name: str, value: Any, write: Callable[[Any], None]) -> dict[str, Any]:
    key = WIDGET + name
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value
    return {"key": key, "on_change": lambda: write(st.session_state[key])}


def remember_upload(image: LoadedImage) -> None:
    """Keeps an uploaded image for this session; the oldest of more than `MAX_UPLOADS` is forgotten."""
    _remember(UPLOADS, image.sha256, image)


def upload(sha256: str) -> LoadedImage | None:
    """An image that was uploaded in this session."""
    return st.session_state[UPLOADS].get(sha256)


def remember_mask(sha256: str, labels: np.ndarray) -> None:
    """Keeps an uploaded mask, (H, W) integers, for this session."""
    _remember(MASKS, sha256, labels)


def mask(sha256: str) -> np.ndarray | None:
    """A mask that was uploaded in this session."""
    return st.session_state[MASKS].get(sha256)


def _remember(store: str, key: str, value: Any) -> None:
    kept = st.session_state[store]
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > MAX_UPLOADS:
        del kept[next(iter(kept))]


def set_problem(name: str, entered: str, message: str) -> None:
    """Keeps what was entered in a field and cannot be used, so that it can be shown and mended."""
    st.session_state[PROBLEMS][name] = (entered, message)


def clear_problem(name: str) -> None:
    """The field is in order."""
    st.session_state[PROBLEMS].pop(name, None)


def problem(name: str) -> tuple[str, str] | None:
    """(what was entered, what is wrong with it), or None."""
    return st.session_state[PROBLEMS].get(name)


def ignored_parameters() -> list[str]:
    """Parameters of the address that were not understood, told once."""
    ignored, st.session_state[IGNORED] = st.session_state[IGNORED], []
    return ignored


def allow_download(model: str, weights: str) -> None:
    """The visitor agreed to download these weights."""
    st.session_state[ALLOWED] |= {(model, weights)}


def forbid_download(model: str, weights: str) -> None:
    """The visitor has stopped the download of these weights."""
    st.session_state[ALLOWED] -= {(model, weights)}


def download_allowed(model: str, weights: str) -> bool:
    """Whether the visitor agreed to download these weights."""
    return (model, weights) in st.session_state[ALLOWED]
