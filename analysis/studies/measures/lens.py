"""Logit lens: the contrast of what the read-out makes of every depth, and where its sign turns.

Source: see `analysis.lens`.
"""

from typing import TYPE_CHECKING

import torch

from analysis.studies.batch import Batch
from analysis.studies.measure import Measure, Needs, Rows, register

if TYPE_CHECKING:
    from analysis.studies.study import Study
    from data.datasets import Dataset
    from surgery import Model


@register
class Lens(Measure):
    """Contrast at depth 0 (the embedding) to L (the output), and the depth from which on it keeps its final sign."""

    name = "lens"
    about = "logit lens: contrast at every depth, and where its sign turns"
    keys = ()
    needs = Needs(blocks="all", regions=True)

    def __init__(self, study: "Study", model: "Model", dataset: "Dataset") -> None:
        super().__init__(study, model, dataset)
        if not model.tower.has_residual:
            raise ValueError(f"Expected a tower with a residual stream for the measure lens, but got {model.name}")

    def measure(self, batch: Batch) -> Rows:
        targets, prefix = batch.targets, self.model.tower.prefix
        text = batch.text.to(batch.residual_readouts[0])
        maps = []
        for z in batch.residual_readouts:
            patches = z[:, prefix:]
            cosines = patches @ text.mT / torch.linalg.vector_norm(patches, dim=-1, keepdim=True)
            maps.append(cosines[targets.image, :, targets.text])
        stacked = torch.stack(maps)  # (L + 1, k, n)
        contrast = targets.mean(stacked, "foreground") - targets.mean(stacked, "background")  # (L + 1, k)
        negative = contrast < 0
        changes = (negative[1:] != negative[:-1]).float()  # (L, k)
        depths = torch.arange(1, len(contrast), device=contrast.device)[:, None]
        turning = (changes * depths).amax(dim=0)
        turning = torch.where(targets.has_region & (turning > 0), turning, torch.nan)
        rows = {"index": targets.index, "text": targets.names}
        return rows | {f"depth_{depth}": row for depth, row in enumerate(contrast)} | {"turning_depth": turning}
