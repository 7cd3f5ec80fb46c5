"""Multi-label recognition: which classes the model says are in an image, against those that are.

Source: Li et al. 2023, "CLIP Surgery", arXiv 2304.05653, multi-label recognition; its baseline is the softmax over the
classes at the model's own scale.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.metrics import mean_average_precision
from analysis.studies.arrays import study_arrays
from analysis.studies.batch import Batch
from analysis.studies.measure import Measure, Rows, register
from analysis.studies.statistics import COLUMNS, Draws, centred, interval, note_on
from surgery import class_probabilities, feature_surgery, similarity

if TYPE_CHECKING:
    from analysis.studies.reader import StudyFolder
    from analysis.studies.study import Study
    from data.datasets import Dataset
    from surgery import Model

SCORES = ("cosine", "feature_surgery", "softmax")
MOST_WORK = 2e9
"""Images x classes x resamples that are sorted at most; larger sets take fewer resamples, but no fewer than 50."""


@register
class Recognition(Measure):
    """One row an image: the CLS row by cosine, after feature surgery over all classes, and as a softmax."""

    name = "recognition"
    about = "mAP of the classes present: cosine, feature surgery, softmax baseline"
    keys = ()

    def __init__(self, study: "Study", model: "Model", dataset: "Dataset") -> None:
        super().__init__(study, model, dataset)
        if len(self.texts) < 2:
            raise ValueError(f"Expected at least 2 classes for the measure recognition, but got {len(self.texts)}")

    def measure(self, batch: Batch) -> Rows:
        text = batch.bank.encode(self.texts)
        plain = similarity(batch.original, text).cls  # (b, t)
        present = [{item.names[id] for id in item.present} for item in batch.items]
        return {
            "index": batch.indices,
            "present": np.array([[name in own for name in self.texts] for own in present]),
            "cosine": plain.float(),
            "feature_surgery": feature_surgery(batch.original, text).cls.float(),
            "softmax": class_probabilities(plain, self.model.logit_scale, self.model.logit_bias).float(),
        }

    @classmethod
    def derive(cls, folder: "StudyFolder", resamples: int) -> pd.DataFrame | None:
        found = study_arrays(folder, cls.name, ["index", "present", *SCORES])
        if found is None or not found["present"].any():
            return None
        labels, images = found["present"], len(found["index"])
        count = int(np.clip(MOST_WORK / labels.size, 50, min(resamples, 200)))
        weights = Draws(images, count, folder.study.seed).weights(np.arange(images))
        rows = []
        for name in SCORES:
            mean = mean_average_precision(found[name], labels).mean
            drawn = centred(_resampled(found[name], labels, weights), mean)
            low, high = interval(drawn[:, None], images)[:, 0]
            rows.append((f"map_{name}", mean, low, high, images, images, note_on(images)))
        return pd.DataFrame(rows, columns=list(COLUMNS))


def _resampled(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """mAP of every resample (resamples,): average precision with weighted images, ties in order of their score."""
    drawn = np.full((labels.shape[1], len(weights)), np.nan)
    for t in np.flatnonzero(labels.any(axis=0)):
        order = np.argsort(-scores[:, t], kind="stable")
        own, weight = labels[order, t], weights[:, order]
        ends = np.append(np.flatnonzero(np.diff(scores[order, t])), len(order) - 1)  # the last image of each score
        hits, seen = (np.cumsum(part, axis=1)[:, ends] for part in (weight * own, weight))
        gained = np.diff(hits, axis=1, prepend=0)
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        total = hits[:, -1]
        drawn[t] = np.divide(
            (precision * gained).sum(axis=1), total, out=np.full(len(weights), np.nan), where=total > 0
        )
    return np.nanmean(drawn[labels.any(axis=0)], axis=0)
