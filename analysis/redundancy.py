"""What all texts have in common in an image.

Feature surgery (Li et al. 2023, "CLIP Surgery", arXiv 2304.05653) splits the element-wise product of a
unit image token F_i with a weighted unit text feature w_t T_t into a part that is the same for all texts and the rest:

    F_i * w_t T_t  =  F_i * g  +  F_i * (w_t T_t - g)        g = mean_t(w_t T_t)      (d,)

`F_i * g` is the redundant feature of the token. g does not depend on the token, so its map, its energy and its channels
need tensors of size (n, d), (t, d) and (n, t) only, never (n, t, d). With a text that stands for the redundancy (the
empty one, published for a single text), g is its feature and all w_t are 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.metrics import check_finite
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
    check_labels(labels, before)
    weights, common, specific = _split(before, text, redundant)
    cls_token, patches = (F.normalize(z, dim=-1).square() for z in (features.cls, features.patches))
    energy, rest = (torch.einsum("bhwd,bd->bhw", patches, z) for z in (common.square(), specific))
    channels = patches.sum(dim=(1, 2)) * common.square()  # (b, d)
    cls_energy, cls_rest = ((cls_token * z).sum(dim=-1) for z in (common.square(), specific))
    return Redundancy(
        weights=leave(weights),
        map=leave(torch.einsum("bhwd,bd->bhw", F.normalize(features.patches, dim=-1), common)),
        energy=leave(energy),
        share=leave(energy / (energy + rest)),
        cls_share=leave(cls_energy / (cls_energy + cls_rest)),
        channel_share=leave(channels / (energy + rest).sum(dim=(1, 2))[:, None]),
        correlation_before=leave(correlate(before.patches.flatten(1, 2))),
        correlation_after=leave(correlate(after.patches.flatten(1, 2))),
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


def check_labels(labels: Sequence[str], sim: Similarity) -> None:
    """Refuses names that do not match the texts, and cosines that are not finite; raises ValueError."""
    check_finite(sim.patches, "the cosines of the patches")
    check_finite(sim.cls, "the cosines of the image")
    if isinstance(labels, str) or len(labels) != sim.cls.shape[-1]:
        raise ValueError(f"Expected labels to be {sim.cls.shape[-1]} names, one for each text, but got {labels!r}")


def leave(values: Tensor) -> np.ndarray:
    """As a float32 array."""
    return values.float().cpu().numpy()
