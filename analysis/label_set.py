"""How far every map of feature surgery moves when one label leaves or joins the set of labels.

Source: the label set in feature surgery of Li et al. 2023, "CLIP Surgery", arXiv 2304.05653; here in closed form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.redundancy import check_labels, leave, mean_contrast
from analysis.regions import Region
from surgery.dense import DenseFeatures
from surgery.features import Similarity, similarity
from surgery.methods import Method

CHANGES_AT_ONCE = 64
"""So that a number for each of them and each label stays in the cache of the processor."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSetEffect:
    """How far each feature-surgery map moves when one label leaves or joins the set; float32 arrays.

    Attributes:
        labels: t names of the texts whose maps are watched.
        changes: k labels that left or joined, one at a time.
        joined: k flags, whether the label joined (else it left).
        mean_change: (b, k, t) mean over patches of the absolute change of a map; NaN for the label that left.
        correlation: (b, k, t) Pearson correlation over patches of a map with itself before the change; NaN likewise.
        contrast: (b, k, t) mean of the changed map over the foreground minus over the background; None without region.
        contrast_before: (b, t) the same with the whole set; None without region.
        method: the method of the image features.
        model: name of the model.
    """

    labels: tuple[str, ...]
    changes: tuple[str, ...]
    joined: tuple[bool, ...]
    mean_change: np.ndarray
    correlation: np.ndarray
    contrast: np.ndarray | None
    contrast_before: np.ndarray | None
    method: Method
    model: str


@torch.inference_mode()
def label_set_effect(
    features: DenseFeatures,
    text: Tensor,
    labels: Sequence[str],
    *,
    drop: Sequence[str] | None = None,
    add: Mapping[str, Tensor] | None = None,
    region: Region | Sequence[Region] | None = None,
) -> LabelSetEffect:
    """Changes the label set by one label at a time and watches every map of feature surgery.

    Args:
        features: from `dense_features`.
        text: (t, d) text features, t >= 2.
        labels: t names of the texts.
        drop: labels that leave, one at a time; every label when neither `drop` nor `add` is given.
        add: names and (d,) text features of labels that join, one at a time.
        region: one for all images, or one each, for the contrast.

    Returns:
        One row a change, those of `drop` first.

    Raises:
        ValueError: wrong shapes, an unknown label to drop, too few labels to drop one, or regions that do not fit.
    """
    before = similarity(features, text)
    check_labels(labels, before)
    drop = list(drop or (() if add else labels))
    _check_drop(drop, labels)
    joining = [similarity(features, feature.reshape(1, -1)) for feature in (add or {}).values()]
    change = _Changes.of(before, [list(labels).index(name) for name in drop], joining)
    mean_change, correlation = change.measures()
    return LabelSetEffect(
        labels=tuple(labels),
        changes=(*drop, *(add or ())),
        joined=(False,) * len(drop) + (True,) * len(joining),
        mean_change=leave(mean_change),
        correlation=leave(correlation),
        contrast=None if region is None else leave(change.contrast(region)),
        contrast_before=None if region is None else leave(mean_contrast(change.unflat(change.maps), region)),
        method=features.method,
        model=features.model,
    )


