"""The controls of the Maps page: methods, the free method, feature surgery, points, difference, scale, size."""

from dataclasses import replace

import streamlit as st

from dashboard import services, state
from dashboard.address import MAX_SIZE_PX
from dashboard.case import CUSTOM, Case, method_title
from dashboard.figures.theme import kind_title
from surgery import METHODS, Model
from surgery.attention import KINDS

NAMES = (*METHODS, CUSTOM)
SIZE_FACTORS = (0.5, 1, 1.5, 2, 3)
MAX_TOKENS = 2500
"""Larger inputs are not offered: the trace keeps q, k, v of every block."""

LAST_BLOCKS = "How many of the last blocks are walked again, with this kind of attention, for the map custom."
RESIDUAL = "Factor of the residual in these blocks: 1 as in CLIP, 0 as in ClearCLIP."
ALPHA = "Factor of the attention output in these blocks: 1 as in CLIP; the larger, the less the residual speaks."


def render_controls(case: Case) -> None:
    """All controls above the grid."""
    model = services.model(case)
    st.pills(
        "Methods",
        NAMES,
        selection_mode="multi",
        format_func=method_title,
        label_visibility="collapsed",
        **state.widget("methods", list(case.methods), _set_methods),
    )
    if CUSTOM in case.methods:
        render_custom(case, model)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        _render_switches(case)
        _render_difference(case)
        _render_scale_and_size(case, model)


def _set_methods(case: Case, names: list[str]) -> Case:
    return replace(case, methods=tuple(name for name in NAMES if name in names))


def render_custom(case: Case, model: Model) -> None:
    """The sliders of the free method; also for other pages that follow it."""
    kinds, depth, method = model.tower.kinds or KINDS, len(model.tower.blocks), case.custom
    kind, blocks, residual, alpha, mlp = st.columns([1.2, 1, 1, 1, 1], gap="medium", vertical_alignment="center")
    options = kinds if method.attention in kinds else (*kinds, method.attention)
    kind.selectbox("custom: attention kind", options, format_func=kind_title, **_custom("attention", method.attention))
    if depth > 1:
        blocks.slider("last blocks", 1, depth, help=LAST_BLOCKS, **_custom("blocks", method.blocks))
    residual.slider("residual", 0.0, 1.0, step=0.05, help=RESIDUAL, **_custom("residual", float(method.residual)))
    largest = max(5.0, method.alpha)
    alpha.slider("alpha", 0.0, largest, step=0.05, help=ALPHA, **_custom("alpha", float(method.alpha)))
    mlp.toggle("MLP", help="Whether the MLPs of these blocks add their output.", **_custom("mlp", method.mlp))


def _custom(field: str, value: object) -> dict:
    def changed(case: Case, new: object) -> Case:
        return replace(case, custom=replace(case.custom, **{field: new}))

    return state.widget(f"custom {field}", value, changed)


def _render_switches(case: Case) -> None:
    st.toggle(
        "feature surgery",
        help="Removes from every map what all prompts have in common (CLIP Surgery, arXiv 2304.05653).",
        **state.widget("surgery", case.feature_surgery, lambda case, on: replace(case, feature_surgery=on)),
    )
    st.toggle(
        "prompt points",
        help="Points for Segment Anything: orange on the object, blue off it.",
        **state.widget("points", case.points, lambda case, on: replace(case, points=on)),
    )
    st.toggle(
        "min-max",
        help="Stretches each map to 0..1 on its own. Hides the sign; absent things look as bright as present ones.",
        **state.widget("scale", case.scale == "minmax", _set_min_max),
    )


def _set_min_max(case: Case, on: bool) -> Case:
    return replace(case, scale="minmax" if on else "signed")


def _render_difference(case: Case) -> None:
    st.toggle(
        "difference",
        help="Adds a column A − B of two methods, on the same scale.",
        **state.widget("difference", case.difference, lambda case, on: replace(case, difference=on)),
    )
    if case.difference:
        names = {"options": NAMES, "format_func": method_title, "label_visibility": "collapsed", "width": 140}
        st.selectbox("A", **names, **state.widget("a", case.method_a, lambda case, name: replace(case, method_a=name)))
        st.markdown("−", width="content")
        st.selectbox("B", **names, **state.widget("b", case.method_b, lambda case, name: replace(case, method_b=name)))


def _render_scale_and_size(case: Case, model: Model) -> None:
    sizes = size_choices(model.native_size, model.tower.patch_px)
    native = model.native_size[0]
    options = sizes if case.size in (None, *sizes) else sorted({*sizes, case.size})
    st.selectbox(
        "input size",
        options,
        format_func=lambda side: f"{side} px (native)" if side == native else f"{side} px",
        label_visibility="collapsed",
        width=150,
        help="Side of the square the image is stretched to. Another size runs the network once more.",
        **state.widget("size", case.size or native, lambda case, side: replace(case, size=_unless(side, native))),
    )


def _unless(side: int, native: int) -> int | None:
    return None if side == native else side


def size_choices(native: tuple[int, int], patch_px: tuple[int, int]) -> list[int]:
    """Sides in pixels that are offered: multiples of the native side, cut to whole patches. Pure."""
    step = max(patch_px)
    sides = {max(step, round(native[0] * factor / step) * step) for factor in SIZE_FACTORS} | {native[0]}
    few = {s for s in sides if s <= MAX_SIZE_PX and (s // patch_px[0]) * (s // patch_px[1]) <= MAX_TOKENS}
    return sorted(few | {native[0]})
