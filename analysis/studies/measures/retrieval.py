"""Retrieval: which caption belongs to which image.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", table 13 (R@k).
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch.nn.functional as F

from analysis.studies.arrays import study_arrays
from analysis.studies.batch import Batch
from analysis.studies.measure import Measure, Needs, Rows, register
from analysis.studies.statistics import COLUMNS, Draws, interval, note_on
from surgery.text import encode_text

if TYPE_CHECKING:
    from analysis.studies.reader import StudyFolder

RECALLS = (1, 5, 10)
GROUP = 64
"""Images, and captions, to choose from in the small test."""
CHUNK = 4096


@register
class Retrieval(Measure):
    """One row an image and one a caption, with their features, which only together make ranks."""

    name = "retrieval"
    about = "R@1, R@5, R@10 of captions and images"
    keys = ()
    needs = Needs(captions=True)

    def measure(self, batch: Batch) -> Rows:
        images = F.normalize(batch.original.cls, dim=-1).float().cpu().numpy()
        captions = [(item.index, caption) for item in batch.items for caption in item.captions]
        features = images[:0]
        if captions:
            encoded = encode_text(self.model, [caption for _, caption in captions], cache=False)
            features = encoded.float().cpu().numpy()
        of_captions = np.array([index for index, _ in captions], np.int64)
        return {
            "index": np.concatenate([batch.indices, of_captions]),
            "caption": [None] * len(batch.items) + [caption for _, caption in captions],
            "feature": np.concatenate([images, features]),
        }

    @classmethod
    def derive(cls, folder: "StudyFolder", resamples: int) -> pd.DataFrame | None:
        found = study_arrays(folder, cls.name, ["index", "caption", "feature"])
        if found is None:
            return None
        is_image = pd.isna(found["caption"])
        owner = found["index"][~is_image]
        known = np.isin(found["index"][is_image], owner)
        images, features = found["index"][is_image][known], found["feature"][is_image][known]
        if len(images) < 2:
            return None
        captions, text = found["caption"][~is_image].astype(str), found["feature"][~is_image]
        hits = _recalls(features, images, text, owner, captions) | _groups(features, images, text, owner, captions)
        draws = Draws(len(images), resamples, folder.study.seed).weights(np.arange(len(images)))
        rows = [_row(name, values, np.searchsorted(images, of), draws) for name, (values, of) in hits.items()]
        return pd.DataFrame(rows, columns=list(COLUMNS))


Hits = dict[str, tuple[np.ndarray, np.ndarray]]
"""Name -> whether each query was right, and to which image it belongs."""


def _recalls(
    features: np.ndarray, images: np.ndarray, text: np.ndarray, owner: np.ndarray, captions: np.ndarray
) -> Hits:
    """Rank of the best right answer among all; an equal caption of another image is right as well."""
    _, number = np.unique(captions, return_inverse=True)
    said = dict(zip(images, np.split(number, np.searchsorted(owner, images)[1:]), strict=True))
    by_image, by_text = [], []
    for start in range(0, len(images), CHUNK):
        cosines = features[start : start + CHUNK] @ text.T
        for row, image in zip(cosines, images[start : start + CHUNK], strict=True):
            right = np.isin(number, said[image])
            by_image.append(int((row[~right] > row[right].max()).sum()))
    order = np.argsort(number, kind="stable")
    borders = np.searchsorted(number[order], np.arange(1, number.max() + 1))
    meant = np.split(np.searchsorted(images, owner[order]), borders)  # places of the images that each caption means
    for start in range(0, len(text), CHUNK):
        cosines = text[start : start + CHUNK] @ features.T
        for row, n in zip(cosines, number[start : start + CHUNK], strict=True):
            right = np.zeros(len(images), bool)
            right[meant[n]] = True
            by_text.append(int((row[~right] > row[right].max()).sum()))
    ranks = {"image_to_text": (np.array(by_image), images), "text_to_image": (np.array(by_text), owner)}
    return {f"{name}_r{k}": (rank < k, of) for name, (rank, of) in ranks.items() for k in RECALLS}


def _groups(
    features: np.ndarray, images: np.ndarray, text: np.ndarray, owner: np.ndarray, captions: np.ndarray
) -> Hits:
    """Top-1 among `GROUP` images and their first captions; images that fill no group are left out."""
    first = np.searchsorted(owner, images)
    full = len(images) // GROUP * GROUP
    right: dict[str, list[np.ndarray]] = {"image_to_text": [], "text_to_image": []}
    for start in range(0, full, GROUP):
        own = first[start : start + GROUP]
        cosines, words = features[start : start + GROUP] @ text[own].T, captions[own]
        right["image_to_text"].append(words[cosines.argmax(axis=1)] == words)
        right["text_to_image"].append(words[cosines.argmax(axis=0)] == words)
    return {f"{name}_of_{GROUP}": (np.concatenate(parts), images[:full]) for name, parts in right.items() if parts}


def _row(name: str, hits: np.ndarray, places: np.ndarray, draws: np.ndarray) -> tuple[object, ...]:
    """A line of the summary: the mean over queries, images being drawn with all their queries."""
    sums, counts = (np.bincount(places, part, draws.shape[1]) for part in (hits.astype(float), np.ones(len(hits))))
    seen = int((counts > 0).sum())
    drawn_counts = draws @ counts
    drawn = np.divide(draws @ sums, drawn_counts, out=np.full(len(draws), np.nan), where=drawn_counts > 0)
    low, high = interval(drawn[:, None], seen)[:, 0]
    return name, float(hits.mean()), low, high, seen, len(hits), note_on(seen)
