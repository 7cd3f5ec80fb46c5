"""The plots beside the grid. A click or a lasso in one of them changes the settings that all of them follow."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from analysis.studies.pairs import BINS, Pairs
from dashboard import events, state
from dashboard.case import method_title
from dashboard.figures import study as figures
from dashboard.figures.study_bars import plot_components
from dashboard.pages.study import results
from dashboard.pages.study.pieces import Piece
from dashboard.pages.study.results import Key, Shown
from dashboard.pages.study.settings import StudySettings
from dashboard.panels.chart import render_figure

MOST_CHOSEN = 2000
"""Pictures that a lasso chooses at most: the address names each."""
CUT = "study lasso"


def terms_of(key: Key, settings: StudySettings) -> np.ndarray | None:
    """Terms (n,) of the chosen component for every pair; None where none is chosen."""
    found = results.columns(key, "blame", "", settings)
    if settings.component not in found.labels:
        return None
    return found.values[:, found.labels.index(settings.component)]


def render_plots(shown: Shown) -> None:
    """AUC of all methods, one against another, blame, lens."""
    upper = st.columns(2, gap="small")
    with upper[0]:
        render_figure(_histogram(shown), "study histogram", _take_bin)
    with upper[1]:
        render_scatter("study pairs", shown, *_auc_pairs(shown), diagonal=True)
    lower = st.columns(2, gap="small")
    with lower[0]:
        _render_blame(shown)
    with lower[1]:
        _render_lens(shown)


def pieces(shown: Shown) -> Iterator[Piece]:
    """What `render_plots` draws."""
    yield Piece(
        "histogram",
        "Flip AUC of every method",
        lambda: shown.seen.histogram(shown.kept),
        ("histogram = pairs.histogram(kept)",),
        partial(_histogram, shown),
    )
    columns = ["picture", "class", *(f"flip_auc {name}" for name in dict.fromkeys(methods_of(shown)))]
    yield Piece(
        "against",
        "Flip AUC of one method against another",
        lambda: shown.seen.table(shown.kept)[columns],
        (f"against = pairs.table(kept)[{columns!r}]",),
        lambda: scatter_figure(shown, *_auc_pairs(shown), diagonal=True)[0],
    )
    for name, title, prefix, figure in (
        ("blame", "Blame of every head and MLP", "", _blame_figure),
        ("lens", "Lens: contrast after every block", "depth_", _lens_figure),
    ):
        if name in shown.folder.study.measures and shown.kept.any():
            yield split_piece(shown, name, title, prefix, figure)
    if "lens" in shown.folder.study.measures:
        yield Piece(
            "turning",
            "Where the sign of the lens turns for good",
            lambda: results.turning(shown.key, shown.filters),
            (
                'every_depth = read_columns(folder, pairs, "lens", method, wanted=kept)',
                "turning = turning_shares(every_depth, pairs, kept, method)",
            ),
        )


def split_piece(shown: Shown, measure: str, title: str, prefix: str, figure: Any) -> Piece:
    """Columns of a measure in both groups; `figure` gets what is shown and returns the plot."""
    more = ", worst=True" if measure == "blame" else ""
    read = f"read_columns(folder, pairs, {measure!r}, method, {prefix!r}, kept)"
    python = f"{measure} = split_flipped({read}, pairs, kept, method{more}).table()"
    table = lambda: results.split(shown.key, measure, prefix, shown.filters).table()  # noqa: E731
    return Piece(measure, title, table, (python,), lambda: figure(shown))


def methods_of(shown: Shown) -> tuple[str, str]:
    """The two methods that are compared."""
    return shown.settings.method, shown.settings.other


def _histogram(shown: Shown) -> go.Figure:
    auc = {name: shown.seen.figure("flip_auc", name) for name in shown.seen.methods}
    titles = {name: method_title(name) for name in shown.seen.methods}
    return figures.plot_auc_histogram(auc, shown.kept, shown.settings.method, titles)


def _take_bin(event: Mapping[str, Any]) -> None:
    places = [place for curve in (0, 1) if (place := events.picked_index(event, curve)) is not None]
    if places:
        state.adjust(StudySettings, low=places[0] / BINS or None, high=(places[0] + 1) / BINS, page=0)


def _take_images(event: Mapping[str, Any], seen: Pairs, drawn: np.ndarray) -> None:
    places = [place for place in events.picked_indices(event, 0) if place < len(drawn)]
    if places:
        images = np.unique(seen.index[drawn[places]])
        state.note(CUT, len(images))
        state.adjust(StudySettings, chosen=tuple(int(index) for index in images[:MOST_CHOSEN]), page=0)


Axes = tuple[np.ndarray, np.ndarray, str, tuple[str, str]]
"""x and y (n,), the title of a scatter, and those of its axes."""


def scatter_figure(
    shown: Shown, x: np.ndarray, y: np.ndarray, title: str, axes: tuple[str, str], diagonal: bool = False
) -> tuple[go.Figure, np.ndarray]:
    """Two figures of every map against each other, and the numbers of the maps that have a dot."""
    seen = shown.seen

    def words(pair: int) -> str:
        index = int(seen.index[pair])
        return f"{seen.names.get(index, index)}: {seen.text[pair]}".replace("<", "‹")

    return figures.plot_pairs(
        x, y, shown.kept, seen.flipped(shown.settings.method), words, title, axes, diagonal=diagonal
    )


def render_scatter(
    key: str,
    shown: Shown,
    x: np.ndarray,
    y: np.ndarray,
    title: str,
    axes: tuple[str, str],
    diagonal: bool = False,
) -> None:
    """Draws it; dots in a lasso are the selection of all plots."""
    figure, drawn = scatter_figure(shown, x, y, title, axes, diagonal)
    take = lambda event: _take_images(event, shown.seen, drawn)  # noqa: E731
    render_figure(figure, key, take, modes=("points", "lasso", "box"), tools=True)


def _auc_pairs(shown: Shown) -> Axes:
    method, other = methods_of(shown)
    x, y = (shown.seen.figure("flip_auc", name) for name in (method, other))
    names = (method_title(method), method_title(other))
    return x, y, f"Flip AUC, {names[1]} against {names[0]}", names


def _blame_figure(shown: Shown) -> go.Figure:
    found = results.split(shown.key, "blame", "", shown.filters)
    return plot_components(found, shown.settings.component, _blame_title(shown, found.rows))[0]


def _blame_title(shown: Shown, rows: int) -> str:
    sample = ", sample" if shown.sampled else ""
    return f"Blame over {rows:,} maps ({method_title(shown.settings.method)}), share where worst{sample}"


def _render_blame(shown: Shown) -> None:
    found = results.split(shown.key, "blame", "", shown.filters)
    if not found.labels or not found.rows:
        st.info("No map passes the filters." if found.labels else "This study has no blame; add the measure blame.")
        return
    settings = shown.settings
    figure, bars = plot_components(found, settings.component, _blame_title(shown, found.rows))

    def take(event: Mapping[str, Any]) -> None:
        places = [place for curve in (0, 1) if (place := events.picked_index(event, curve)) is not None]
        if places and places[0] < len(bars):
            label = found.labels[bars[places[0]]]
            state.adjust(StudySettings, component="" if label == settings.component else label, page=0)

    render_figure(figure, "study blame", take)


def _lens_figure(shown: Shown) -> go.Figure:
    found = results.split(shown.key, "lens", "depth_", shown.filters)
    turning = results.turning(shown.key, shown.filters)
    title = "Lens: contrast after every block (CLIP)" + (", sample" if shown.sampled else "")
    return figures.plot_depths(found.groups, title, ("depth", "contrast"), shown.settings.depth, turning)


def _render_lens(shown: Shown) -> None:
    if "lens" not in shown.folder.study.measures:
        st.info("This study has no lens; add the measure lens.")
    elif not shown.kept.any():
        st.info("No map passes the filters.")
    else:
        render_figure(_lens_figure(shown), "study lens", partial(take_depth, settings=shown.settings))


def take_depth(event: Mapping[str, Any], settings: StudySettings) -> None:
    """A click on a curve over depths chooses the depth, or leaves it."""
    places = [place for curve in range(8) if (place := events.picked_index(event, curve)) is not None]
    if places:
        state.adjust(StudySettings, depth=None if places[0] == settings.depth else places[0])
