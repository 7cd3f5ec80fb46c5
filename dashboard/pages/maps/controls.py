"""The controls of the Maps page: methods, the free method, feature surgery, points, difference, scale, size."""

from dataclasses import replace

import streamlit as st

from dashboard import services, state
from dashboard.address import MAX_SIZE_PX
from dashboard.case import CUSTOM, METHOD_NAMES, Case, method_title
from dashboard.pages.maps.settings import MapsSettings
from dashboard.panels.custom import render_custom
from data.geometry import FITS
from surgery import Model

SIZE_FACTORS = (0.5, 1, 1.5, 2, 3)
MAX_TOKENS = 2500
"""Larger inputs are not offered: the trace keeps q, k, v of every block."""


def render_controls(case: Case, own: MapsSettings) -> None:
    """All controls above the grid."""
    model = services.model(case)
    st.pills(
        "Methods",
        METHOD_NAMES,
        selection_mode="multi",
        format_func=method_title,
        label_visibility="collapsed",
        **state.widget("methods", list(case.methods), _set_methods),
    )
    if CUSTOM in case.methods:
        render_custom(case, model)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        _render_switches(case, own)
        _render_difference(case, own)
        _render_scale_and_size(case, model)


def _set_methods(case: Case, names: list[str]) -> Case:
    return replace(case, methods=tuple(name for name in METHOD_NAMES if name in names))


def _render_switches(case: Case, own: MapsSettings) -> None:
    st.toggle(
        "feature surgery",
        help="Removes from every map what all prompts have in common (CLIP Surgery, arXiv 2304.05653).",
        **state.widget("surgery", case.feature_surgery, lambda case, on: replace(case, feature_surgery=on)),
    )
    st.toggle(
        "prompt points",
        help="Points for Segment Anything: orange on the object, blue off it.",
        **state.setting(own, "points"),
    )
    st.toggle(
        "min-max",
        help="Stretches each map to 0..1 on its own. Hides the sign; absent things look as bright as present ones.",
        **state.setting(own, "scale", own.scale == "minmax", lambda on: "minmax" if on else "signed"),
    )


def _render_difference(case: Case, own: MapsSettings) -> None:
    st.toggle(
        "difference",
        help="Adds a column A − B of two methods, on the same scale.",
        **state.setting(own, "difference"),
    )
    if own.difference:
        names = {"options": METHOD_NAMES, "format_func": method_title, "label_visibility": "collapsed", "width": 140}
        st.selectbox("A", **names, **state.widget("a", case.method_a, lambda case, name: replace(case, method_a=name)))
        st.markdown("−", width="content")
        st.selectbox("B", **names, **state.setting(own, "method_b"))


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
        help="Side of the network's input, of a letterbox the longer one. Another size runs the network once more.",
        **state.widget("size", case.size or native, lambda case, side: replace(case, size=_unless(side, native))),
    )
    st.selectbox(
        "fit",
        FITS,
        format_func=FIT_TITLES.__getitem__,
        label_visibility="collapsed",
        width=135,
        help="How the image is brought to the input: stretched over the square, so that shapes change; its middle, as "
        "most CLIPs were trained; or whole and in its own shape, on a grid that is no square.",
        **state.widget("fit", case.fit, lambda case, fit: replace(case, fit=fit)),
    )


FIT_TITLES = {"stretch": "stretched", "crop": "middle cropped", "letterbox": "own shape"}


def _unless(side: int, native: int) -> int | None:
    return None if side == native else side


def size_choices(native: tuple[int, int], patch_px: tuple[int, int]) -> list[int]:
    """Sides in pixels that are offered: multiples of the native side, cut to whole patches. Pure."""
    step = max(patch_px)
    sides = {max(step, round(native[0] * factor / step) * step) for factor in SIZE_FACTORS} | {native[0]}
    few = {s for s in sides if s <= MAX_SIZE_PX and (s // patch_px[0]) * (s // patch_px[1]) <= MAX_TOKENS}
    return sorted(few | {native[0]})
