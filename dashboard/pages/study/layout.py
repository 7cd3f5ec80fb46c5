"""A map of the collection: image features of all pictures in two dimensions, a dot a picture."""

import numpy as np
import streamlit as st

from analysis.studies import StudyFolder
from dashboard import studies
from dashboard.jobs import Job
from dashboard.pages.study import results
from dashboard.pages.study.results import Key, Overview
from dashboard.pages.study.settings import StudySettings
from dashboard.panels.work import work_through

MOST_IMAGES = 5000


def render_layout(key: Key, seen: Overview, settings: StudySettings) -> None:
    """The layout, computed once it is asked for."""
    folder = studies.opened(key[0])
    if "features" not in folder.study.measures:
        return
    with st.expander("Map of the collection (UMAP of the image features)"):
        if not st.toggle("Show it", key="study layout"):
            st.caption("Pictures that CLIP sees alike lie together. Choose some with the lasso.")
            return
        found = work_through(key, "Laying out the pictures", lambda job: lay_out(folder, job))
        if found is None:
            return
        from dashboard.pages.study.plots import render_scatter

        images, places = found
        spot = np.searchsorted(images, seen.index).clip(max=len(images) - 1)
        there = images[spot] == seen.index
        x, y = (np.where(there, places[spot, axis], np.nan) for axis in (0, 1))
        more = "" if there.all() else f", sample of {len(images):,} pictures"
        render_scatter("study umap", seen, settings, x, y, f"UMAP of the image features, cosine{more}", ("", ""))
        flipped = results.chosen_rows(seen, settings) & (seen.figure("flip_auc", settings.method) < 0.5)
        st.caption(f"Orange: flipped, {flipped.sum():,} of the chosen maps.")


def lay_out(folder: StudyFolder, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the pictures (n,), ascending, and their places (n, 2)."""
    from umap import UMAP

    numbers = folder.readable_images()
    if len(numbers) > MOST_IMAGES:
        numbers = np.sort(np.random.default_rng(0).choice(numbers, MOST_IMAGES, replace=False))
    rows = folder.table("features", ["index", "feature"], images=numbers).sort_values("index")
    features = np.stack(rows["feature"].to_numpy()).astype(np.float32)
    job.report(0.1, f"{len(features)} pictures")
    near = min(15, max(2, len(features) - 1))
    layout = UMAP(n_neighbors=near, metric="cosine", random_state=0, n_jobs=1, init="pca")
    return rows["index"].to_numpy(), layout.fit_transform(features)
