"""The pictures of a study in two dimensions, by their image features."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.studies.reader import StudyFolder

MOST_IMAGES = 5000
"""Of more pictures a sample is laid out."""
NEIGHBOURS = 15


def lay_out(folder: StudyFolder, report: Callable[[float, str], None] = lambda share, words: None) -> pd.DataFrame:
    """A row a picture, ascending: index, x, y; UMAP by cosine with a fixed seed.

    Args:
        folder: of a study with the measure "features".
        report: called with the share that is done, and words.

    Raises:
        ValueError: the study lacks the measure.

    Source: McInnes et al. 2018, "UMAP", arXiv 1802.03426, as umap-learn computes it.
    """
    from umap import UMAP

    numbers = folder.readable_images()
    if len(numbers) > MOST_IMAGES:
        numbers = np.sort(np.random.default_rng(0).choice(numbers, MOST_IMAGES, replace=False))
    rows = folder.table("features", ["index", "feature"], images=numbers).sort_values("index")
    features = np.stack(rows["feature"].to_numpy()).astype(np.float32)
    report(0.1, f"{len(features)} pictures")
    near = min(NEIGHBOURS, max(2, len(features) - 1))
    layout = UMAP(n_neighbors=near, metric="cosine", random_state=0, n_jobs=1, init="pca")
    x, y = layout.fit_transform(features).T
    return pd.DataFrame({"index": rows["index"].to_numpy(), "x": x, "y": y})
