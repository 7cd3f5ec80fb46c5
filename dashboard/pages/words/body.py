"""The Words page: every measure of every word in one table, the maps of a word, words against patches, and blame.

One window holds it all, and it is linked: a patch under the pointer shows its words in the table, a word its maps.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from analysis import Region
from analysis.numerals import signed
from analysis.word_measures import WORD_MEASURES
from dashboard import catalogue, services, state
from dashboard.case import METHOD_NAMES, Case, method_title
from dashboard.fields import MAX_TEXT
from dashboard.figures import shared_limit
from dashboard.figures.words import plot_word_blame
from dashboard.pages.words import PAGE
from dashboard.pages.words import results as word_results
from dashboard.pages.words.board import board_payload, pairs_payload, render_board, render_pairs, word_limit
from dashboard.pages.words.exports import words_exports
from dashboard.pages.words.results import Board, caption_of, chosen_unit
from dashboard.pages.words.settings import CHEFER, GRAD_ECLIP, SIDES, WordsSettings
from dashboard.panels.chart import render_figure
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.panels.page import Exports
from dashboard.panels.texts import plain
from dashboard.regions import outline_path

UNIT = "relevance, share of each measure's largest in any patch"
SIDE_TITLES = {"pairs": "words × patches", "blame": "blame of the target"}
BASELINE_TITLES = {"padding": "“!!!!”", "empty": "no words", "mean": "mean embedding"}
BASELINE_HELP = (
    "What integrated gradients start from. “!!!!”: the token that fills captions up, which to CLIP's tokenizer is the "
    "letter “!”; a sentence, not nothing. No words: start and end token alone, as in the empty caption; the words' "
    "presence grows from 0 to 1. Mean embedding: the mean of all tokens, which is no word."
)

HELP = """
Every measure says how much a word has to do with the cosine of the caption and the image, or a patch. Each row has its
own unit and scale; point at its name to read them.

**Leave one out**: the cosine minus that without the word. Asked where the things are that the words name, it finds them
far more often than the tokens' own maps: the text tower is causal and only its end token was trained.
**Feature surgery**, **token cosine**: the patches with each token's own feature, after feature surgery over all tokens
or plain (CLIP Surgery, arXiv 2304.05653). **Chefer** (2103.15679), **Grad-ECLIP** (ICML 2024): shares of the words,
sum 1; where no word is relevant at all the published quotient is **0/0**, which is said instead of drawn.
**exCLIP** (2408.14153): pairs of token and patch of the model itself, whatever the image features. **Integrated
gradients** (1703.01365): they add up to the change of the cosine from their baseline.

**Agreement**: Spearman's rank correlation between measures, over the words, for the image or the chosen patch.

**Sums and differences**: "a red circle ++ grass" or "a dog on grass -- grass" as caption; every word is explained with
its term's sign over the length of the sum, and leaving out forms the target anew.

