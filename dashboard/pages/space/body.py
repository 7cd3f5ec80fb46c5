"""The Space page: patch tokens as points, linked with their patches on the image."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard import events, services, state
from dashboard.case import METHOD_NAMES, Case, method_title
from dashboard.figures import PATCHES_CURVE, plot_photo
from dashboard.figures.maps import drawn_ratio
from dashboard.figures.space import POINTS_CURVE, Layout, plot_space, plot_space_frames
from dashboard.pages.space import PAGE
from dashboard.pages.space.exports import space_exports
from dashboard.pages.space.results import MAX_OVERLAY, SEED, chosen_block, layout, projection_of, space_key
from dashboard.pages.space.settings import COLOURS, PROJECTIONS, TOKENS_OF, SpaceSettings
from dashboard.panels.chart import render_figure
from dashboard.panels.page import Exports
from dashboard.panels.texts import plain, shorten
from dashboard.panels.work import work_through
from dashboard.regions import outline_path

TOKENS_TITLES = {"block": "a block", "method": "a method", "all_blocks": "all blocks"}
PROJECTION_TITLES = {"pca": "PCA", "umap": "UMAP"}
COLOUR_TITLES = {"region": "region", "nearest": "nearest prompt", "source": "source"}
MODES = ("points", "box", "lasso")
MOUSE_TITLES = {"lasso": "lasso", "select": "box", "pan": "click"}
"""Plotly's drag modes. Streamlit hears no click while one of the first two is on."""

MOUSE = "space mouse"
TALLEST_PX = 560

READ = """
**Lasso** and **box** light patches, on the points and on the image; a **click** chooses one patch everywhere. *All
blocks* has a slider and a button that plays them one after the other.
"""

HELP = f"""
Every point is a **patch token**, brought to length 1, so that distance is cosine. Tokens of **a block** are the
residual stream that leaves it; tokens of **a method** are its features beside the text features. What is laid over one
another is laid out together, so that places can be compared.

**PCA**: the two directions of largest variance; linear, exact, with the share of the variance that they show. **UMAP**:
keeps neighbours on cosine distance together (McInnes et al. 2018, arXiv 1802.03426); distances between clouds and their
size mean little. 15 neighbours, minimal distance 0.1, seed {SEED}: the same picture every time.

**All blocks** share the axes of one PCA, so that a token's way through the network can be followed.

**Nearest prompt**: highest cosine; a block is read out as if it were the last (logit lens).
"""


def render_space(case: Case, own: SpaceSettings) -> Exports:
    """Controls; the points on the left, the image on the right; what is lit in words."""
    offered = offered_colours(case, own)
    by = own.colour if own.colour in offered else offered[0]
    _render_controls(case, own, offered, by)
    key = space_key(case, own)
    title = f"Laying the points out with {PROJECTION_TITLES[key.projection]}"
    projected = work_through(key, title, projection_of(case, own))
    if projected is None:
        return Exports()
    found = layout(case, own, projected)
    points, image = st.columns([1.6, 1], gap="medium")
    with points, st.container(key="window-points"):
        _render_points(case, own, found, by)
    with image:
        _render_photo(case, own, found)
    return space_exports(case, own, found, by)


def _render_controls(case: Case, own: SpaceSettings, offered: tuple[str, ...], by: str) -> None:
    tower = services.model(case).tower
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="headline"):
        _choose("Tokens of", TOKENS_OF, TOKENS_TITLES, own, "tokens_of")
        if own.tokens_of == "method":
            _render_method(case, own)
        elif own.tokens_of == "block":
            _render_block(case, own, len(tower.blocks))
        if own.tokens_of != "all_blocks":
            _choose("Projection", PROJECTIONS, PROJECTION_TITLES, own, "projection")
        _choose("Colour by", offered, COLOUR_TITLES, own, "colour", by)
        st.segmented_control(
            "Mouse",
            [*MOUSE_TITLES],
            label_visibility="collapsed",
            default="lasso",
            required=True,
            format_func=MOUSE_TITLES.__getitem__,
            key=MOUSE,
        )
        with st.popover("more", type="tertiary"):
            st.markdown(PAGE.look_for)
            st.markdown(READ)


def offered_colours(case: Case, own: SpaceSettings) -> tuple[str, ...]:
    """What the points of this case can be told apart by. Pure."""
    known = {
        "region": bool(case.region),
        "nearest": bool(case.prompts),
        "source": own.tokens_of != "all_blocks" or not (case.region or case.prompts),
    }
    return tuple(name for name in COLOURS if known[name])


def _choose(
    label: str,
    options: tuple[str, ...],
    titles: Mapping[str, str],
    own: SpaceSettings,
    field: str,
    value: Any = state.OWN,
) -> None:
    st.segmented_control(
        label,
        options,
        format_func=titles.__getitem__,
        required=True,
        label_visibility="collapsed",
        **state.setting(own, field, value),
    )


def _render_block(case: Case, own: SpaceSettings, depth: int) -> None:
    block = chosen_block(case, depth)
    if depth > 1:
        st.selectbox(
            "Block",
            range(depth),
            format_func=lambda index: f"block {index}",
            label_visibility="collapsed",
            width=105,
            **state.widget("space block", block, lambda case, chosen: replace(case, layer=chosen)),
        )
    others = [str(index) for index in range(depth) if index != block]
    _render_overlay(own, "and of blocks", others)


