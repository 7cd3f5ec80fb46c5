"""The Words page: the caption shaded by relevance, the map of a word, the words of a patch, and two other opinions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from analysis.text_gradients import TokenGradients
from dashboard import events, services, state
from dashboard.case import METHOD_NAMES, Case, method_title
from dashboard.fields import MAX_TEXT
from dashboard.figures import shared_limit
from dashboard.figures.words import BARS_CURVE, MATRIX_CURVE, patch_order, plot_word_bars, plot_word_matrix
from dashboard.pages.words.exports import words_exports
from dashboard.pages.words.line import render_line, shade_limit, words_payload
from dashboard.pages.words.results import (
    WordValues,
    caption_of,
    chosen_unit,
    gradients_of,
    token_problem,
    unit_answers,
    word_values,
    words_key,
)
from dashboard.pages.words.settings import MEASURES, WordsSettings
from dashboard.panels.chart import render_figure
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.panels.page import Exports
from dashboard.panels.texts import plain
from dashboard.panels.work import work_through
from dashboard.regions import outline_path

MEASURE_TITLES = {"left_out": "leave one out", "tokens": "tokens, surgery", "cosine": "tokens, cosine"}
MAP_TITLES = {"left_out": "without “{}” a patch loses", "tokens": "token “{}”", "cosine": "token “{}”"}
UNITS = {
    "left_out": "cosine lost without the word",
    "tokens": "cosine after feature surgery",
    "cosine": "cosine similarity",
}

HELP = """
**Leave one out** (the default): the cosine of image or patch with the whole caption, minus that with the caption
without the word. Positive: the word holds the similarity up. Start and end token cannot be left out.

**Tokens**: CLIP's text tower gives every token a feature. Its map is the cosine of the patches with it, after *feature
surgery* over all tokens, start and end included (they then sum to zero), or plain (CLIP Surgery, arXiv 2304.05653,
multimodal visualization). A word of several tokens shows their mean.

**Why leaving out is the default**: the text tower is causal and only its end token is trained against images, so a
token's feature stands for the caption up to there. Asked where the things are that the words name, leaving words out
finds them far more often; the README's table of findings has the figures.

**Integrated gradients** spread the cosine with the whole image over the tokens, from a baseline with padding in place
of every word (Sundararajan et al. 2017, arXiv 1703.01365, equation 1). They add up to the difference to the baseline;
the **completeness gap** says how far the numerical sum misses it.

