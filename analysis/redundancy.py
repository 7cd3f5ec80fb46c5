"""What all texts have in common in an image, and what the set of labels does to every map.

Feature surgery (Li et al. 2023, "CLIP Surgery", arXiv 2304.05653) splits the element-wise product of a
unit image token F_i with a weighted unit text feature w_t T_t into a part that is the same for all texts and the rest:

    F_i * w_t T_t  =  F_i * g  +  F_i * (w_t T_t - g)        g = mean_t(w_t T_t)      (d,)

`F_i * g` is the redundant feature of the token. g does not depend on the token, so its map, its energy and its channels
need tensors of size (n, d), (t, d) and (n, t) only, never (n, t, d). With a text that stands for the redundancy (the
empty one, published for a single text), g is its feature and all w_t are 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.regions import Region, stack_regions
from surgery.dense import DenseFeatures
from surgery.features import Similarity, class_weights, feature_surgery, similarity
from surgery.methods import Method


@dataclass(frozen=True, slots=True, eq=False)
class Redundancy:
    """What the texts have in common in the tokens of an image; float32 arrays.

    Energy is the squared length of a feature. The mean over the texts of the energy of `F_i * w_t T_t` is the redundant
    energy |F_i * g|^2 plus the specific energy mean_t |F_i * (w_t T_t - g)|^2. A share is redundant / (redundant +
    specific); with a given text as g the two do not add up to that mean, but the share is defined in the same way.

    Attributes:
        weights: (b, t) class weights w, mean 1 over the texts.
        map: (b, gh, gw) redundant feature summed over its channels, F_i . g; what feature surgery takes off every map.
        energy: (b, gh, gw) redundant energy of a patch, sum_c F_ic^2 g_c^2.
        share: (b, gh, gw) of a patch's energy, in [0, 1].
        cls_share: (b,) of the CLS feature's energy, in [0, 1].
        channel_share: (b, d) redundant energy of one channel over all patches, as a share of the energy of all channels
            and patches; sums over the channels to the share of the whole image.
        correlation_before: (b, t, t) Pearson correlation over patches of the cosine maps; NaN for a constant map.
        correlation_after: (b, t, t) the same after feature surgery.
        labels: t names of the texts.
        common: "label set", or "given text" when another text stands for the redundancy.
        method: the method of the image features.
        model: name of the model.
    """

    weights: np.ndarray
    map: np.ndarray
    energy: np.ndarray
    share: np.ndarray
    cls_share: np.ndarray
    channel_share: np.ndarray
    correlation_before: np.ndarray
    correlation_after: np.ndarray
    labels: tuple[str, ...]
    common: str
    method: Method
    model: str

    def strongest_channels(self, count: int = 10, image: int = 0) -> np.ndarray:
        """The channels with the largest `channel_share` of one image, strongest first; (count,) integers."""
        return np.argsort(-self.channel_share[image], kind="stable")[:count]


@torch.inference_mode()
def compute_redundancy(
    features: DenseFeatures, text: Tensor, labels: Sequence[str], redundant: Tensor | None = None
) -> Redundancy:
    """Measures what feature surgery removes from the maps of an image.

    Args:
        features: from `dense_features`.
        text: (t, d) text features; two or more, or one with `redundant`.
        labels: t names of the texts.
        redundant: (d,) or (1, d) text feature that stands for the redundancy, such as that of the empty text.

    Raises:
        ValueError: wrong shapes, labels that do not match, or a single text without `redundant`.

    Source: Li et al. 2023, arXiv 2304.05653, feature surgery, and the closed form of the module docstring.
    """
    before, after = similarity(features, text), feature_surgery(features, text, redundant)
    _check_labels(labels, before)
    weights, common, specific = _split(before, text, redundant)
    cls_token, patches = (F.normalize(z, dim=-1).square() for z in (features.cls, features.patches))
    energy, rest = (torch.einsum("bhwd,bd->bhw", patches, z) for z in (common.square(), specific))
    channels = patches.sum(dim=(1, 2)) * common.square()  # (b, d)
    cls_energy, cls_rest = ((cls_token * z).sum(dim=-1) for z in (common.square(), specific))
    return Redundancy(
        weights=_numpy(weights),
        map=_numpy(torch.einsum("bhwd,bd->bhw", F.normalize(features.patches, dim=-1), common)),
        energy=_numpy(energy),
        share=_numpy(energy / (energy + rest)),
        cls_share=_numpy(cls_energy / (cls_energy + cls_rest)),
        channel_share=_numpy(channels / (energy + rest).sum(dim=(1, 2))[:, None]),
        correlation_before=_numpy(correlate(before.patches.flatten(1, 2))),
        correlation_after=_numpy(correlate(after.patches.flatten(1, 2))),
        labels=tuple(labels),
        common="label set" if redundant is None else "given text",
        method=features.method,
        model=features.model,
    )


def _split(before: Similarity, text: Tensor, redundant: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Class weights w (b, t), common text feature g (b, d) and mean_t (w_t T_t - g)^2 (b, d)."""
    unit = F.normalize(text.to(before.cls), dim=-1)
    if redundant is None:
        weights = class_weights(before.cls)
        common = weights @ unit / len(unit)
    else:
        weights = torch.ones_like(before.cls)
        common = F.normalize(redundant.reshape(1, -1).to(unit), dim=-1).expand(len(weights), -1)
    return weights, common, (weights[..., None] * unit - common[:, None]).square().mean(dim=1)