Keyboard: Tab reaches words, measures, maps and the matrix; arrow keys move over the patches, Enter chooses.
"""


def render_words(case: Case, own: WordsSettings) -> Exports:
    """Caption and headline, the table, the maps of a word beside words against patches."""
    _render_caption(case, own)
    if not caption_of(case).strip():
        st.info("Type a sentence about the image above, for example: a photo of a dog on grass", icon=":material/edit:")
        return Exports()
    headline = st.container(horizontal=True, vertical_alignment="center", key="headline")
    with st.spinner("Reading the caption …", show_time=True):
        shown = word_results.board(case, own)
    for message in shown.warnings:
        st.warning(plain(message))
    chosen, grid = chosen_unit(case, shown), services.grid(case)
    with headline:
        _render_headline(case, own, shown)
    take = lambda event: _take_board(event, len(shown.target.units), own)  # noqa: E731
    render_board(board_payload(case, own, shown, chosen, grid), take)
    maps, side = st.columns(2, gap="medium")
    with maps:
        _render_maps(case, own, shown, chosen)
    with side:
        _render_side(case, own, shown, chosen)
    return words_exports(case, own, shown)


def _render_caption(case: Case, own: WordsSettings) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.text_input(
            "Caption",
            max_chars=MAX_TEXT,
            placeholder="a photo of a dog on grass, or: a dog ++ grass",
            label_visibility="collapsed",
            width="stretch",
            **state.widget("caption", caption_of(case), _set_caption),
        )
        st.selectbox(
            "Image features",
            METHOD_NAMES,
            format_func=lambda name: f"image: {method_title(name)}",
            label_visibility="collapsed",
            width=190,
            help="Method A of all pages: how the last blocks are walked, see Maps.",
            **state.widget("words method", case.method_a, lambda case, name: replace(case, method_a=name)),
        )
        with st.popover("measures"):
            _render_choices(own)


def _render_choices(own: WordsSettings) -> None:
    titles = {name: WORD_MEASURES[name].title for name in (*CHEFER, *GRAD_ECLIP)}
    st.segmented_control(
        "Chefer et al.", CHEFER, format_func=titles.__getitem__, required=True, **state.setting(own, "chefer")
    )
    st.segmented_control(
        "Grad-ECLIP: as published, its blocks have one head",
        GRAD_ECLIP,
        format_func=titles.__getitem__,
        required=True,
        **state.setting(own, "grad_eclip"),
    )
    st.segmented_control(
        "Integrated gradients from",
        BASELINE_TITLES,
        format_func=BASELINE_TITLES.__getitem__,
        required=True,
        help=BASELINE_HELP,
        **state.setting(own, "baseline"),
    )


def _set_caption(case: Case, text: str) -> Case:
    caption = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    own = caption == caption_of(replace(case, caption=""))
    return replace(case, caption="" if own else caption, word=None)


def _render_headline(case: Case, own: WordsSettings, shown: Board) -> None:
    st.markdown(f"## {plain(headline(case, shown))}", width="content")
    with st.popover("more", type="tertiary"):
        st.markdown(PAGE.look_for)
        for name, text in notes(own, shown).items():
            st.markdown(f"**{plain(WORD_MEASURES[name].title)}**: {plain(text)}")
    slow = [name for name, found in shown.found.items() if found.patches is None]
    if slow or (own.every and case.model != catalogue.TOY):
        st.toggle(
            "maps of every measure",
            help="Grad-ECLIP and integrated gradients once more for every patch: seconds to minutes for large models.",
            **state.setting(own, "every"),
        )


def headline(case: Case, shown: Board) -> str:
    """Which word each measure names first, and how far the measures agree. Pure."""
    firsts: dict[str, int] = {}
    words = list(shown.target.word_units)
    for found in shown.found.values():
        values = word_results.answers(case, found)
        if values is not None and np.isfinite(values[words]).any():
            name = shown.target.units[words[int(np.nanargmax(values[words]))]]
            firsts[name] = firsts.get(name, 0) + 1
    where = "the image" if case.patch is None else f"patch row {case.patch[0]}, column {case.patch[1]}"
    told = sorted(firsts.items(), key=lambda item: -item[1])
    names = ", ".join(f"“{name}” ({count} of {sum(firsts.values())})" for name, count in told[:2])
    agreement = shown.agreement
    if not told or agreement is None or not np.isfinite(agreement.mean):
        return f"First for {where}: {names}" if told else f"No measure finds a word for {where}"
    return f"First for {where}: {names} · mean agreement {signed(agreement.mean)}"


def notes(own: WordsSettings, shown: Board) -> dict[str, str]:
    """What is to be said of single measures: why one is missing, 0 / 0, completeness of integrated gradients. Pure."""
    said = dict(shown.missing)
    for name, found in shown.found.items():
        if found.is_empty:
            said[name] = "no word is relevant to the image at all: the published quotient is 0/0, there are no shares"
        elif found.empty_patches:
            said[name] = f"no word is relevant at all to {found.empty_patches} patches, which stay empty (0/0)"
        if found.gap is not None:
            total = float(np.nansum(found.image))
            said[name] = (
                f"its words add up to {signed(total)}, the change of the cosine from {BASELINE_TITLES[own.baseline]} "
                f"to the caption; completeness gap {signed(found.gap)}"
            )
    return said


def _take_board(event: Mapping[str, Any], units: int, own: WordsSettings) -> None:
    index, name = event.get("index"), event.get("name")
    if event.get("type") == "word" and type(index) is int and 0 <= index < units:
        state.update(word=index)
    elif event.get("type") == "measure" and name in own.measures:
        state.adjust(WordsSettings, measure=name, side="pairs")


def _render_maps(case: Case, own: WordsSettings, shown: Board, chosen: int) -> None:
    region, mask, picture = services.region(case), services.region_mask(case), services.image(case)
    view = MapView(
        photo=photo_of(picture),
        rows=(Row(f"“{shown.target.units[chosen]}”", tuple(map_cells(case, own, shown, chosen, region))),),
        limit=1.0,
        unit=UNIT,
        outline="" if mask is None else outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
        wide=True,
    )
    render_map_view(view, key="word maps", on_event=lambda event: take_patch(event, services.grid(case)))


def map_cells(case: Case, own: WordsSettings, shown: Board, chosen: int, region: Region | None) -> list[Cell]:
    """The map of the whole target, and of the chosen word under every measure; each over its own measure's largest."""
    whole = word_results.target_map(case).patches[:, :, 0]
    limit = shared_limit([whole])
    hint = f"Cosine with the whole caption, strongest shade ±{limit:g}"
    cells = [Cell("whole caption", whole / limit, note=_note(whole, region), hint=hint)]
    for number, name in enumerate(own.measures, start=1):
        title, found = f"{number} {WORD_MEASURES[name].title}", shown.found.get(name)
        if found is None:
            cells.append(Cell(title, error=shown.missing.get(name, "")))
            continue
        if found.patches is None:
            cells.append(Cell(title, error="Slow for this model: switch “maps of every measure” on."))
            continue
        values, limit = found.patches[..., chosen], word_limit(found, found.patches)
        if not np.isfinite(values).any():
            cells.append(Cell(title, error="This measure has no value for it."))
            continue
        known = np.nan_to_num(values)
        hint = f"{found.unit}, strongest shade ±{limit:g}"
        cells.append(Cell(title, known / limit, note=_note(known, region), hint=hint))
    return cells


