"""Which explanation is best: every method of the study and every explainer of the tower, beside two baselines.

Source: see `analysis.judging`, with the known weaknesses of these figures.
"""

import numpy as np
from torch import Tensor

from analysis.explainers import usable_explainers
from analysis.judging import ExplanationMap, Judge, explanation_maps, figures_of
from analysis.studies.batch import Batch
from analysis.studies.images import Item
from analysis.studies.measure import Measure, Needs, Rows, register

STEPS = 6
"""Points of the curves after the first."""


class _Explained(Measure):
    """A row an image, text and explanation."""

    keys = ("group", "explanation")
    dear = True

    def measure(self, batch: Batch) -> Rows:
        rows: list[dict[str, object]] = []
        for place, item in enumerate(batch.items):
            if item.targets:
                rows += self._of_image(batch, place, item)
        names = ("index", "text", "group", "explanation", *self.quantities)
        columns = {name: [row[name] for row in rows] for name in names}
        numbers = {name: np.array(columns[name], np.float64) for name in self.quantities}
        return {**columns, "index": np.array(columns["index"], np.int64), **numbers}

    quantities: tuple[str, ...] = ()

    def _of_image(self, batch: Batch, place: int, item: Item) -> list[dict[str, object]]:
        maps = explained(batch, place)
        found = []
        for number, target in enumerate(item.targets):
            values = {name: one.values[..., number] for name, one in maps.items()}
            for name, figures in self._figures(batch, place, number, values).items():
                keys = {"index": item.index, "text": target.text, "group": maps[name].group, "explanation": name}
                found.append(keys | figures)
        return found

    def _figures(
        self, batch: Batch, place: int, number: int, values: dict[str, np.ndarray]
    ) -> dict[str, dict[str, float]]:
        """Name -> quantities of the maps (gh, gw) of one text of one image."""
        raise NotImplementedError


@register
class Explanations(_Explained):
    """Whether each map lights up the object."""

    name = "explanations"
    about = "score contrast, flip AUC and pointing game of every method, explainer and baseline"
    needs = Needs(regions=True)
    quantities = ("score_contrast", "flip_auc", "pointing", "constant")

    def _figures(
        self, batch: Batch, place: int, number: int, values: dict[str, np.ndarray]
    ) -> dict[str, dict[str, float]]:
        region = batch.items[place].targets[number].region
        return {
            name: figures_of(own, region) | {"constant": float(own.min() == own.max())} for name, own in values.items()
        }


@register
class Insertion(_Explained):
    """Whether the cosine follows the map."""

    name = "insertion"
    about = "area under insertion and deletion curves of every method, explainer and baseline"
    quantities = ("insertion", "deletion", "cosine")

    def _figures(
        self, batch: Batch, place: int, number: int, values: dict[str, np.ndarray]
    ) -> dict[str, dict[str, float]]:
        judge = Judge(batch.model, batch.pixels[place : place + 1], _texts(batch, place))
        curves = judge.curves(number, values, STEPS)
        return {
            name: {
                "insertion": found.insertion_auc,
                "deletion": found.deletion_auc,
                "cosine": float(found.insertion[-1]),
            }
            for name, found in curves.items()
        }


def explained(batch: Batch, place: int) -> dict[str, ExplanationMap]:
    """The maps of one image of a batch for its own texts, computed once for all measures."""
    if place not in batch.explained:
        item, names = batch.items[place], usable_explainers(batch.model.tower)
        pixels, text = batch.pixels[place : place + 1], _texts(batch, place)
        batch.explained[place] = explanation_maps(batch.model, pixels, text, batch.methods, names, seed=item.index)
    return batch.explained[place]


def _texts(batch: Batch, place: int) -> Tensor:
    return batch.bank.encode([target.text for target in batch.items[place].targets])
