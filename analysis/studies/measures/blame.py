"""Which component wrote the contrast: one signed column a head, MLP and bias, for every method.

Source: see `analysis.decomposition`.
"""

from itertools import count

import numpy as np
import torch
from torch import Tensor

from analysis.decomposition import FoldedBlame, decompose_folded
from analysis.studies.batch import Batch, Targets
from analysis.studies.measure import Measure, Needs, Rows, register
from surgery.dense import Walk

SUM = "sum"
"""The column of what all terms add up to."""


@register
class Blame(Measure):
    """Terms of the contrast of every text with a region, and of the mean over all patches for a text without."""

    name = "blame"
    about = "the exact share of every head, MLP and bias in the contrast"
    keys = ("method", "of")
    needs = Needs(blocks="all", heads=True)

    def measure(self, batch: Batch) -> Rows:
        targets, (fold, row) = batch.targets, contrast_folds(batch)
        found = _decomposed(batch, fold)
        terms = [part.terms[targets.image, :, row, targets.text] for part in found]  # (k, components) each
        methods = len(batch.methods)
        sides = ["contrast" if id >= 0 else "mean" for id in targets.ids.tolist()]
        return {
            "index": np.tile(targets.index, methods),
            "text": list(targets.names) * methods,
            "method": [name for name in batch.methods for _ in sides],
            "of": sides * methods,
            SUM: torch.cat([part.sum(dim=1) for part in terms]),
            **_columns(found, terms),
        }


def _decomposed(batch: Batch, fold: Tensor) -> list[FoldedBlame]:
    """Of every method; those that read the same pass together."""
    groups: dict[Walk, list[str]] = {}
    for name in batch.methods:
        groups.setdefault(batch.walk_of(name), []).append(name)
    found: dict[str, FoldedBlame] = {}
    for walk, names in groups.items():
        features = [batch.features(name) for name in names]
        found |= dict(zip(names, decompose_folded(walk, batch.text, features, fold), strict=True))
    return [found[name] for name in batch.methods]


def contrast_folds(batch: Batch) -> tuple[Tensor, Tensor]:
    """Weights (b, r, gh * gw): mean over all patches, then contrast of each region; and the row (k,) of each pair."""
    targets: Targets = batch.targets
    rows, ids = [], iter(targets.ids.tolist())
    for item in batch.items:
        counted = count(1)
        rows += [next(counted) if next(ids) >= 0 else 0 for _ in item.targets]
    b, n = len(batch.items), targets.foreground.shape[-1]
    fold = batch.text.new_zeros(b, max(rows, default=0) + 1, n)
    fold[:, 0] = 1 / n
    front, back = (side.to(fold) / side.sum(dim=-1, keepdim=True) for side in (targets.foreground, targets.background))
    place = torch.tensor(rows, dtype=torch.long, device=fold.device)
    fold[targets.image, place] = torch.where(targets.has_region[:, None], front - back, 1 / n)
    return fold, place


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