Keyboard: Tab reaches every word, Enter chooses it; on the map arrow keys move over the patches.
"""

WHY = (
    "Leaving a word out finds what it names far more often than the word's own feature map: the text tower is causal, "
    "and only its end token was trained."
)


def render_words(case: Case, own: WordsSettings) -> Exports:
    """Caption and measure, the shaded caption, map and bars, the matrix."""
    _render_controls(case, own)
    if not caption_of(case).strip():
        st.info("Type a sentence about the image above, for example: a photo of a dog on grass", icon=":material/edit:")
        return Exports()
    problem = token_problem(case)
    if problem and own.measure != "left_out":
        st.info(f"{plain(problem)}\n\nTry “leave one out” above, or choose a CLIP model in the sidebar.")
        return Exports()
    with st.spinner("Encoding the caption …", show_time=True):
        values, left_out = word_values(case, own.measure), word_values(case, "left_out")
    for message in values.warnings:
        st.warning(plain(message))
    chosen = chosen_unit(case, values)
    _render_line(case, values, chosen)
    view, bars = st.columns([1, 1.25], gap="medium")
    with view:
        _render_map(case, values, chosen)
    place = bars.container()
    _render_matrix(case, values, chosen)
    with place:
        gradients = _render_bars(case, own, values, left_out, chosen, problem)
    return words_exports(case, own, values, left_out, gradients)


def _render_controls(case: Case, own: WordsSettings) -> None:
    with st.container(horizontal=True, gap="medium"):
        st.text_input(
            "Caption",
            max_chars=MAX_TEXT,
            placeholder="a photo of a dog on grass",
            width=430,
            **state.widget("caption", caption_of(case), _set_caption),
        )
        st.segmented_control(
            "Measure",
            MEASURES,
            format_func=MEASURE_TITLES.__getitem__,
            required=True,
            help=WHY,
            **state.setting(own, "measure"),
        )
        st.selectbox(
            "Image features",
            METHOD_NAMES,
            format_func=method_title,
            width=170,
            help="Method A of all pages: how the last blocks are walked, see Maps.",
            **state.widget("words method", case.method_a, lambda case, name: replace(case, method_a=name)),
        )


def _set_caption(case: Case, text: str) -> Case:
    caption = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    sample = services.sample(case)
    own = sample is not None and caption == sample.caption
    return replace(case, caption="" if own else caption, word=None)


def _render_line(case: Case, values: WordValues, chosen: int) -> None:
    where = "the whole image" if case.patch is None else f"patch row {case.patch[0]}, column {case.patch[1]}"
    measured = {"left_out": f"what {where} loses without each word", "tokens": f"relevance of each token to {where}"}
    st.markdown(f"**Shaded by {measured.get(values.measure, f'cosine of each token with {where}')}**")
    limit = shade_limit(values, of_patch=case.patch is not None)
    payload = words_payload(values, unit_answers(case, values), limit, chosen, f"Caption, relevance to {where}")
    render_line(payload, len(values.units), lambda index: state.update(word=index))
    st.caption(WHY)


def _render_map(case: Case, values: WordValues, chosen: int) -> None:
    map_ = values.patches[:, :, chosen]
    mask, picture = services.region_mask(case), services.image(case)
    title = MAP_TITLES[values.measure].format(values.units[chosen])
    cell = Cell(title, map_, note=region_note(map_, services.region(case)))
    view = MapView(
        photo=photo_of(picture),
        rows=(Row("", (cell,)),),
        limit=shared_limit([values.patches[np.isfinite(values.patches)]]),
        unit=UNITS[values.measure],
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
        bars=(),
    )
    render_map_view(view, key="word map", on_event=lambda event: take_patch(event, map_.shape))
    st.caption("Click a word above for its map, a patch for the words that answer it.")


def _render_bars(
    case: Case, own: WordsSettings, values: WordValues, left_out: WordValues, chosen: int, problem: str
) -> TokenGradients | None:
    """The bars; integrated gradients come last, since they can take seconds for a large model."""
    gradients = None
    if own.gradients and not problem:
        gradients = work_through(words_key(case), "Integrating gradients", gradients_of(case))
    where = "whole image" if case.patch is None else f"patch row {case.patch[0]}, column {case.patch[1]}"
    figure = plot_word_bars(
        values.units,
        unit_answers(case, values),
        f"{where}: {MEASURE_TITLES[values.measure]}",
        left_out.image,
        None if gradients is None else np.pad(gradients.words, 1, constant_values=np.nan),
        chosen,
    )
    render_figure(figure, key="word bars", on_event=lambda event: _take_bar(event, len(values.units)))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.toggle(
            "integrated gradients",
            disabled=bool(problem),
            help="A second opinion on the words, from the gradients of the text tower. Takes seconds for large models.",
            **state.setting(own, "gradients"),
        )
        st.caption(plain(problem) if problem else gradients_note(gradients), width="stretch")
    return gradients


def gradients_note(gradients: TokenGradients | None) -> str:
    """The completeness of integrated gradients in words. Pure."""
    if gradients is None:
        return "Do both ways name the same words?"
    rise = gradients.value - gradients.baseline
    return (
        f"Green adds up to {rise:+.3f}, from {gradients.baseline:.3f} without words to {gradients.value:.3f} with all; "
        f"completeness gap {gradients.gap:+.1e} over {gradients.steps} steps."
    ).replace("-", "−")


def _take_bar(event: Mapping[str, Any], units: int) -> None:
    for curve in range(BARS_CURVE, BARS_CURVE + 3):
        index = events.picked_index(event, curve)
        if index is not None and index < units:
            state.update(word=index)


def _render_matrix(case: Case, values: WordValues, chosen: int) -> None:
    region = services.region(case)
    foreground = None if region is None else region.foreground
    figure = plot_word_matrix(values.patches, values.units, "cosine", foreground, chosen, case.patch)
    grid = values.patches.shape[:2]
    order = patch_order(foreground, grid[0] * grid[1])
    render_figure(figure, key="word matrix", on_event=lambda event: _take_column(event, order, grid[1]))
    hint = (
        "Orange left of the dotted line and blue right of it: the word met the region. " if region is not None else ""
    )
    st.caption(f"{hint}Click a column to choose its patch.")


def _take_column(event: Mapping[str, Any], order: np.ndarray, columns: int) -> None:
    index = events.picked_index(event, MATRIX_CURVE)
    if index is not None and index < len(order):
        row, column = divmod(int(order[index]), columns)
        state.update(patch=(row, column))
