"""The controls of the Maps page, each group behind a button of the headline: methods, view, input, the free method."""

from dataclasses import replace

import streamlit as st

from analysis.explainers import EXPLAINERS, usable_explainers
from analysis.numerals import number
from dashboard import services, state
from dashboard.address import MAX_SIZE_PX
from dashboard.case import CUSTOM, METHOD_NAMES, Case, method_title
from dashboard.pages.maps.settings import MapsSettings
from dashboard.panels.custom import render_custom
from data.geometry import FITS
from surgery import Model
from surgery.memory import pass_bytes, pass_work

SIZE_FACTORS = (0.5, 1, 1.5, 2, 3)
MAX_TOKENS = 2500
"""Larger inputs are not offered: the trace keeps q, k, v of every block."""

FIT_TITLES = {"stretch": "stretched", "crop": "middle cropped", "letterbox": "own shape"}


def render_controls(case: Case, own: MapsSettings) -> None:
    """One button a group; the free method's is the last one, over its column."""
    model = services.model(case)
    shown = len(case.methods) + len(own.explainers)
    with st.popover(f"{shown} method{'' if shown == 1 else 's'}", type="tertiary", key="maps methods"):
        _render_methods(case, own)
    with st.popover("view", type="tertiary"):
        _render_view(case, own)
    with st.popover(f"{case.size or model.native_size[0]} px", type="tertiary", key="maps input"):
        _render_input(case, model)
    if CUSTOM in case.methods:
        with st.popover("custom", type="tertiary", icon=":material/tune:"):
            render_custom(case, model)


def _render_methods(case: Case, own: MapsSettings) -> None:
    st.pills(
        "Methods: cosine of dense features",
        METHOD_NAMES,
        selection_mode="multi",
        format_func=method_title,
        **state.widget("methods", [*case.methods], _set_methods, {"default": case.methods}),
    )
    usable = usable_explainers(services.model(case).tower)
    explained = [name for name in own.explainers if name in usable]
    st.pills(
        "Explainers: relevance by gradients or attention",
        usable,
        selection_mode="multi",
        format_func=lambda name: EXPLAINERS[name].title,
        help="It is no cosine: every map has its own unit and its own scale. They stand below the methods.",
        **state.setting(
            own,
            "explainers",
            explained,
            lambda new: tuple(name for name in EXPLAINERS if name in new),
            {"default": explained},
        ),
    )


def _set_methods(case: Case, names: list[str]) -> Case:
    return replace(case, methods=tuple(name for name in METHOD_NAMES if name in names))


def _render_view(case: Case, own: MapsSettings) -> None:
    st.toggle(
        "feature surgery",
        help="Removes from every map what all prompts have in common (CLIP Surgery, arXiv 2304.05653).",
        **state.widget(
            "surgery",
            case.feature_surgery,
            lambda case, on: replace(case, feature_surgery=on),
            {"value": case.feature_surgery},
        ),
    )
    _render_toggle(own, "points", "prompt points", "Points for Segment Anything: orange on the object, blue off it.")
    st.toggle(
        "min-max",
        help="Stretches each map to 0..1 on its own. Hides the sign; absent things look as bright as present ones.",
        **state.setting(
            own,
            "scale",
            own.scale == "minmax",
            lambda on: "minmax" if on else "signed",
            {"value": own.scale == "minmax"},
        ),
    )
    help = "Orders the rows by the zero-shot probability of the whole image, instead of as they were typed."
    _render_toggle(own, "ranked", "most probable prompt first", help)
    help = "Adds a column A − B of two methods, on a scale of its own, which stands under it."
    _render_toggle(own, "difference", "difference", help)
    if own.difference:
        names = {"options": METHOD_NAMES, "format_func": method_title}
        first, second = ({"index": METHOD_NAMES.index(name)} for name in (case.method_a, own.method_b))
        st.selectbox("A", **names, **state.widget("a", case.method_a, _set_method_a, first))
        st.selectbox("B", **names, **state.setting(own, "method_b", given=second))


def _render_toggle(own: MapsSettings, field: str, title: str, help: str) -> None:
    st.toggle(title, help=help, **state.setting(own, field, given={"value": getattr(own, field)}))


def _set_method_a(case: Case, name: str) -> Case:
    return replace(case, method_a=name)


def _render_input(case: Case, model: Model) -> None:
    native = model.native_size[0]
    sizes = size_choices(model.native_size, model.tower.patch_px)
    options = sizes if case.size in (None, *sizes) else sorted({*sizes, case.size})
    size = case.size or native
    labels = {side: size_label(model, side) for side in options}
    st.selectbox(
        "Input size",
        options,
        format_func=labels.__getitem__,
        help="Side of the network's input, of a letterbox the longer one. Another size runs the network once more; "
        "while it runs, a bar shows how far it is, and it can be stopped.",
        **state.widget(
            "size",
            size,
            lambda case, side: replace(case, size=_unless(side, native)),
            {"index": options.index(size)},
        ),
    )
    st.selectbox(
        "How the image is brought to it",
        FITS,
        format_func=FIT_TITLES.__getitem__,
        help="Stretched over the square, so that shapes change; its middle, as most CLIPs were trained; or whole and "
        "in its own shape, on a grid that is no square.",
        **state.widget("fit", case.fit, lambda case, fit: replace(case, fit=fit), {"index": FITS.index(case.fit)}),
    )


def _unless(side: int, native: int) -> int | None:
    return None if side == native else side


def size_label(model: Model, side: int) -> str:
    """A size with what it costs beside the native one: patches, arithmetic, memory."""
    grid, native = (model.tower.grid_for(size) for size in ((side, side), model.native_size))
    patches = f"{side} px: {grid[0] * grid[1]:,} patches"
    if grid == native:
        return f"{patches} (native)"
    times = pass_work(model, grid) / pass_work(model, native)
    return f"{patches}, {number(times)} × the work, {number(pass_bytes(model, grid) / 1e9)} GB"


def size_choices(native: tuple[int, int], patch_px: tuple[int, int]) -> list[int]:
    """Sides in pixels that are offered: multiples of the native side, cut to whole patches. Pure."""
    step = max(patch_px)
    sides = {max(step, round(native[0] * factor / step) * step) for factor in SIZE_FACTORS} | {native[0]}
    few = {s for s in sides if s <= MAX_SIZE_PX and (s // patch_px[0]) * (s // patch_px[1]) <= MAX_TOKENS}
    return sorted(few | {native[0]})
