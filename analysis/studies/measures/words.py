"""Which word met which region: whether a phrase of the caption points at what it names.

Source: see `analysis.text_tokens`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.regions import Region
from analysis.studies.batch import Batch
from analysis.studies.images import Item
from analysis.studies.measure import Measure, Needs, Rows, register
from analysis.text_tokens import (
    Caption,
    WordHit,
    compute_token_relevance,
    leave_one_word_out,
    read_caption,
    token_tower,
    word_region_hits,
)
from surgery import METHODS, DenseFeatures
from surgery.dense import dense_features_of, fit_method

if TYPE_CHECKING:
    from analysis.studies.study import Study
    from data.datasets import Dataset
    from surgery import Model

SOURCES = {"token maps": compute_token_relevance, "left out": leave_one_word_out}


@register
class Words(Measure):
    """One row a phrase of the first caption, by two kinds of maps: the words' own, and what leaving them out takes.

    A phrase is the name of a class that is present, or the caption's word for what is no class; features of CLIP
    Surgery.
    """

    name = "words"
    about = "whether the phrases of the caption point at what they name"
    keys = ("source", "of")
    needs = Needs(blocks="all", captions=True, regions=True)

    def __init__(self, study: "Study", model: "Model", dataset: "Dataset") -> None:
        super().__init__(study, model, dataset)
        token_tower(model)
        self.method = fit_method(model.tower, METHODS["clip_surgery"])

    def measure(self, batch: Batch) -> Rows:
        features = dense_features_of(batch.walk(self.method.position_interpolation), self.method)
        rows = [row for place, item in enumerate(batch.items) for row in self._of_item(features, place, item)]
        hits = [hit for *_, hit in rows]
        return {
            "index": np.array([index for index, *_ in rows], np.int64),
            "text": [hit.phrase for hit in hits],
            "source": [source for _, source, _, _ in rows],
            "of": [kind for _, _, kind, _ in rows],
            "points_at_it": np.array([hit.auc > 0.5 for hit in hits], np.float64),
            "auc": np.array([hit.auc for hit in hits], np.float64),
            "hit": np.array([hit.hit for hit in hits], np.float64),
            "chance": np.array([hit.chance for hit in hits], np.float64),
        }

    def _of_item(self, features: DenseFeatures, place: int, item: Item) -> Iterator[tuple[int, str, str, WordHit]]:
        if not item.captions:
            return
        caption = item.captions[0]
        targets = dict(_targets(read_caption(self.model, caption), item))
        if not targets:
            return
        one = replace(features, cls=features.cls[place : place + 1], patches=features.patches[place : place + 1])
        for source, compute in SOURCES.items():
            for hit in word_region_hits(compute(self.model, one, caption), targets):
                yield item.index, source, "background" if hit.phrase == item.scenery else "object", hit


def _targets(caption: Caption, item: Item) -> Iterator[tuple[str, Region]]:
    """The phrases of a caption that name something in the image."""
    regions = {target.text: target.region for target in item.targets if target.region is not None}
    if item.scenery is not None and item.free is not None:
        regions[item.scenery] = item.free
    for phrase, region in regions.items():
        try:
            caption.find(phrase)
        except ValueError:  # the caption does not speak of it
            continue
        yield phrase, region