def correlate(maps: Tensor) -> Tensor:
    """Pearson correlation over patches of every map with every other.

    Args:
        maps: (b, n, t).

    Returns:
        (b, t, t) in [-1, 1]; NaN in the row and column of a map that is constant up to rounding.
    """
    unit = _standardise(maps)
    return (unit.mT @ unit).clamp(-1, 1)


def _standardise(maps: Tensor) -> Tensor:
    """Maps (b, n, t) with mean 0 and length 1 over the patches; NaN where a map is constant up to rounding."""
    centred = maps - maps.mean(dim=1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    dust = 4 * torch.finfo(maps.dtype).eps * maps.norm(dim=1, keepdim=True)
    return centred / torch.where(length > dust, length, torch.nan)


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
    _check_labels(labels, before)
    drop = list(drop or (() if add else labels))
    _check_drop(drop, labels)
    cls, patches, grid = before.cls, before.patches.flatten(1, 2), before.patches.shape[1:3]  # (b, t), (b, n, t)
    maps = _surgery(cls, patches)
    changed = [_without(cls, patches, list(labels).index(name)) for name in drop]
    changed += [_with(cls, patches, similarity(features, feature.reshape(1, -1))) for feature in (add or {}).values()]
    reference = _standardise(maps)
    return LabelSetEffect(
        labels=tuple(labels),
        changes=(*drop, *(add or ())),
        joined=(False,) * len(drop) + (True,) * len(add or ()),
        mean_change=_stack_numpy([(new - maps).abs().mean(dim=1) for new in changed]),
        correlation=_stack_numpy([(_standardise(new) * reference).sum(dim=1) for new in changed]),
        contrast=None
        if region is None
        else _stack_numpy([mean_contrast(new.unflatten(1, grid), region) for new in changed]),
        contrast_before=None if region is None else _numpy(mean_contrast(maps.unflatten(1, grid), region)),
        method=features.method,
        model=features.model,
    )


def _surgery(cls: Tensor, patches: Tensor) -> Tensor:
    """Feature surgery of cosines: (b, t) of the image and (b, n, t) of the patches -> maps (b, n, t)."""
    weighted = patches * class_weights(cls)[:, None]
    return weighted - weighted.mean(dim=-1, keepdim=True)


def _without(cls: Tensor, patches: Tensor, label: int) -> Tensor:
    """Maps (b, n, t) after one label has left; its own is NaN."""
    kept = [i for i in range(cls.shape[-1]) if i != label]
    maps = torch.full_like(patches, torch.nan)
    maps[..., kept] = _surgery(cls[..., kept], patches[..., kept])
    return maps


def _with(cls: Tensor, patches: Tensor, added: Similarity) -> Tensor:
    """Maps (b, n, t) of the present labels after one has joined."""
    joined = torch.cat([patches, added.patches.flatten(1, 2)], dim=-1)
    return _surgery(torch.cat([cls, added.cls], dim=-1), joined)[..., :-1]


def mean_contrast(maps: Tensor, region: Region | Sequence[Region]) -> Tensor:
    """Mean of each map over the foreground minus its mean over the background.

    Args:
        maps: (b, gh, gw, t).
        region: one for all images, or one each.

    Returns:
        (b, t).

    Raises:
        ValueError: regions of another grid, or not one for each image.
    """
    sides = stack_regions(region, len(maps), maps.shape[1:3])
    masks = (torch.from_numpy(side).to(maps)[:, None] for side in sides)  # (b, 1, n)
    inside, outside = (mask @ maps.flatten(1, 2) / mask.sum(dim=-1, keepdim=True) for mask in masks)
    return (inside - outside)[:, 0]


def _check_labels(labels: Sequence[str], sim: Similarity) -> None:
    if isinstance(labels, str) or len(labels) != sim.cls.shape[-1]:
        raise ValueError(f"Expected labels to be {sim.cls.shape[-1]} names, one for each text, but got {labels!r}")


def _check_drop(drop: Sequence[str], labels: Sequence[str]) -> None:
    unknown = [name for name in drop if name not in labels]
    if unknown:
        raise ValueError(f"Expected drop to name labels of {', '.join(labels)}, but got {unknown}")
    if len(labels) < 2 + bool(drop):
        raise ValueError(f"Expected labels to be at least {2 + bool(drop)}, so that 2 stay, but got {len(labels)}")


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _stack_numpy(rows: list[Tensor]) -> np.ndarray:
    """Rows of (b, t), one a change -> (b, k, t)."""
    return _numpy(torch.stack(rows, dim=1))
