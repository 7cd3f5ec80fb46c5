"""The Affinity page: where the attention of a patch goes under several kinds of attention."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.affinity import Affinity
from analysis.regions import Region
from dashboard import events, services, state
from dashboard.case import Case
from dashboard.figures import affinity as figures
from dashboard.pages.affinity import PAGE, results
from dashboard.pages.affinity.exports import affinity_exports
from dashboard.pages.affinity.settings import RAMPS, AffinitySettings
from dashboard.pages.affinity.view import AffinityView, render_affinity_view
from dashboard.panels.chart import render_figure
from dashboard.panels.mapview import photo_of
from dashboard.panels.notes import take_patch
from dashboard.panels.page import Exports
from dashboard.regions import outline_path

MEAN = -1
"""The option of the head picker that stands for the mean."""

HELP = """
**Attention** is the row of a patch in the softmax of one block: how much of every other token's value it takes. A row
sums to 1 over all patches and the CLS token. **q-k** is what CLIP uses; **v-v**, **q-q** and **k-k** compare the same
projection of both tokens (CLIP Surgery, arXiv 2304.05653; ClearCLIP, 2407.12442); a sum such as q-q + k-k (SCLIP,
2312.01597) is divided by its number of softmaxes. All are read from the original path of the network.

**Colours**: one scale for all kinds, from 0 to the 99.9 % quantile of the weights between two different patches,
linear, by the square root or over three decades; larger weights look like the top.

**Same-region mass**: of the weight that a region's patches put on patches, the share that stays in their own region
(foreground or background), averaged over them. Uniform attention gives the region's share of the image.

**By chance** is what attention that is the same for all tokens would give: to one token, and to the patch's own region.

**Strongest partners**: the tokens with the largest weights; click one to follow it. CLIP Surgery (arXiv 2304.05653)
finds that under q-k the first is not the patch itself, and often lies in another region.

Keyboard: Tab reaches the image, arrow keys move the patch, Enter chooses it, Escape goes back.
"""

READ = """
**Same-region mass**: above the dotted line attention prefers the own region. Click a point to choose its block.

**The strongest partner**: share of the patches whose largest weight lies there: is it they themselves, or another
region? The row *by chance* is what drawing any token at random would give.
"""

NO_REGION = (
    "**Choose a region** in the sidebar to see how much attention stays inside it, block by block, and who the "
    "strongest partners of its patches are."
)


def render_affinity(case: Case, own: AffinitySettings) -> Exports:
    """Controls, the linked maps with the patch's partners, and what the region's patches do."""
    kinds = results.shown_kinds(case, own)
    _render_controls(case, own, kinds)
    if not kinds:
        st.info("Choose at least one kind of attention above to see its maps.")
        return Exports()
    region = services.region(case)
    affinity = results.affinity(case, kinds)
    example = results.example_patch(affinity.grid, region)
    _render_view(case, own, affinity, region, example)
    if region is None:
        st.info(NO_REGION, icon=":material/ink_selection:")
    else:
        _render_region(case, kinds)
    return affinity_exports(case, own, affinity, case.patch or example)


def _render_controls(case: Case, own: AffinitySettings, kinds: tuple[str, ...]) -> None:
    blocks = services.model(case).tower.blocks
    line = st.container(horizontal=True, gap="small", vertical_alignment="center", key="headline")
    options = results.kind_options(case)
    line.pills(
        "Kinds of attention",
        options,
        selection_mode="multi",
        width="content",
        label_visibility="collapsed",
        format_func=figures.kind_title,
        **state.setting(own, "kinds", [*kinds], lambda new: tuple(kind for kind in options if kind in new)),
    )
    shown = results.shown_layer(case)
    if len(blocks) > 1:
        line.selectbox(
            "Block",
            range(len(blocks)),
            width=110,
            label_visibility="collapsed",
            format_func=lambda block: f"block {block}",
            help="Blocks count from 0. The last one writes the features.",
            **state.widget("affinity block", shown, lambda case, value: replace(case, layer=value)),
        )
    line.selectbox(
        "Head",
        [MEAN, *range(blocks[shown].heads)],
        width=150,
        label_visibility="collapsed",
        format_func=lambda value: "mean of heads" if value == MEAN else f"head {value}",
        **state.widget("affinity head", MEAN if case.head is None else case.head, _set_head),
    )
    with line.popover("more", type="tertiary"):
        st.markdown(PAGE.look_for)
        st.markdown(READ)


def _set_head(case: Case, value: int) -> Case:
    return replace(case, head=None if value == MEAN else value)


def _render_view(
    case: Case, own: AffinitySettings, affinity: Affinity, region: Region | None, example: tuple[int, int]
) -> None:
    picture, mask = services.image(case), services.region_mask(case)
    view = AffinityView(
        photo=photo_of(picture),
        affinity=affinity,
        encoded=results.encoded_affinity(case, affinity.kinds, case.patch or example),
        patch=case.patch,
        example=example,
        region=region,
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        ramp=own.ramp,
    )
    render_affinity_view(view, key="affinity", on_event=lambda event: take_event(event, affinity.grid))


def take_event(event: Mapping[str, Any], grid: tuple[int, int]) -> None:
    """Puts what happened in the view into the case."""
    take_patch(event, grid)
    if event.get("type") == "ramp" and event.get("value") in RAMPS:
        state.adjust(AffinitySettings, ramp=event["value"])


def _render_region(case: Case, kinds: tuple[str, ...]) -> None:
    layer = results.shown_layer(case)
    mass, best = results.region_figures(services.trace_key(case), kinds, case.region, layer, case.head, case)
    depth = len(services.model(case).tower.blocks)
    left, right = st.columns(2, gap="medium")
    with left:
        render_figure(
            mass,
            key="affinity mass",
            on_event=lambda event: take_block(event, len(kinds), depth),
        )
    with right:
        render_figure(best, key="affinity best")


def take_block(event: Mapping[str, Any], kinds: int, depth: int) -> None:
    """A click on a point of the same-region mass chooses its block."""
    for curve in range(2 * kinds):
        index = events.picked_index(event, curve)
        if index is not None and index < depth:
            state.update(layer=index)
