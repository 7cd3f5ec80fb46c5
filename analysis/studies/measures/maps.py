"""How well the map of every text lights up what is there, by patch and by pixel.

Source: contrast, score contrast and flip AUC as in `analysis.metrics`; explainability mIoU of Li et al. 2023, "CLIP
Surgery", arXiv 2304.05653: one threshold a class, searched over the data set, on the min-max normalised map.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.studies.batch import Batch, Targets
from analysis.studies.measure import Measure, Needs, Rows, register
from data.datasets import is_background
from surgery import Similarity, feature_surgery

if TYPE_CHECKING:
    import pandas as pd

    from analysis.studies.reader import StudyFolder

FINE_BINS = 1000
"""Of the min-max normalised map of an image, for the flip AUC over pixels: exact but for ties within a bin."""
THRESHOLDS = np.linspace(0, 1, 101)
"""Of the min-max normalised map; the stored histograms count the pixels between two of them."""


@register
class Maps(Measure):
    """Maps as cosines."""

    name = "maps"
    about = "contrast, score contrast and flip AUC by patch and by pixel, threshold histograms"
    needs = Needs(masks=True)

    def measure(self, batch: Batch) -> Rows:
        parts = [self._of_method(batch, name) for name in batch.methods]
        return {key: _join([part[key] for part in parts]) for key in parts[0]}

    def similarity(self, batch: Batch, method: str) -> Similarity:
        """What the maps show, for the texts of the batch."""
        return batch.similarity(method)

    def _of_method(self, batch: Batch, method: str) -> Rows:
        sim, targets = self.similarity(batch, method), batch.targets
        maps = batch.pick(sim.patches)  # (k, n)
        low, high = maps.amin(dim=-1), maps.amax(dim=-1)
        spread = torch.where(high > low, high - low, torch.ones_like(low))
        contrast = targets.mean(maps, "foreground") - targets.mean(maps, "background")
        flat = (high == low) & targets.has_region
        rows = {
            "index": targets.index,
            "text": targets.names,
            "method": [method] * len(targets),
            "contrast": contrast,
            "score_contrast": torch.where(flat, torch.zeros_like(low), contrast / spread),
            "flip_auc": flip_aucs(maps, targets),
            **_by_pixel(batch, (maps - low[:, None]) / spread[:, None], spread),
            "cls": sim.cls[targets.image, targets.text],
            "mean": maps.mean(dim=-1),
            "low": low,
            "high": high,
        }
        return rows

    @classmethod
    def derive(cls, folder: "StudyFolder", resamples: int) -> "pd.DataFrame | None":
        from analysis.studies.thresholds import explainability_iou

        return explainability_iou(folder, cls.name, resamples)


@register
class SurgeryMaps(Maps):
    """Maps after feature surgery over all texts of the study, or all classes of the data set."""

    name = "maps_surgery"
    about = "the same of maps after feature surgery over all classes (one class: the empty text)"

    def similarity(self, batch: Batch, method: str) -> Similarity:
        """Where the classes differ between images (a data set that names its one object anew), image by image."""
        features, parts = batch.features(method), []
        for names, places in _by_names(batch, self.study.texts).items():
            some = replace(features, cls=features.cls[places], patches=features.patches[places])
            redundant = batch.bank.encode([""]) if len(names) == 1 else None
            parts.append((names, places, feature_surgery(some, batch.bank.encode(names), redundant)))
        return _spread(parts, batch)


def _by_names(batch: Batch, texts: tuple[str, ...] | None) -> dict[tuple[str, ...], list[int]]:
    """Texts that compete in feature surgery -> places of their images in the batch."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, item in enumerate(batch.items):
        named = (name for id, name in (item.names or {}).items() if not is_background(id, name))
        groups.setdefault(tuple(dict.fromkeys(named)) if texts is None else texts, []).append(place)
    return groups


def _spread(parts: list[tuple[tuple[str, ...], list[int], Similarity]], batch: Batch) -> Similarity:
    """One similarity over the texts of the batch; NaN where a text is none of an image."""
    first, t = parts[0][2], len(batch.texts)
    b, (gh, gw) = len(batch.items), first.patches.shape[1:3]
    cls, patches = first.cls.new_full((b, t), torch.nan), first.patches.new_full((b, gh, gw, t), torch.nan)
    for names, places, sim in parts:
        columns = [(names.index(text), column) for column, text in enumerate(batch.texts) if text in names]
        theirs, ours = ([pair[side] for pair in columns] for side in (0, 1))
        rows = torch.tensor(places, device=cls.device)[:, None]
        cls[rows, ours] = sim.cls[:, theirs]
        patches.permute(0, 3, 1, 2)[rows, ours] = sim.patches.permute(0, 3, 1, 2)[:, theirs]
    return replace(first, cls=cls, patches=patches)


