"""The sliders of the free method, on every page that follows it."""

from dataclasses import replace

import streamlit as st

from dashboard import state
from dashboard.address import MAX_ALPHA
from dashboard.case import Case
from dashboard.figures.theme import kind_title
from surgery import Model
from surgery.attention import KINDS

LAST_BLOCKS = "How many of the last blocks are walked again, with this kind of attention, for the map custom."
RESIDUAL = "Factor of the residual in these blocks: 1 as in CLIP, 0 as in ClearCLIP."
ALPHA = "Factor of the attention output in these blocks: 1 as in CLIP; the larger, the less the residual speaks."


def render_custom(case: Case, model: Model) -> None:
    """The sliders of the free method in one line."""
    kinds, depth, method = model.tower.kinds or KINDS, len(model.tower.blocks), case.custom
    kind, blocks, residual, alpha, mlp = st.columns([1.2, 1, 1, 1, 1], gap="medium", vertical_alignment="center")
    options = kinds if method.attention in kinds else (*kinds, method.attention)
    kind.selectbox("custom: attention kind", options, format_func=kind_title, **_custom("attention", method.attention))
    if depth > 1:
        blocks.slider("last blocks", 1, depth, help=LAST_BLOCKS, **_custom("blocks", method.blocks))
    residual.slider("residual", 0.0, 1.0, step=0.05, help=RESIDUAL, **_custom("residual", float(method.residual)))
    largest = min(MAX_ALPHA, max(5.0, method.alpha))
    alpha.slider("alpha", 0.0, largest, step=0.05, help=ALPHA, **_custom("alpha", float(method.alpha)))
    mlp.toggle("MLP", help="Whether the MLPs of these blocks add their output.", **_custom("mlp", method.mlp))


def render_custom_briefly(case: Case, model: Model) -> None:
    """The slider of alpha; the others behind a button beside it."""
    kinds, depth, method = model.tower.kinds or KINDS, len(model.tower.blocks), case.custom
    alpha, rest = st.columns([1.8, 1], gap="small", vertical_alignment="bottom")
    largest = max(5.0, method.alpha)
    alpha.slider("alpha", 0.0, largest, step=0.05, help=ALPHA, **_custom("alpha", float(method.alpha)))
    with rest.popover(f"{kind_title(method.attention)}, {method.blocks} blocks", width="stretch"):
        options = kinds if method.attention in kinds else (*kinds, method.attention)
        st.selectbox("attention kind", options, format_func=kind_title, **_custom("attention", method.attention))
        if depth > 1:
            st.slider("last blocks", 1, depth, help=LAST_BLOCKS, **_custom("blocks", method.blocks))
        st.slider("residual", 0.0, 1.0, step=0.05, help=RESIDUAL, **_custom("residual", float(method.residual)))
        st.toggle("MLP", help="Whether the MLPs of these blocks add their output.", **_custom("mlp", method.mlp))


def _custom(field: str, value: object) -> dict:
    def changed(case: Case, new: object) -> Case:
        return replace(case, custom=replace(case.custom, **{field: new}))

    return state.widget(f"custom {field}", value, changed)
