"""Undo and redo: two buttons, and Ctrl-Z and Ctrl-Y (or Ctrl-Shift-Z) wherever nothing is typed."""

import streamlit as st

from dashboard import state
from dashboard.panels.mapview import FOLDER

_keys = st.components.v2.component(
    "clip_theatre_history", html="<span data-drawn></span>", js=(FOLDER / "history.js").read_text(encoding="utf-8")
)


def render_history() -> None:
    """The two buttons."""
    history = state.history()
    buttons = (
        ("undo", "Undo", state.undo, history.past, "Ctrl-Z: back to the view before this one"),
        ("redo", "Redo", state.redo, history.future, "Ctrl-Y: to the view that was undone last"),
    )
    for name, title, act, views, help in buttons:
        st.button(
            title,
            key=name,
            icon=f":material/{name}:",
            type="tertiary",
            disabled=not views,
            on_click=act,
            help=help,
        )
    with st.container(height=1, border=False, key="history-keys"):
        _keys(key="history keys")
