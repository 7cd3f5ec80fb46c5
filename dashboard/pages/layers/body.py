"""The Layers page: what does the residual do? Norms, cosines and entropies over the blocks, then the alpha sweep."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.norms import OUTLIER_THRESHOLD, StreamMeasure, norm_scores, outlier_tokens
from dashboard import events, services, state
from dashboard.case import Case
from dashboard.figures import PATCHES_CURVE, plot_photo
from dashboard.figures.layers import plot_entropy, plot_streams
from dashboard.pages.layers.exports import layers_exports
from dashboard.pages.layers.results import LayerMeasures, layer_measures
from dashboard.pages.layers.settings import LayersSettings
from dashboard.pages.layers.sweep import render_lines, render_sweep
from dashboard.panels.chart import render_figure
from dashboard.panels.page import Exports, guarded
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
tends to the limit without residual, the last tick.
"""


def render_layers(case: Case, own: LayersSettings) -> Exports:
    """The alpha sweep with its map, then the streams, the entropy and the outlier tokens."""
    with st.spinner("Measuring every block …", show_time=True):
        measures = layer_measures(case)
    if not services.model(case).tower.has_residual:
        st.info(
            "The image tower of this model is a ResNet: its attention pool is the only block. It has no residual "
            "stream, no MLP and no alpha to sweep; what is left is shown."
        )
    place = guarded(case, render_sweep)
    _render_norm_choice(own)
    _render_streams(measures.norms, case, "layers norms", own.frobenius)
    st.caption(
        "Where the residual is far longer than the attention, the map follows the residual. Click to choose a block."
    )
    _render_streams(measures.cosines, case, "layers cosines")
    st.caption("Does the background already look like CLS, rather than the foreground? That is where the flip begins.")
    entropy, outliers = st.columns([1.25, 1], gap="medium")
    with entropy:
        _render_entropy(measures, case)
    with outliers:
        _render_outliers(measures.norms, case)
    table = None
    if place is not None:
        with place:
            table = guarded(case, render_lines)
    return layers_exports(case, own, measures, table)


def _render_norm_choice(own: LayersSettings) -> None:
    st.segmented_control(
        "Norm",
        [False, True],
        format_func=lambda on: "Frobenius of a group" if on else "L2 of a token",
        required=True,
        help="Mean and band of the tokens, or the one number that ClearCLIP plots.",
        **state.setting(own, "frobenius"),
    )


def _render_streams(measure: StreamMeasure, case: Case, key: str, frobenius: bool = False) -> None:
    figure = _streams_figure(services.trace_key(case), case.region, measure.quantity, case.layer, frobenius, measure)
    render_figure(figure, key=key, on_event=lambda event: _take_block(event, figure))


@services.cached(max_entries=64)
def _streams_figure(
    key: TraceKey, region: str, quantity: str, layer: int | None, frobenius: bool, _measure: StreamMeasure
) -> go.Figure:
    return plot_streams(_measure, layer, frobenius)


def _take_block(event: Mapping[str, Any], figure: go.Figure) -> None:
    found = picked_anywhere(event, figure)
    if found is not None:
        state.update(layer=found[1])


def picked_anywhere(event: Mapping[str, Any], figure: go.Figure) -> tuple[int, int] | None:
    """Trace and point of a click on any trace of a figure that has markers; None for no such click. Pure."""
    for curve, trace in enumerate(figure.data):
        index = events.picked_index(event, curve)
        if index is not None and "markers" in (trace.mode or "") and index < len(trace.x):
            return curve, index
    return None


def _render_entropy(measures: LayerMeasures, case: Case) -> None:
    figure = plot_entropy(measures.entropy, case.layer, case.head)
    heads = measures.entropy.values.shape[2]
    render_figure(figure, key="layers entropy", on_event=lambda event: _take_head(event, heads))
    st.caption("Low: the head picks few tokens. Click a dot to choose its block and head.")


def _take_head(event: Mapping[str, Any], heads: int) -> None:
    index = events.picked_index(event, 0)
    if index is not None:
        state.update(layer=index // heads, head=index % heads)


def _render_outliers(norms: StreamMeasure, case: Case) -> None:
    picture, grid = services.image(case).rgb, norms.grid
    block = len(norms.attention) if case.layer is None else case.layer
    scores = norm_scores(norms)[block, 0].reshape(grid)
    found = outlier_tokens(norms)
    here = [token.row * grid[1] + token.column for token in found if token.block == block]
    mask = services.region_mask(case)
    where = "output" if case.layer is None else f"into block {case.layer}"
    figure = plot_photo(
        picture,
        grid,
        values=scores,
        unit="deviations",
        lit=here,
        outline="" if mask is None else outline_path(mask, picture.shape[:2]),
        patch=case.patch,
        title=f"Outlier tokens, {where}",
        height=330,
    )
    render_figure(figure, key="layers outliers", on_event=lambda event: _take_patch(event, grid))
    st.caption(
        f"Norm in robust deviations from the median; lit patches: above {OUTLIER_THRESHOLD:g}. "
        f"{outlier_count(len(here), len(found))}"
    )
    if found:
        st.dataframe(outlier_table(norms), hide_index=True, height=min(180, 37 + 35 * len(found)))


def outlier_count(here: int, everywhere: int) -> str:
    """How many outliers are on the picture, and where the others are. Pure."""
    shown = f"{here or 'None'} in this stream"
    if everywhere == here:
        return f"{shown}{'' if here else ', and none in any other'}."
    return f"{shown}, {everywhere - here} in others: the table says in which; choose that block above to see them."


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


def _take_patch(event: Mapping[str, Any], grid: tuple[int, int]) -> None:
    index = events.picked_index(event, PATCHES_CURVE)
    if index is not None and index < grid[0] * grid[1]:
        state.update(patch=divmod(index, grid[1]))
