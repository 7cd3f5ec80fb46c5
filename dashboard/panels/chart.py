"""Plotly figures whose clicks, boxes and lassos reach the case.

    render_figure(plot_something(result), key="norms", on_event=take_event)

    def take_event(event):                       # in a callback; never with an empty event
        index = events.picked_index(event, curve=0)
        if index is not None:
            state.update(layer=index)

Only markers and bars can be clicked: a heat map or an image needs invisible markers over it, see `figures.plot_photo`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard.figure_marks import plain
from dashboard.figure_png import draw_page
from dashboard.figures.theme import POSITIVE
from dashboard.panels import shown

CONFIG = {"displaylogo": False, "modeBarButtons": [["lasso2d", "select2d", "pan2d"]]}
"""The tools of a plot that asks for them; most have none, and a double click brings the whole plot back."""


def render_figure(
    figure: go.Figure,
    key: str,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
    modes: Iterable[str] = ("points",),
    *,
    stretch: bool = False,
    tools: bool = False,
) -> None:
    """Draws a figure.

    Args:
        figure: any figure.
        key: unique on the page.
        on_event: gets every selection that is not empty, in a callback; read it with `dashboard.events`. A redrawn
            figure forgets its selection, so what matters goes into the case.
        modes: "points", "box", "lasso".
        tools: whether lasso, box and click can be chosen in a tool bar over it.
        stretch: whether it shares the height of its container with the others in it, instead of having its own.
    """
    shown.show(key, plain(figure.layout.title.text) or key, partial(draw_page, figure))
    height = "stretch" if stretch else "content"
    config = CONFIG | {"displayModeBar": "hover" if tools else False}
    figure.update_layout(modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#8a8f94", "activecolor": POSITIVE})
    if stretch:
        figure.layout.height = None
    if on_event is None:
        st.plotly_chart(figure, key=key, config=config, height=height)
        return

    def selected() -> None:
        event = st.session_state[key]
        selection = event.get("selection", {})
        if any(selection.get(name) for name in ("points", "box", "lasso")):
            on_event(event)

    st.plotly_chart(figure, key=key, config=config, height=height, on_select=selected, selection_mode=tuple(modes))
