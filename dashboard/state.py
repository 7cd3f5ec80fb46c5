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

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from dashboard import uploads
from dashboard.address import Opening, from_query, to_query
from dashboard.case import Case, case_of_pin
from dashboard.history import History
from dashboard.settings import S, Settings, View
from data.images import LoadedImage, decode_mask, load_image

VIEW, UPLOADS, MASKS, IGNORED, ALLOWED = "view", "uploads", "masks", "ignored_parameters", "allowed_downloads"
PROBLEMS, STOPPED, FIXED, DRAWING = "problems", "stopped", "fixed_labels", "drawing"
SEEN, HISTORY, WRITTEN, NOTES = "seen_view", "history", "written_address", "notes"
"""All session keys besides those of widgets."""

WIDGET = "widget:"
T = TypeVar("T")
Given = Mapping[str, Any] | None
OWN: Any = object()
"""Stands for a field's own value."""
MAX_UPLOADS = 4


def start(opening: Opening) -> None:
    """Reads the address in the first run of a session, and again where Back or Forward has changed it since.

    Args:
        opening: gives the case for what the address does not say.
    """
    session, address = st.session_state, _address()
    if VIEW not in session:
        session[VIEW], session[IGNORED] = from_query(address, opening)
        session[UPLOADS], session[MASKS], session[ALLOWED], session[PROBLEMS] = {}, {}, frozenset(), {}
        session[SEEN], session[HISTORY], session[NOTES] = session[VIEW], History(), {}
    elif address not in ({}, session[WRITTEN]) and session[VIEW] == session[SEEN]:
        session[VIEW], session[IGNORED] = from_query(address, opening)
    session[HISTORY] = session[HISTORY].step(session[SEEN], session[VIEW])
    session[SEEN] = session[VIEW]


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


def settle(new: Case, grid: tuple[int, int]) -> bool:
    """Replaces the case by what fits the model and image at hand, and drops from all settings what does not.

    It is no step of the history, since it would be taken again at once.

    Args:
        new: the fitted case.
        grid: rows and columns of patches.

    Returns:
        Whether there was something to change.
    """
    fitted = View(new, tuple(own.fitted(grid) for own in view().settings))
    changed = fitted != view()
    st.session_state[VIEW] = st.session_state[SEEN] = fitted
    return changed


def undo() -> None:
    """Goes back to the view before this one. Call it in a callback."""
    _go(History.undo)


def redo() -> None:
    """Goes to the view that was undone last. Call it in a callback."""
    _go(History.redo)


def _go(step: Callable[[History[View], View], tuple[View, History[View]]]) -> None:
    session = st.session_state
    session[VIEW], session[HISTORY] = step(session[HISTORY], view())
    session[SEEN] = session[VIEW]
    session[PROBLEMS] = {}


def history() -> History[View]:
    """The views of this session before and after the present one."""
    return st.session_state[HISTORY]


def stop_case() -> None:
    """The visitor does not want to wait for what this case takes."""
    st.session_state[STOPPED] = _costly(case())


def is_stopped() -> bool:
    """Whether the visitor has stopped what this case takes; another model, image or size is another matter."""
    return st.session_state.get(STOPPED) == _costly(case())


def go_on() -> None:
    """The visitor wants it after all."""
    st.session_state.pop(STOPPED, None)


def _costly(case: Case) -> tuple[object, ...]:
    return case.model, case.weights, case.image, case.size, case.fit


def write_address() -> None:
    """Brings the address bar in step with the case."""
    wanted = to_query(view())
    if wanted != _address():
        st.query_params.from_dict(wanted)
    st.session_state[WRITTEN] = wanted


def _address() -> dict[str, list[str]]:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def widget(name: str, value: Any, apply: Callable[[Case, Any], Case], given: Given = None) -> dict[str, Any]:
    """Keyword arguments that tie a widget to the case.

    Args:
        name, value, given: as in `tied`; `value` is taken from the case.
        apply: (case, new value of the widget) -> new case.
    """
    return tied(name, value, lambda new: replace_case(apply(case(), new)), given)


def setting(
    shown: Settings, field: str, value: Any = OWN, read: Callable[[Any], Any] = lambda new: new, given: Given = None
) -> dict[str, Any]:
    """Keyword arguments that tie a widget to one field of a page's settings.

    Args:
        shown: the settings that the page shows.
        field: name of the field; a field has one widget on its page.
        value: what the widget shows, where that is not the field's own value.
        read: what the widget says -> value of the field.
        given: of a widget in a popover, see `tied`.
    """
    kind = type(shown)
    value = getattr(shown, field) if value is OWN else value
    return tied(f"{kind.PAGE} {field}", value, lambda new: adjust(kind, **{field: read(new)}), given)


