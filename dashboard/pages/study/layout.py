"""A map of the collection: image features of all pictures in two dimensions, a dot a map of a class."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import streamlit as st

from analysis.studies.layout import lay_out
from dashboard import state
from dashboard.pages.study.pieces import Piece
from dashboard.pages.study.plots import Axes, render_scatter, scatter_figure
from dashboard.pages.study.results import Shown
from dashboard.panels.work import work_through

LAID_OUT = "study layouts"


def render_layout(shown: Shown) -> None:
    """The layout, computed once it is asked for."""
    if "features" not in shown.folder.study.measures:
        return
    with st.expander("Map of the collection (UMAP of the image features)"):
        if not st.toggle("Show it", key="study layout"):
            st.caption("Pictures that CLIP sees alike lie together. Choose some with the lasso.")
            return
        folder = shown.folder
        table = work_through(shown.key, "Laying out the pictures", lambda job: lay_out(folder, job.report))
        if table is None:
            return
        state.note(LAID_OUT, {shown.key: table})
        render_scatter("study umap", shown, *_axes(shown, table))
        flipped = int((shown.kept & shown.seen.flipped(shown.settings.method)).sum())
        st.caption(f"Orange: flipped, {flipped:,} of the chosen maps. Blue: not flipped.")


def pieces(shown: Shown) -> Iterator[Piece]:
    """The layout, where this visitor has asked for it."""
    table = state.recall(LAID_OUT, {}).get(shown.key)
    if table is not None:
        yield Piece(
            "layout",
            "Map of the collection",
            lambda: table,
            ("from analysis.studies.layout import lay_out", "layout = lay_out(folder)"),
            lambda: scatter_figure(shown, *_axes(shown, table))[0],
        )


def _axes(shown: Shown, table: pd.DataFrame) -> Axes:
    images, seen = table["index"].to_numpy(), shown.seen
    spot = np.searchsorted(images, seen.index).clip(max=len(images) - 1)
    there = images[spot] == seen.index
    x, y = (np.where(there, table[name].to_numpy()[spot], np.nan) for name in ("x", "y"))
    more = "" if there.all() else f", sample of {len(images):,} pictures"
    return x, y, f"UMAP of the image features, cosine{more}", ("", "")
