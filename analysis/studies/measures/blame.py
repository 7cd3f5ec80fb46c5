"""Which component wrote the contrast: one signed column a head, MLP and bias, for every method.

Source: see `analysis.decomposition`.
"""

import numpy as np
import torch
from torch import Tensor

from analysis.decomposition import FoldedBlame, decompose_folded
from analysis.studies.batch import Batch, Targets
from analysis.studies.measure import Measure, Needs, Rows, register

SUM = "sum"
"""The column of what all terms add up to."""


@register
class Blame(Measure):
    """Terms of the contrast of every text with a region, and of the mean over all patches for a text without."""

    name = "blame"
    about = "the exact share of every head, MLP and bias in the contrast"
    keys = ("method", "of")
    needs = Needs(blocks="all")

    def measure(self, batch: Batch) -> Rows:
        targets, (fold, row) = batch.targets, contrast_folds(batch)
        found = [
            decompose_folded(batch.walk_of(name), batch.text, method, fold) for name, method in batch.methods.items()
        ]
        terms = [part.terms[targets.image, :, row, targets.text] for part in found]  # (k, components) each
        count = len(batch.methods)
        sides = ["contrast" if id >= 0 else "mean" for id in targets.ids.tolist()]
        return {
            "index": np.tile(targets.index, count),
            "text": list(targets.names) * count,
            "method": [name for name in batch.methods for _ in sides],
            "of": sides * count,
            SUM: torch.cat([part.sum(dim=1) for part in terms]),
            **_columns(found, terms),
        }


def contrast_folds(batch: Batch) -> tuple[Tensor, Tensor]:
    """Weights (b, r, gh * gw): mean over all patches, then contrast of each region; and the row (k,) of each pair."""
    targets: Targets = batch.targets
    numbers = [1 + place for item in batch.items for place in range(len(item.targets))]
    rows = torch.tensor([n if id >= 0 else 0 for n, id in zip(numbers, targets.ids.tolist(), strict=True)])
    b, n = len(batch.items), targets.foreground.shape[-1]
    fold = batch.text.new_zeros(b, max(rows.tolist(), default=0) + 1, n)
    fold[:, 0] = 1 / n
    front, back = (side.to(fold) / side.sum(dim=-1, keepdim=True) for side in (targets.foreground, targets.background))
    rows = rows.to(fold.device)
    fold[targets.image, rows] = torch.where(targets.has_region[:, None], front - back, 1 / n)
    return fold, rows


def _columns(found: list[FoldedBlame], terms: list[Tensor]) -> dict[str, Tensor]:
    """A column a component; NaN where a method has no such component."""
    owned = [{component.label: place for place, component in enumerate(part.components)} for part in found]
    labels = dict.fromkeys(label for own in owned for label in own)
    return {
        label: torch.cat(
            [
                part[:, own[label]] if label in own else part.new_full((len(part),), torch.nan)
                for own, part in zip(owned, terms, strict=True)
            ]
        )
        for label in labels
    }