@dataclass(frozen=True, slots=True)
class _Changes:
    """All changes of a label set in closed form, float64: no map is computed again.

    With A_t = cos_t w_t and m its mean over the T labels, the map of a label is M_t = A_t - m. The weights are
    w_t = T e_t / sum(e), so a change only scales all of them by one number c, and the map becomes c (A_t - u):

        k leaves   c = (T - 1) / T * sum(e) / (sum(e) - e_k)    u = (T m - A_k) / (T - 1)
        j joins    c = (T + 1) / T * sum(e) / (sum(e) + e_j)    u = (T m + A_j) / (T + 1)

    Attributes:
        weighted: (b, n, t) A_t.
        mean: (b, n) m.
        scale: (b, k) c of every change.
        common: (b, n, k) u of every change.
        left: k indices of the label that left, None for one that joined.
        grid: rows and columns of patches.
    """

    weighted: Tensor
    mean: Tensor
    scale: Tensor
    common: Tensor
    left: tuple[int | None, ...]
    grid: tuple[int, int]

    @classmethod
    def of(cls, before: Similarity, left: list[int], joining: list[Similarity]) -> "_Changes":
        image, patches = _wide(before.cls), _wide(before.patches).flatten(1, 2)
        count = image.shape[-1]
        e = (2 * image).exp()  # as `class_weights`, of cosines: nothing can overflow
        total = e.sum(dim=-1, keepdim=True)
        weighted = patches * (count * e / total)[:, None]
        mean = weighted.mean(dim=-1)
        scales, commons = [], []
        if left:
            scales.append((count - 1) / count * total / (total - e[:, left]))
            commons.append((count * mean[..., None] - weighted[..., left]) / (count - 1))
        if joining:
            new = torch.cat([(2 * _wide(sim.cls)).exp() for sim in joining], dim=-1)  # (b, j)
            added = torch.cat([_wide(sim.patches).flatten(1, 2) for sim in joining], dim=-1)
            scales.append((count + 1) / count * total / (total + new))
            commons.append((count * mean[..., None] + added * (count * new / total)[:, None]) / (count + 1))
        grid = tuple(before.patches.shape[1:3])
        scale, common = torch.cat(scales, dim=-1), torch.cat(commons, dim=-1)
        return cls(weighted, mean, scale, common, (*left, *(None for _ in joining)), grid)

    @property
    def maps(self) -> Tensor:
        """(b, n, t) before any change."""
        return self.weighted - self.mean[..., None]

    def unflat(self, maps: Tensor) -> Tensor:
        """(b, n, t) -> (b, gh, gw, t)."""
        return maps.unflatten(1, self.grid)

    def measures(self) -> tuple[Tensor, Tensor]:
        """Mean over patches of |(c - 1) A_t - (c u - m)|, and correlation of A_t - u with A_t - m; each (b, k, t).

        A few changes at a time, whose numbers stay in the cache: beside the results, memory grows with k + t.
        """
        b, k, t = *self.scale.shape, self.weighted.shape[-1]
        found = [self.weighted.new_empty(b, k, t, dtype=torch.float32) for _ in range(2)]
        labels = self.weighted.float()  # (b, n, t)
        a = self.weighted - self.weighted.mean(dim=1, keepdim=True)
        m = self.mean[..., None] - self.mean.mean(dim=1)[:, None, None]  # (b, n, 1)
        for start in range(0, k, CHANGES_AT_ONCE):
            some = slice(start, start + CHANGES_AT_ONCE)
            found[0][:, some] = self._mean_change(some, labels)
            found[1][:, some] = self._correlation(some, a, m)
        return self._without_left(found[0]), self._without_left(found[1])

    def _mean_change(self, some: slice, labels: Tensor) -> Tensor:
        """For some changes, with the labels A (b, n, t) in float32; their distance from a centre needs no more."""
        moved = self.scale[:, None, some] * self.common[..., some] - self.mean[..., None]  # (b, n, changes)
        factor = self.scale[:, some] - 1
        still = factor.abs() < 1e-12  # then the maps move by u alone, all alike
        centre = moved / torch.where(still, torch.ones_like(factor), factor)[:, None]
        distance = _distance(centre.float(), labels) / labels.shape[1]
        alike = moved.abs().mean(dim=1)[..., None].to(distance)
        return torch.where(still[..., None], alike, factor.abs()[..., None].to(distance) * distance)

    def _correlation(self, some: slice, a: Tensor, m: Tensor) -> Tensor:
        """For some changes, with the centred labels a (b, n, t) and their centred mean m (b, n, 1)."""
        u = self.common[..., some] - self.common[..., some].mean(dim=1, keepdim=True)
        aa, uu, mm = (z.square().sum(dim=1) for z in (a, u, m))  # (b, t), (b, changes), (b, 1)
        ua, um, am = u.mT @ a, (u * m).sum(dim=1), (a * m).sum(dim=1)  # (b, changes, t), (b, changes), (b, t)
        product = (aa - am)[:, None] - ua + um[..., None]
        whole = self.weighted.square().sum(dim=1)  # (b, t)
        before = self._length(aa - 2 * am + mm, whole)[:, None]
        after = self._length(aa[:, None] - 2 * ua + uu[..., None], whole[:, None])
        return (product / (before * after)).clamp(-1, 1)

    @staticmethod
    def _length(squared: Tensor, scale: Tensor) -> Tensor:
        """Length of a centred map; NaN where it is constant up to the rounding of float32 cosines."""
        dust = (4 * torch.finfo(torch.float32).eps) ** 2 * scale
        return torch.where(squared > dust, squared, torch.nan).sqrt()

    def contrast(self, region: Region | Sequence[Region]) -> Tensor:
        """Contrast of every map after every change, (b, k, t)."""
        of_labels, of_common = (mean_contrast(self.unflat(z), region) for z in (self.weighted, self.common))
        return self._without_left(self.scale[..., None] * (of_labels[:, None] - of_common[..., None]))

    def _without_left(self, values: Tensor) -> Tensor:
        """NaN for the label that is not there any more."""
        rows = [(k, label) for k, label in enumerate(self.left) if label is not None]
        if rows:
            changes, labels = zip(*rows, strict=True)
            values[:, list(changes), list(labels)] = torch.nan
        return values


def _distance(centre: Tensor, labels: Tensor) -> Tensor:
    """Sum over patches of |centre - labels|: (b, n, c), (b, n, t) -> (b, c, t); in half the time of torch.cdist."""
    found = centre.new_zeros(len(centre), centre.shape[2], labels.shape[2])
    apart = torch.empty_like(found)
    for of_centre, of_label in zip(centre.unbind(1), labels.unbind(1), strict=True):
        torch.sub(of_centre[..., None], of_label[:, None], out=apart)
        found.add_(apart.abs_())
    return found


def _wide(values: Tensor) -> Tensor:
    """As float64, on the processor where the accelerator has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def _check_drop(drop: Sequence[str], labels: Sequence[str]) -> None:
    unknown = [name for name in drop if name not in labels]
    if unknown:
        raise ValueError(f"Expected drop to name labels of {', '.join(labels)}, but got {unknown}")
    if len(labels) < 2 + bool(drop):
        raise ValueError(f"Expected labels to be at least {2 + bool(drop)}, so that 2 stay, but got {len(labels)}")