def flip_aucs(maps: Tensor, targets: Targets) -> Tensor:
    """`analysis.metrics.flip_auc` of k maps (k, n), (k,); NaN without region."""
    infinite = torch.full((), torch.inf, dtype=maps.dtype, device=maps.device)
    ordered = torch.where(targets.background, maps, infinite).sort(dim=-1).values
    below = sum(torch.searchsorted(ordered, maps.contiguous(), right=right) for right in (False, True))
    below = below.clamp(max=2 * targets.background.sum(dim=-1, keepdim=True)) / 2  # background patches that lose
    return targets.mean(below.to(maps.dtype), "foreground") / targets.background.sum(dim=-1)


def _by_pixel(batch: Batch, maps: Tensor, spread: Tensor) -> Rows:
    """Figures over pixels of min-max normalised maps (k, n), enlarged bilinearly to each image."""
    targets, device = batch.targets, maps.device
    counts = torch.zeros(len(targets), 2, FINE_BINS + 1, dtype=torch.float64, device=device)
    grids = maps.unflatten(1, batch.trace.grid)[:, None]
    masks = {p: i.mask.to(device, non_blocking=True) for p, i in enumerate(batch.items) if i.mask is not None}
    for k, (place, id) in enumerate(zip(_list(targets.image, batch), targets.ids.tolist(), strict=True)):
        if id >= 0:
            mask = masks[place]
            values = F.interpolate(grids[k : k + 1], size=tuple(mask.shape), mode="bilinear")[0, 0]
            counts[k] = _histogram(values, mask, id)
    return _pixel_figures(counts, spread)


def _list(image: Tensor, batch: Batch) -> list[int]:
    """`Targets.image` on the CPU, without waiting for the device."""
    return [place for place, item in enumerate(batch.items) for _ in item.targets]


def _histogram(values: Tensor, mask: Tensor, id: int) -> Tensor:
    """Pixels of the object and of the rest, unknown ones (255) left out, by value in [0, 1]: (2, `FINE_BINS` + 1)."""
    bins = (values * FINE_BINS + 1e-3).long()  # so that a value at a threshold is not lost by rounding
    side = torch.where(mask == id, 0, torch.where(mask == 255, 2, 1))
    places = (bins + side * (FINE_BINS + 1)).flatten()
    if values.device.type == "cpu":
        found = torch.bincount(places, minlength=3 * (FINE_BINS + 1))
    else:  # bincount would wait for the device
        ones = torch.ones_like(places)
        found = torch.zeros(3 * (FINE_BINS + 1), dtype=torch.int64, device=values.device).scatter_add_(0, places, ones)
    return found.unflatten(0, (3, -1))[:2].double()


def _pixel_figures(counts: Tensor, spread: Tensor) -> Rows:
    """Contrast, AUC and coarse histograms from fine ones (k, 2, `FINE_BINS` + 1)."""
    centres = (torch.arange(FINE_BINS + 1, device=counts.device, dtype=torch.float64) + 0.5) / FINE_BINS
    totals = counts.sum(dim=-1)  # (k, 2)
    means = (counts * centres.clamp(max=1)).sum(dim=-1) / totals
    front, back = counts.unbind(dim=1)
    below = back.cumsum(dim=-1) - back / 2
    step = FINE_BINS // (len(THRESHOLDS) - 1)
    coarse = torch.cat([counts[..., :-1].unflatten(-1, (-1, step)).sum(dim=-1), counts[..., -1:]], dim=-1)
    contrast = means[:, 0] - means[:, 1]
    return {
        "pixel_contrast": contrast * spread,
        "pixel_score_contrast": contrast,
        "pixel_auc": (front * below).sum(dim=-1) / (totals[:, 0] * totals[:, 1]),
        "foreground_histogram": coarse[:, 0].int(),
        "background_histogram": coarse[:, 1].int(),
    }


def _join(columns: list) -> object:
    first = columns[0]
    if isinstance(first, Tensor):
        return torch.cat(columns)
    return np.concatenate(columns) if isinstance(first, np.ndarray) else [value for part in columns for value in part]
