"""The alpha sweep: every point of a grid of kinds, blocks, residuals and alphas on every text with a region.

Source: Lan et al. 2024, "ClearCLIP", arXiv 2407.12442, section 3; see `analysis.sweep`.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from analysis.alpha import iterate_cosines
from analysis.studies.batch import Batch, Targets
from analysis.studies.measure import Measure, Needs, Rows, register
from analysis.studies.measures.maps import flip_aucs
from analysis.sweep import POINT
from surgery import Method

if TYPE_CHECKING:
    from analysis.studies.study import Study
    from data.datasets import Dataset
    from surgery import Model


@register
class Alpha(Measure):
    """Contrast, score contrast, flip AUC and best IoU over patches at every point of `Study.grid`."""

    name = "alpha"
    about = "the same figures over a grid of kind, blocks, residual and alpha (ClearCLIP's sweep)"
    keys = POINT
    needs = Needs(blocks="all", regions=True)

    def __init__(self, study: "Study", model: "Model", dataset: "Dataset") -> None:
        super().__init__(study, model, dataset)
        self.points = study.grid.methods(model.tower)

    def measure(self, batch: Batch) -> Rows:
        targets, walk = batch.targets, batch.walk(self.study.grid.position_interpolation)
        kept = torch.from_numpy(np.flatnonzero(targets.ids >= 0)).to(batch.pixels.device)
        maps = [batch.pick(cosines)[kept] for cosines in iterate_cosines(walk, self.points, batch.text)]
        figures = [_figures(values, _kept(targets, kept)) for values in maps]
        count, places = len(self.points), np.flatnonzero(targets.ids >= 0)
        points = [point for point in self.points for _ in places]
        return {
            "index": np.tile(targets.index[places], count),
            "text": [targets.names[k] for k in places] * count,
            **_point_columns(points),
            **{name: torch.cat([part[name] for part in figures]) for name in figures[0]},
        }


def _kept(targets: Targets, kept: Tensor) -> Targets:
    places = kept.cpu().numpy()
    return Targets(
        tuple(targets.names[k] for k in places),
        targets.index[places],
        targets.image[kept],
        targets.text[kept],
        targets.foreground[kept],
        targets.background[kept],
        targets.has_region[kept],
        targets.ids[places],
    )


def _point_columns(points: list[Method]) -> Rows:
    return {
        "kind": [point.attention for point in points],
        "blocks": np.array([point.blocks for point in points], np.int32),
        "residual": np.array([point.residual for point in points], np.float64),
        "alpha": np.array([point.alpha for point in points], np.float64),
        "mlp": np.array([point.mlp for point in points], bool),
    }


def _figures(maps: Tensor, targets: Targets) -> dict[str, Tensor]:
    """Of maps (k, n), each (k,)."""
    spread = maps.amax(dim=-1) - maps.amin(dim=-1)
    contrast = targets.mean(maps, "foreground") - targets.mean(maps, "background")
    iou, threshold = _best_iou(maps, targets)
    return {
        "contrast": contrast,
        "score_contrast": torch.where(spread > 0, contrast / spread, torch.zeros_like(contrast)),
        "flip_auc": flip_aucs(maps, targets),
        "iou": iou,
        "threshold": threshold,
    }


def _best_iou(maps: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """`analysis.metrics.best_threshold_iou` of every map by itself: IoU and its lowest threshold, (k,)."""
    maps = maps.double()
    infinite = torch.full((), torch.inf, dtype=maps.dtype, device=maps.device)
    valid = targets.foreground | targets.background
    ordered = torch.where(valid, maps, infinite).sort(dim=-1).values  # (k, n): every value is a threshold
    objects = torch.where(targets.foreground, maps, infinite).sort(dim=-1).values
    sizes = [members.sum(dim=-1, keepdim=True) for members in (valid, targets.foreground)]
    predicted, hits = (
        size - torch.searchsorted(values, ordered) for size, values in zip(sizes, (ordered, objects), strict=True)
    )
    iou, place = (hits / (sizes[1] + predicted - hits)).max(dim=-1, keepdim=True)
    return iou[:, 0], ordered.gather(1, place)[:, 0]
