"""The causal check of blame over a data set: every attention output and every MLP removed in turn.

Source: see `analysis.interventions`.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from analysis.decomposition import decompose_folded
from analysis.interventions import ablate, components_of
from analysis.studies.batch import Batch
from analysis.studies.measure import Measure, Needs, Rows, register
from analysis.studies.measures.blame import contrast_folds
from surgery import METHODS, similarity
from surgery.dense import Walk, dense_features_of, fit_method

if TYPE_CHECKING:
    from analysis.studies.study import Study
    from data.datasets import Dataset
    from surgery import Model


@register
class Ablation(Measure):
    """One row a text with a region: how the contrast of the CLIP map changes without each component.

    At about half a pass a component this is the dearest of all measures; one removal serves all texts of an image.
    """

    name = "ablation"
    dear = True
    about = "change of the contrast without each attention output and MLP (dear: half a pass each)"
    keys = ()
    needs = Needs(blocks="all", regions=True)

    def __init__(self, study: "Study", model: "Model", dataset: "Dataset") -> None:
        super().__init__(study, model, dataset)
        self.method = fit_method(model.tower, METHODS["clip"])

    def measure(self, batch: Batch) -> Rows:
        targets, trace = batch.targets, batch.trace
        components = components_of(trace)
        before = self._contrasts(batch, batch.walk())
        changes = [self._contrasts(batch, Walk(ablate(trace, component))) - before for component in components]
        change = torch.stack(changes, dim=1)  # (k, components)
        blame = self._blame(batch, [component.label for component in components])
        kept = np.flatnonzero(targets.ids >= 0)
        place = torch.from_numpy(kept).to(change.device)
        change, blame = change[place], blame[place]
        worst = change.gather(1, blame.argmin(dim=1, keepdim=True))[:, 0]
        random = change.mean(dim=1)
        return {
            "index": targets.index[kept],
            "text": [targets.names[k] for k in kept],
            "worst": worst,
            "random": random,
            "worst_minus_random": worst - random,
            "rank_correlation": _rank_correlations(-blame, change),
            **{component.label: change[:, column] for column, component in enumerate(components)},
        }

    def _contrasts(self, batch: Batch, walk: Walk) -> Tensor:
        maps = batch.pick(similarity(dense_features_of(walk, self.method), batch.text).patches)
        return batch.targets.mean(maps, "foreground") - batch.targets.mean(maps, "background")

    def _blame(self, batch: Batch, labels: list[str]) -> Tensor:
        """Terms of the contrast (k, components)."""
        fold, row = contrast_folds(batch)
        (found,) = decompose_folded(batch.walk(), batch.text, [batch.original], fold, heads=False)
        own = [component.label for component in found.components]
        columns = [own.index(label) for label in labels]
        return found.terms[batch.targets.image, :, row, batch.targets.text][:, columns]


def _rank_correlations(predicted: Tensor, measured: Tensor) -> np.ndarray:
    """Spearman correlation of every row, (k,)."""
    pairs = zip(predicted.cpu().numpy(), measured.cpu().numpy(), strict=True)
    return np.array([spearmanr(a, b).statistic if len(a) > 1 else np.nan for a, b in pairs], np.float64)
