"""The Study page: a collection begun or opened, its pictures as a grid, and plots whose choices are choices of all."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import streamlit as st

from analysis import numerals
from analysis.studies import StudyFolder
from analysis.studies.pairs import MOST_PAIRS, Pairs
from dashboard import state, studies
from dashboard.case import Case, method_title
from dashboard.exports import Exports
from dashboard.figures import shared_limit
from dashboard.pages.study import more, plots, results
from dashboard.pages.study.begin import render_begin
from dashboard.pages.study.compare import render_comparison
from dashboard.pages.study.exports import study_exports
from dashboard.pages.study.grid import NEIGHBOURS, OPEN, Picture, open_list, paint, render_grid, thumbnail
from dashboard.pages.study.layout import render_layout
from dashboard.pages.study.results import Shown
from dashboard.pages.study.segmentation import has_segmentation, render_segmentation
from dashboard.pages.study.settings import SORTS, StudySettings
from dashboard.panels.texts import plain

HELP = """
A **study** measures every picture of a collection with every method, in a folder that the command
`clip-theatre study` reads and writes as well. A **map** here is one picture with one class that is in it.

**Flip AUC** is the probability that a patch of the object outscores one of the background; below 0.5 the map is
flipped. **Contrast** is the mean cosine of the object's patches minus that of the background's.

**Blame** splits the contrast exactly into one signed term a head, MLP and bias. *Worst in 71 %* says in how many
flipped maps this component has the most negative term.

**Intervals** are 95 % bootstrap intervals over pictures: pictures are drawn with all their maps (Efron and
Tibshirani 1993, chapter 13). There is none from a single picture.