def tied(name: str, value: Any, write: Callable[[Any], None], given: Given = None) -> dict[str, Any]:
    """Keyword arguments that tie a widget to whatever `write` writes.

    Args:
        name: unique on the page.
        value: what the widget shows.
        write: gets the new value of the widget, in a callback.
        given: the argument that says what is shown, such as {"index": 2}. A widget in a popover needs it: the browser
            makes it when the popover is opened, and has not seen what was set before.
    """
    key = WIDGET + name
    if given is not None:
        turn = recall(key, 0)
        if st.session_state.get(f"{key} {turn}", value) != value:  # changed elsewhere: another widget
            turn += 1
            note(key, turn)
        key = f"{key} {turn}"
        return {"key": key, "on_change": lambda: write(st.session_state[key]), **given}
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value
    return {"key": key, "on_change": lambda: write(st.session_state[key])}


def note(name: str, value: Any) -> None:
    """Keeps something for this session that is no part of the view."""
    st.session_state[NOTES][name] = value


def recall(name: str, default: Any = None) -> Any:
    """What `note` has kept."""
    return st.session_state[NOTES].get(name, default)


def remember_upload(image: LoadedImage, content: bytes) -> None:
    """Keeps an uploaded image: decoded for this session, where the oldest of more than `MAX_UPLOADS` is forgotten,
    and as the file's bytes for a day, see `dashboard.uploads`."""
    _remember(UPLOADS, image.sha256, image)
    uploads.keep(image.sha256, "image", image.name, content)


def upload(sha256: str) -> LoadedImage | None:
    """An uploaded image, of this session or of the last day; None where it is not here."""
    kept = st.session_state[UPLOADS]
    if sha256 not in kept and (found := uploads.read(sha256, "image")) is not None:
        image = load_image(found.content)
        if image.sha256 == sha256:
            _remember(UPLOADS, sha256, replace(image, name=found.name))
    return kept.get(sha256)


def has_upload(sha256: str) -> bool:
    """Whether `upload` would find an image, at no cost."""
    return sha256 in st.session_state[UPLOADS] or uploads.is_here(sha256, "image")


def remember_mask(labels: np.ndarray, name: str, content: bytes) -> str:
    """Keeps an uploaded mask, (H, W) integers, as `remember_upload` keeps images; returns its SHA-256."""
    sha256 = _mask_sha256(labels)
    _remember(MASKS, sha256, labels)
    uploads.keep(sha256, "mask", name, content)
    return sha256


def mask(sha256: str) -> np.ndarray | None:
    """An uploaded mask, of this session or of the last day; None where it is not here."""
    kept = st.session_state[MASKS]
    if sha256 not in kept and (found := uploads.read(sha256, "mask")) is not None:
        labels = decode_mask(found.content)
        if _mask_sha256(labels) == sha256:
            _remember(MASKS, sha256, labels)
    return kept.get(sha256)


def _mask_sha256(labels: np.ndarray) -> str:
    return hashlib.sha256(f"{labels.dtype} {labels.shape}:".encode() + labels.tobytes()).hexdigest()


def own_uploads() -> tuple[str, ...]:
    """SHA-256 of the images and masks that this session holds, shows, or has in its drawer."""
    shown = [case(), *map(case_of_pin, case().pins)]
    regions = [found.region.partition(":") for found in shown]
    masks = [value.partition("#")[0] for kind, _, value in regions if kind == "mask"]
    named = [*filter(None, (found.upload for found in shown)), *masks]
    return tuple(
        dict.fromkeys((*st.session_state[UPLOADS], *st.session_state[MASKS], *filter(uploads.SHA256.fullmatch, named)))
    )


def forget_uploads() -> None:
    """Deletes the images and masks of this session, here and on the server's disk."""
    for sha256 in own_uploads():
        uploads.forget(sha256)
    st.session_state[UPLOADS].clear()
    st.session_state[MASKS].clear()


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


def fixed(name: str, make: Callable[[], T]) -> T:
    """What `make` gives the first time that it is drawn in this visit, until `draw_anew`.

    Streamlit knows the options of a select box by their labels: one that changes while a visitor looks at it comes back
    as a value that was never offered.
    """
    kept = st.session_state.setdefault(FIXED, {})
    if name not in kept:
        kept[name] = make()
    return kept[name]


def drawing() -> int:
    """How often the labels of this visit were made anew; part of the names of widgets that show them."""
    return st.session_state.get(DRAWING, 0)


def draw_anew() -> None:
    """Labels are made anew, in new widgets. Call it before `st.rerun()`."""
    st.session_state[FIXED] = {}
    st.session_state[DRAWING] = drawing() + 1


def allow_download(model: str, weights: str) -> None:
    """The visitor agreed to download these weights."""
    st.session_state[ALLOWED] |= {(model, weights)}


def forbid_download(model: str, weights: str) -> None:
    """The visitor has stopped the download of these weights."""
    st.session_state[ALLOWED] -= {(model, weights)}


def download_allowed(model: str, weights: str) -> bool:
    """Whether the visitor agreed to download these weights."""
    return (model, weights) in st.session_state[ALLOWED]
