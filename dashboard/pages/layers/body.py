"""The Layers page: what does the residual do? Norms, cosines and entropies over the blocks, then the alpha sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.norms import OUTLIER_THRESHOLD, StreamMeasure, norm_scores, outlier_tokens
from analysis.numerals import number
from dashboard import events, services, state
from dashboard.case import Case, examinable_prompts, examined_prompt
from dashboard.figures import shared_limit
from dashboard.figures.blocks import picked_place, plot_blocks
from dashboard.figures.layers import describe_crossings
from dashboard.figures.theme import kind_title
from dashboard.pages.layers import PAGE
from dashboard.pages.layers.exports import layers_exports
from dashboard.pages.layers.results import LayerMeasures, critical_contrasts, layer_measures, turning_map
from dashboard.pages.layers.settings import BESIDE, LayersSettings
from dashboard.pages.layers.sweep import render_lines, render_sweep
from dashboard.panels.chart import render_figure
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import take_patch
from dashboard.panels.page import Exports, guarded
from dashboard.panels.texts import plain
from dashboard.regions import outline_path
from dashboard.services import TraceKey

HELP = f"""
Block l adds the attention output and the MLP output to the **residual** stream that enters it. Blocks count from 0.

**Norm**: L2 length of each token; line: mean of the group, band: 5 % to 95 %. **Frobenius**: root of the sum of squares
over the tokens of the group, as ClearCLIP plots it (Lan et al. 2024, arXiv 2407.12442, section 3.2).

**Cosine to the final CLS**: each stream goes through the model's read-out on its own, as if it were the last one, and
is compared with the model's image feature.

**Entropy** of an attention row, in nats: 0 where one token is looked at, log(tokens) where all are alike. A dot is a
head, averaged over the queries of the patches.

**Outlier tokens**: patches whose norm in the residual stream lies more than {OUTLIER_THRESHOLD:g} robust deviations
above the median (registers, Darcet et al. 2023, arXiv 2309.16588).

**Alpha sweep**: X_sum = residual · X_res + alpha · X_attn in the last blocks (ClearCLIP, section 3). A large alpha
tends to the limit without residual, the last tick. A cross marks a **critical alpha**, at which a line turns; it is
solved for, not read between points, since without MLP the cosine is a closed form in alpha (`analysis/alpha.py`).

**Where it turns**: of every patch, the share of the residual, 1 / (1 + alpha), at which its cosine changes its sign as
alpha grows from 0; one half is CLIP's own alpha of 1. Orange turns positive, blue negative, transparent never.