def _note(values: np.ndarray, region: Region | None) -> str:
    """Contrast and flip AUC in one line, since the window has no room for two."""
    return " · ".join(region_note(values, region).removeprefix("contrast ").split("\n"))


def _render_side(case: Case, own: WordsSettings, shown: Board, chosen: int) -> None:
    st.segmented_control(
        "Beside the maps",
        SIDES,
        format_func=SIDE_TITLES.__getitem__,
        required=True,
        label_visibility="collapsed",
        **state.setting(own, "side"),
    )
    region = services.region(case)
    if own.side == "blame":
        blame = word_results.blame_of(case)
        terms = word_results.blame_terms(case, blame, region)
        where = "contrast of the region" if region is not None else "mean of all patches"
        where = where if case.patch is None else f"patch row {case.patch[0]}, column {case.patch[1]}"
        render_figure(
            plot_word_blame(blame.labels, terms, f"Who writes the cosine with the target: {where}"), "word blame"
        )
        return
    found = shown.found.get(own.measure) or next(iter(shown.found.values()), None)
    if found is None or found.patches is None:
        st.caption(
            "This measure has no maps yet: switch “maps of every measure” on, or choose another row of the table."
        )
        return
    take = lambda event: take_patch(event, services.grid(case))  # noqa: E731
    render_pairs(pairs_payload(case, found, region, chosen), take)
