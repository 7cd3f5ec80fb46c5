"""The plots below the grid: layers, classes, sizes, figures of every method, the alpha sweep."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from analysis.explainers import EXPLAINERS
from analysis.studies.curves import SweepLine
from analysis.studies.groups import FlipGroups, GroupMeans
from dashboard import state
from dashboard.case import method_title
from dashboard.figures import study as figures
from dashboard.figures.study_bars import plot_method_figures
from dashboard.figures.theme import kind_title
from dashboard.pages.study import results
from dashboard.pages.study.pieces import Piece
from dashboard.pages.study.plots import Axes, render_scatter, scatter_figure, split_piece, take_depth
from dashboard.pages.study.results import Shown
from dashboard.pages.study.settings import GROUPS, PLACES, SWEPT, StudySettings
from dashboard.panels.chart import render_figure

GROUP_TITLES = {
    "norm.residual": "norm of the residual stream",
    "norm.attention": "norm of the attention output",
    "norm.mlp": "norm of the MLP output",
    "cosine.residual": "cosine of the stream with CLS",
    "cosine.attention": "cosine of the attention output with CLS",
    "entropy": "entropy of the attention (nats)",
    "mass.qk": "q-k attention that stays in the object",
    "mass.vv": "v-v attention that stays in the object",
}
PLACE_TITLES = {
    "area": "size of the object (share of patches)",
    "row": "its height in the picture (0 top)",
    "column": "its place from the left",
}
SWEPT_TITLES = {
    "contrast": "contrast",
    "score_contrast": "score contrast",
    "flip_auc": "flip AUC",
    "iou": "IoU at the best threshold",
}


def render_more(shown: Shown) -> None:
    """All of them; those that the study has not measured are left out."""
    first, second, third = st.columns(3, gap="small")
    with first:
        _render_layers(shown)
    with second:
        _render_classes(shown)
    with third:
        _render_sizes(shown)
    left, right = st.columns(2, gap="small")
    with left:
        _render_method_figures(shown)
    with right:
        _render_sweep(shown)


def pieces(shown: Shown) -> Iterator[Piece]:
    """What `render_more` draws."""
    settings, measures = shown.settings, shown.folder.study.measures
    if "layers" in measures and shown.kept.any() and _layer_split(shown).labels:
        yield split_piece(shown, "layers", "Layers", _layer_prefix(settings), _layer_figure)
    yield Piece(
        "classes",
        "Classes",
        lambda: shown.seen.class_table(shown.kept, settings.method, settings.other),
        ("classes = pairs.class_table(kept, method, other)",),
    )
    columns = ["picture", "class", settings.place, f"contrast {settings.method}"]
    if "pictures" in measures:
        yield Piece(
            "sizes",
            "Contrast against size and place",
            lambda: shown.seen.table(shown.kept)[columns],
            (f"sizes = pairs.table(kept)[{columns!r}]",),
            lambda: scatter_figure(shown, *_size_axes(shown))[0],
        )
    measure, quantity = _figure(shown)
    if measure and shown.kept.any():
        yield Piece(
            "methods",
            "Figures of every method",
            lambda: results.method_figures(shown.key, measure, quantity, shown.filters),
            (
                f"figure = read_figure(folder, pairs, {measure!r}, {quantity!r}, kept)",
                "methods = method_figures(figure, pairs, kept, method)",
            ),
            partial(_method_figure, shown),
        )
    line = _line(shown)
    if line is not None and shown.kept.any():
        read = f"read_sweep(folder, pairs, {settings.swept!r}, {line!r}, kept)"
        yield Piece(
            "sweep",
            "Alpha sweep",
            lambda: results.sweep(shown.key, settings.swept, line, shown.filters).table(),
            (f"sweep = split_flipped({read}, pairs, kept, method).table()",),
            partial(_sweep_figure, shown, line),
        )


def _layer_prefix(settings: StudySettings) -> str:
    special = {"entropy": "entropy.patches.", "mass.qk": "mass.qk.foreground.", "mass.vv": "mass.vv.foreground."}
    return special.get(settings.layers, f"{settings.layers}.foreground.")


def _layer_split(shown: Shown) -> FlipGroups:
    return results.split(shown.key, "layers", _layer_prefix(shown.settings), shown.filters)


def _layer_figure(shown: Shown) -> go.Figure:
    found, prefix = _layer_split(shown), _layer_prefix(shown.settings)
    blocks = np.array([int(label.removeprefix(prefix).partition(".")[0]) for label in found.labels])
    groups = {name: _by_block(group, blocks) for name, group in found.groups.items()}
    where = "object patches" if "foreground" in prefix else "patches"
    title = f"{GROUP_TITLES[shown.settings.layers]}, {where}" + (", sample" if shown.sampled else "")
    return figures.plot_depths(groups, title[0].upper() + title[1:], ("block", ""), shown.settings.depth)


def _by_block(group: GroupMeans, blocks: np.ndarray) -> GroupMeans:
    """Mean over the heads of each block."""
    ends = (
        np.array([np.nanmean(values[blocks == block]) for block in range(blocks.max() + 1)])
        for values in (group.mean, group.low, group.high)
    )
    return GroupMeans(*ends, group.images, group.rows)


def _render_layers(shown: Shown) -> None:
    settings = shown.settings
    if not _layer_split(shown).labels:
        st.info("This study has no layers; add the measure layers.")
        return
    st.selectbox("Layer curve", GROUPS, format_func=GROUP_TITLES.__getitem__, **state.setting(settings, "layers"))
    if shown.kept.any():
        render_figure(_layer_figure(shown), "study layers", partial(take_depth, settings=settings))


def _render_classes(shown: Shown) -> None:
    settings = shown.settings
    table = shown.seen.class_table(shown.kept, settings.method, settings.other)

    def taken() -> None:
        rows = st.session_state["study classes"].selection.rows
        if rows and rows[0] < len(table):
            state.adjust(StudySettings, text=str(table["class"].iloc[rows[0]]), page=0)

    st.markdown(":small[Classes: click a row to see its maps alone]")
    columns = {
        "flipped": st.column_config.NumberColumn("flipped", format="percent"),
        "auc": st.column_config.NumberColumn(f"AUC {method_title(settings.method)}", format="%.2f"),
        "other": st.column_config.NumberColumn(f"AUC {method_title(settings.other)}", format="%.2f"),
    }
    st.dataframe(
        table,
        key="study classes",
        on_select=taken,
        selection_mode="single-row",
        hide_index=True,
        height=306,
        column_config=columns,
    )


def _size_axes(shown: Shown) -> Axes:
    settings = shown.settings
    contrast = shown.seen.figure("contrast", settings.method)
    axes = (PLACE_TITLES[settings.place], "contrast")
    return shown.seen.places[settings.place], contrast, f"Contrast ({method_title(settings.method)})", axes


def _render_sizes(shown: Shown) -> None:
    if "pictures" not in shown.folder.study.measures:
        st.info("This study has no sizes; add the measure pictures.")
        return
    titles = PLACE_TITLES.__getitem__
    st.selectbox("Contrast against", PLACES, format_func=titles, **state.setting(shown.settings, "place"))
    render_scatter("study sizes", shown, *_size_axes(shown))


def _figure(shown: Shown) -> tuple[str, str]:
    """Measure and quantity that are shown of every method; empty where there are none."""
    choices = results.figure_choices(shown.key)
    measure, _, quantity = shown.settings.figure.partition(".")
    return (measure, quantity) if (measure, quantity) in choices else (choices[0] if choices else ("", ""))


def figure_title(measure: str, quantity: str) -> str:
    """How a figure is written.

    >>> figure_title("insertion", "deletion_auc"), figure_title("maps", "flip_auc")
    ('insertion: deletion AUC', 'flip AUC')
    """
    words = quantity.replace("_", " ").replace("auc", "AUC").replace("iou", "IoU")
    return words if measure == "maps" else f"{measure.replace('_', ' ')}: {words}"


def _method_figure(shown: Shown) -> go.Figure:
    measure, quantity = _figure(shown)
    table = results.method_figures(shown.key, measure, quantity, shown.filters)
    explainers = {name: found.title for name, found in EXPLAINERS.items()}
    titles = {name: explainers.get(name, method_title(name)) for name in table["method"]}
    name, sample = figure_title(measure, quantity), ", sample" if shown.sampled else ""
    title = (
        f"{name[0].upper()}{name[1:]}: maps that {method_title(shown.settings.method)} flips, and the others{sample}"
    )
    return plot_method_figures(table, titles, title, name)


def _render_method_figures(shown: Shown) -> None:
    choices = [f"{measure}.{quantity}" for measure, quantity in results.figure_choices(shown.key)]
    if not choices or not shown.kept.any():
        return
    own = ".".join(_figure(shown))
    title = lambda name: figure_title(*name.split(".", 1))  # noqa: E731
    st.selectbox("Figure of every method", choices, format_func=title, **state.setting(shown.settings, "figure", own))
    render_figure(_method_figure(shown), "study methods")


def _line(shown: Shown) -> SweepLine | None:
    """The line of the alpha sweep that is shown; None where there is none."""
    lines = results.sweep_lines(shown.key)
    return next((line for line in lines if str(line) == shown.settings.line), lines[0] if lines else None)


def _sweep_figure(shown: Shown, line: SweepLine) -> go.Figure:
    found = results.sweep(shown.key, shown.settings.swept, line, shown.filters)
    name = SWEPT_TITLES[shown.settings.swept]
    sample = f", sample of {found.rows:,} maps" if found.rows < shown.kept.sum() else ""
    title = f"Alpha sweep, {_line_title(line)}: {name}{sample}"
    return figures.plot_depths(found.groups, title, ("alpha", name), None, ticks=found.labels)


def _line_title(line: SweepLine) -> str:
    blocks = "last block" if line.blocks == 1 else f"last {line.blocks} blocks"
    return f"{kind_title(line.kind)} in the {blocks}{', with MLP' if line.mlp else ''}"


def _render_sweep(shown: Shown) -> None:
    line = _line(shown)
    if line is None or not shown.kept.any():
        if line is None:
            st.caption("No alpha sweep was measured: clip-theatre study run … --measures maps,alpha")
        return
    lines = {str(own): own for own in results.sweep_lines(shown.key)}
    first, second = st.columns(2)
    with first:
        title = lambda name: _line_title(lines[name])  # noqa: E731
        st.selectbox("Sweep", list(lines), format_func=title, **state.setting(shown.settings, "line", str(line)))
    with second:
        st.selectbox("Figure over alpha", SWEPT, format_func=SWEPT_TITLES.get, **state.setting(shown.settings, "swept"))
    render_figure(_sweep_figure(shown, line), "study sweep")