def _render_method(case: Case, own: SpaceSettings) -> None:
    st.selectbox(
        "Method",
        METHOD_NAMES,
        format_func=method_title,
        width=140,
        label_visibility="collapsed",
        help="Method A of all pages.",
        **state.widget("space method", case.method_a, lambda case, chosen: replace(case, method_a=chosen)),
    )
    _render_overlay(own, "and of methods", [name for name in METHOD_NAMES if name != case.method_a])


def _render_overlay(own: SpaceSettings, label: str, options: list[str]) -> None:
    """The sources laid over the first one; those of the other kind stay in the settings."""
    kept = [name for name in own.overlay if name in options][:MAX_OVERLAY]
    others = [name for name in own.overlay if name not in options]

    st.multiselect(
        label,
        options,
        format_func=method_title,
        max_selections=MAX_OVERLAY,
        placeholder=label,
        label_visibility="collapsed",
        width=150,
        **state.setting(own, "overlay", kept, lambda chosen: (*others, *chosen)),
    )


def _render_points(case: Case, own: SpaceSettings, found: Layout, by: str) -> None:
    if own.tokens_of == "all_blocks":
        start = _first(case, own, found)
        title = "PCA of patch tokens, block by block"
        figure = plot_space_frames(found, by, own.lit, case.patch, start, title)
    else:
        kind = PROJECTION_TITLES[found.method]
        figure = plot_space(found, by, own.lit, case.patch, f"{kind} of patch tokens: {', '.join(found.sources)}")
    figure.update_layout(dragmode=st.session_state[MOUSE])
    n = found.coordinates.shape[1]
    render_figure(
        figure, key="space points", on_event=lambda event: _take(event, POINTS_CURVE, n), modes=MODES, stretch=True
    )


def _first(case: Case, own: SpaceSettings, found: Layout) -> int:
    """The source that the page speaks of: the first one, or the frame that an animation begins with."""
    return chosen_block(case, len(found.sources) - 1) + 1 if own.tokens_of == "all_blocks" else 0


def _render_photo(case: Case, own: SpaceSettings, found: Layout) -> None:
    picture, mask = services.image(case), services.region_mask(case)
    size = picture.rgb.shape[:2]
    figure = plot_photo(
        picture.rgb,
        found.grid,
        lit=own.lit,
        outline="" if mask is None else outline_path(mask, size),
        patch=case.patch,
    )
    figure.update_layout(dragmode=st.session_state[MOUSE], margin={"l": 0, "r": 0, "t": 0, "b": 0})
    n = found.coordinates.shape[1]
    ratio = drawn_ratio(*size[::-1])
    st.html(
        f"<style>.st-key-framed-photo {{ aspect-ratio: {ratio:.3f}; max-width: {TALLEST_PX * ratio:.0f}px; }}</style>"
    )
    with st.container(key="framed-photo"):
        render_figure(
            figure,
            key="space photo",
            on_event=lambda event: _take(event, PATCHES_CURVE, n),
            modes=MODES,
            stretch=True,
        )
    if not own.lit:
        st.caption(
            "Click a point or a patch to choose it everywhere."
            if st.session_state[MOUSE] == "pan"
            else f"No patch is lit. Draw a {MOUSE_TITLES[st.session_state[MOUSE]]} around points or over the image."
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(plain(describe_lit(own.lit, found, _first(case, own, found))), width="stretch")
        st.button(
            "Clear", key="clear lit", help="Light no patches", on_click=lambda: state.adjust(SpaceSettings, lit=())
        )


def _take(event: Mapping[str, Any], curve: int, patches: int) -> None:
    """A box or a lasso lights patches, a click chooses one."""
    indices = sorted({index % patches for index in events.picked_indices(event, curve)})
    if not indices:
        return
    if events.picked_box(event) is not None or events.picked_outline(event) is not None:
        state.adjust(SpaceSettings, lit=tuple(indices))
    elif len(indices) == 1:
        columns = services.grid(state.case())[1]
        state.update(patch=divmod(indices[0], columns))


def describe_lit(lit: tuple[int, ...], found: Layout, source: int = 0) -> str:
    """The lit patches in words: how many are in the region, and which prompts are nearest to them. Pure.

    Args:
        lit: at least one patch.
        found: the layout.
        source: the source that tells the nearest prompts.
    """
    chosen = list(lit)
    parts = [f"{len(lit)} patch{'es' if len(lit) > 1 else ''} lit"]
    if found.region is not None:
        inside = found.region == "foreground"
        parts[0] += (
            f": {100 * inside[chosen].mean():.0f} % of them in the region, where {100 * inside.mean():.0f} % of all are"
        )
    if found.nearest is not None:
        counts = Counter(found.nearest[source, chosen].tolist()).most_common(3)
        nearest = ", ".join(f"“{shorten(name)}” {count}" for name, count in counts)
        parts.append(f"Nearest prompts ({found.sources[source]}): {nearest}")
    return ". ".join(parts) + "."