**Lens**: contrast of what the read-out makes of the tokens after every block; bars say how often the sign turns for
good at a depth. Depth 0 is the embedding.
"""

SORT_TITLES = {
    "flipped": "most flipped first",
    "lit": "best first",
    "contrast": "lowest contrast first",
    "term": "lowest term of the component first",
    "order": "as in the collection",
}
PAGE_SIZE = 24
GRID_HEIGHT_PX = 560


def render_study(case: Case, settings: StudySettings) -> Exports:
    """What is shown: the choice of a study, then grid and plots."""
    render_begin(case, settings)
    if not settings.id or not studies.parts_done(settings.id):
        return Exports()
    key = results.key_of(settings.id)
    shown = results.shown(key, _fitted(studies.opened(settings.id), results.overview(key), settings))
    if not len(shown.seen) and not has_segmentation(shown):
        st.info("No picture of this study has a class that fills a patch, so no map can be judged.")
        return Exports()
    _render_headline(shown)
    if len(shown.seen):
        _render_filters(shown)
        left, right = st.columns([1, 1.7], gap="medium")
        with left:
            _render_pictures(shown)
        with right:
            plots.render_plots(shown)
        more.render_more(shown)
    render_segmentation(shown)
    if len(shown.seen):
        render_layout(shown)
        render_comparison(shown)
    if state.recall(OPEN):
        state.note(OPEN, False)
        st.switch_page("dashboard/pages/flip/flip.py")
    return study_exports(shown)


def _fitted(folder: StudyFolder, seen: Pairs, settings: StudySettings) -> StudySettings:
    """Methods and classes that this study has."""
    methods = seen.methods or folder.study.methods
    method = settings.method if settings.method in methods else methods[0]
    others = [name for name in methods if name != method] or [method]
    other = settings.other if settings.other in others else others[-1]
    known = set(seen.text) or set(folder.classes.values())
    return replace(settings, method=method, other=other, text=settings.text if settings.text in known else "")


def _render_headline(shown: Shown) -> None:
    settings, kept, state_of = shown.settings, shown.kept, results.state_of(shown.key)
    words = [f"**{plain(shown.title)}**", f"{state_of.images:,} pictures"]
    if len(shown.seen):
        flipped = float(shown.seen.flipped(settings.method)[kept].mean()) if kept.any() else 0.0
        words[-1] += f", {len(shown.seen):,} maps"
        words.append(f"{kept.sum():,} chosen, **{flipped:.0%} of them flipped** by {method_title(settings.method)}")
    if not state_of.complete:
        words.append(f"{state_of.done:,} done so far")
    if state_of.unreadable:
        words.append(f"{state_of.unreadable} pictures could not be read")
    words += _limits(shown)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" · ".join(words), width="content")
        if kept.sum() < len(kept) or settings.component or settings.depth is not None or settings.text:
            st.button("Clear the selection", type="tertiary", icon=":material/close:", on_click=_clear)


def _limits(shown: Shown) -> Iterator[str]:
    """What of a large study is shown in part."""
    lassoed = state.recall(plots.CUT, 0)
    if len(shown.settings.chosen) == plots.MOST_CHOSEN < lassoed:
        yield f"the first {plots.MOST_CHOSEN:,} of the {lassoed:,} pictures in the lasso"
    if shown.sampled:
        yield f"blame, lens and layers of a sample of about {MOST_PAIRS:,} maps"


def _clear() -> None:
    empty = {"text": "", "low": None, "high": None, "chosen": (), "component": "", "depth": None}
    state.adjust(StudySettings, **empty, page=0, segmented=0)


def _render_filters(shown: Shown) -> None:
    seen, settings = shown.seen, shown.settings
    columns = st.container(key="filters").columns([1.2, 1.2, 1.2, 1.2, 1.4])
    with columns[0]:
        st.selectbox("Sort", SORTS, format_func=SORT_TITLES.__getitem__, **state.setting(settings, "sort"))
    with columns[1]:
        texts = ["", *results.classes(shown.key)]
        st.selectbox("Class", texts, format_func=lambda text: text or "all", **state.setting(settings, "text"))
    with columns[2]:
        st.selectbox("Method", seen.methods, format_func=method_title, **state.setting(settings, "method"))
    with columns[3]:
        others = [name for name in seen.methods if name != settings.method] or [settings.method]
        st.selectbox("Against", others, format_func=method_title, **state.setting(settings, "other"))
    with columns[4]:
        low, high = settings.low or 0.0, 1.0 if settings.high is None else settings.high
        st.slider(
            "Flip AUC between",
            0.0,
            1.0,
            step=0.05,
            **state.tied("study auc", (low, high), _take_range),
        )


def _take_range(ends: tuple[float, float]) -> None:
    low, high = ends
    state.adjust(StudySettings, low=low if low > 0 else None, high=high if high < 1 else None, page=0)


def _render_pictures(shown: Shown) -> None:
    seen, settings = shown.seen, shown.settings
    terms = plots.terms_of(shown.key, settings) if settings.component else None
    order = results.order_of(seen, shown.kept, settings, terms)
    pages = max(1, -(-len(order) // PAGE_SIZE))
    page = min(settings.page, pages - 1)
    there = order[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
    if not len(there):
        st.info("No map passes the filters. Clear the selection to see all.")
        return
    _render_pager(page, pages, len(order))
    images = tuple(sorted({int(n) for n in seen.index[there]}))
    maps = results.maps_of(shown.key, images, settings.method)
    limit = shared_limit([values for values in maps.values()])
    pictures = [_picture(shown, int(row), maps, limit, terms) for row in there]
    with st.container(height=GRID_HEIGHT_PX, border=False):
        render_grid(pictures, lambda place: _open(shown, order, page * PAGE_SIZE + place))
    if maps:
        st.caption(f"Orange similar, blue dissimilar, ±{limit:g} cosine for all. A click opens a picture in Flip.")
    else:
        st.caption("This study did not keep its maps (measure pictures). Click a picture to open it in Flip.")


def _open(shown: Shown, order: np.ndarray, place: int) -> None:
    seen = shown.seen
    first = max(0, place - NEIGHBOURS)
    near = order[first : place + NEIGHBOURS]
    entries = [(int(seen.index[row]), str(seen.text[row])) for row in near]
    open_list(shown, entries, place - first)


def _render_pager(page: int, pages: int, maps: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        for title, icon, step in (("Earlier", "chevron_left", -1), ("Later", "chevron_right", 1)):
            st.button(
                title,
                icon=f":material/{icon}:",
                type="tertiary",
                disabled=not 0 <= page + step < pages,
                on_click=lambda step=step: state.adjust(StudySettings, page=page + step),
            )
        first = page * PAGE_SIZE
        st.markdown(f":small[{first + 1:,} to {min(first + PAGE_SIZE, maps):,} of {maps:,} maps]", width="content")


def _picture(
    shown: Shown, row: int, maps: Mapping[tuple[int, str], np.ndarray], limit: float, terms: np.ndarray | None
) -> Picture:
    seen, settings = shown.seen, shown.settings
    index, text = int(seen.index[row]), str(seen.text[row])
    auc, contrast = (float(seen.figure(name, settings.method)[row]) for name in ("flip_auc", "contrast"))
    figures = f"AUC {numerals.auc(auc)} · {numerals.signed(contrast)}"
    note = figures if terms is None else f"AUC {numerals.auc(auc)}\n{settings.component} {numerals.signed(terms[row])}"
    source = paint(thumbnail(studies.picture_name(shown.key[0], index)), maps.get((index, text)), limit)
    title = f"{seen.names.get(index, index)}: “{text}”, {method_title(settings.method)}, {figures}"
    return Picture(source, title, f"{text}\n{note}", index in settings.chosen and len(settings.chosen) == 1)