**Same-region mass**: of the attention that the region's patches put on patches, the share that stays in the region.
"""


BESIDE_TITLES = {"turns": "where patches turn", "outliers": "outlier tokens"}
TURNS = (
    "1 / (1 + alpha) at which the cosine of a patch turns as alpha grows from 0: orange to positive, blue to negative, "
    "transparent never. 0.5 is alpha 1."
)
OUTLIERS = f"Norm of every patch in robust deviations from the median; outliers lie above {OUTLIER_THRESHOLD:g}."


def render_layers(case: Case, own: LayersSettings) -> Exports:
    """Small multiples over the blocks on the left; the alpha sweep above its maps and the outliers on the right."""
    headline = st.container(horizontal=True, vertical_alignment="center", key="headline")
    blocks, right = st.columns([1.3, 1], gap="medium")
    with blocks, st.spinner("Measuring every block …", show_time=True):
        measures = layer_measures(case)
    with headline:
        _render_headline(case, own, measures)
    with blocks, st.container(key="window-blocks"):
        _render_blocks(case, own, measures)
    with right, st.container(key="window-sweep"):
        places = guarded(case, render_sweep)
        with places[1] if places else st.container():
            _render_beside(case, own, measures.norms)
    table = None
    if places is not None:
        with places[0]:
            table = guarded(case, render_lines)
    return layers_exports(case, own, measures, table)


def _render_headline(case: Case, own: LayersSettings, measures: LayerMeasures) -> None:
    """One line of findings, what to look for behind "more", prompt and norm."""
    found = guarded(case, critical_contrasts)
    own_kind = None if found is None else {case.custom.attention: found[case.custom.attention]}
    words = describe_measures(measures, services.model(case).tower.has_residual, own_kind)
    st.markdown(f"## {plain(words)}", width="content")
    with st.popover("more", type="tertiary"):
        st.markdown(PAGE.look_for)
        st.markdown(TURNS)
        st.markdown(OUTLIERS)
        if outlier_tokens(measures.norms):
            st.dataframe(outlier_table(measures.norms), hide_index=True, height="content")
    choices = examinable_prompts(case)
    if choices:
        st.selectbox(
            "Prompt under examination",
            choices,
            label_visibility="collapsed",
            width=190,
            **state.widget("layers prompt", examined_prompt(case), lambda case, new: replace(case, prompt=new)),
        )
    with st.popover("view", type="tertiary"):
        st.segmented_control(
            "Norm",
            [False, True],
            format_func=lambda on: "Frobenius" if on else "L2",
            required=True,
            help="Mean and band of the tokens (L2), or the one number of a group that ClearCLIP plots (Frobenius).",
            **state.setting(own, "frobenius"),
        )
        st.segmented_control(
            "Map beside the sweep",
            BESIDE,
            format_func=BESIDE_TITLES.__getitem__,
            required=True,
            **state.setting(own, "beside"),
        )


def describe_measures(
    measures: LayerMeasures, has_residual: bool = True, critical: Mapping[str, Sequence[float]] | None = None
) -> str:
    """Where the residual outweighs the attention most, at which alpha contrasts turn, and how many tokens stand out.

    Args:
        measures: of the case.
        has_residual: whether the tower has one.
        critical: of the slider's kind, see `results.critical_contrasts`. Pure.
    """
    norms, found = measures.norms, outlier_tokens(measures.norms)
    outliers = f"{len(found)} outlier token{'s' if len(found) > 1 else ''}" if found else "no outlier tokens"
    if not has_residual:
        return f"A ResNet: its attention pool is the only block, without residual, MLP or alpha · {outliers}"
    ratios = norms.mean("residual", "patches")[:, 0] / norms.mean("attention", "patches")[:, 0]
    block = int(np.argmax(ratios))
    parts = [f"The residual is {number(ratios[block])} × the attention in block {block}"]
    if critical is not None:
        parts.append(describe_crossings({kind_title(kind): alphas for kind, alphas in critical.items()}))
    return " · ".join([*parts, outliers])


def _render_blocks(case: Case, own: LayersSettings, measures: LayerMeasures) -> None:
    figure = _blocks_figure(services.trace_key(case), case.region, case.layer, case.head, own.frobenius, measures)
    render_figure(figure, key="layers blocks", on_event=lambda event: _take_block(event, figure), stretch=True)


@services.cached(max_entries=64)
def _blocks_figure(
    key: TraceKey, region: str, layer: int | None, head: int | None, frobenius: bool, _measures: LayerMeasures
) -> go.Figure:
    found = _measures
    return plot_blocks(
        found.norms, found.cosines, found.entropy, found.mass, layer=layer, head=head, frobenius=frobenius
    )


def _take_block(event: Mapping[str, Any], figure: go.Figure) -> None:
    found = picked_anywhere(event, figure)
    if found is not None:
        block, head = found
        state.update(layer=block, **({} if head is None else {"head": head}))


def picked_anywhere(event: Mapping[str, Any], figure: go.Figure) -> tuple[int, int | None] | None:
    """Block and head of a click on any marker of the small multiples; None for no such click. Pure."""
    for curve, trace in enumerate(figure.data):
        index = events.picked_index(event, curve)
        if index is not None:
            return picked_place(trace.customdata, index)
    return None


def _render_beside(case: Case, own: LayersSettings, norms: StreamMeasure) -> None:
    """One map beside those of the sweep: where patches turn, or the norms of the chosen stream."""
    turns = guarded(case, turning_map) if own.beside == "turns" and examinable_prompts(case) else None
    cell, unit = (turning_cell(turns), "1 / (1 + alpha)") if turns is not None else _norm_cell(case, norms)
    picture, mask = services.image(case), services.region_mask(case)
    view = MapView(
        photo=photo_of(picture),
        rows=(Row("", (cell,)),),
        limit=shared_limit([cell.values]),
        unit=unit,
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
        wide=True,
    )
    render_map_view(view, key="layers beside", on_event=lambda event: take_patch(event, norms.grid))


def turning_cell(turns: np.ndarray) -> Cell:
    """The map of `results.turning_map`, and how many patches turn at all. Pure."""
    return Cell("where it turns", turns, note=f"{100 * (turns != 0).mean():.0f} % turn", hint=TURNS)


def _norm_cell(case: Case, norms: StreamMeasure) -> tuple[Cell, str]:
    """The norms of the chosen stream on the image, in robust deviations."""
    block = len(norms.attention) if case.layer is None else case.layer
    scores = norm_scores(norms)[block, 0].reshape(norms.grid)
    found = outlier_tokens(norms)
    here = sum(token.block == block for token in found)
    where = "output" if case.layer is None else f"into block {case.layer}"
    note = outlier_count(here, len(found))
    return Cell(f"norms, {where}", scores, note=note, hint=OUTLIERS), "deviations"


def outlier_count(here: int, everywhere: int) -> str:
    """How many outliers are on the picture, and how many elsewhere. Pure."""
    shown = f"{here or 'no'} outlier{'s' if here != 1 else ''}"
    return shown if everywhere == here else f"{shown},\n{everywhere - here} in other blocks"


def outlier_table(norms: StreamMeasure) -> pd.DataFrame:
    """One row per outlier: stream, row, column, norm, score. Pure."""
    depth = len(norms.attention)
    rows = [
        {
            "enters block": "output" if token.block == depth else str(token.block),
            "row": token.row,
            "column": token.column,
            "norm": float(f"{token.norm:.3g}"),
            "deviations": float(f"{token.score:.3g}"),
        }
        for token in outlier_tokens(norms)
    ]
    return pd.DataFrame(rows, columns=["enters block", "row", "column", "norm", "deviations"])
