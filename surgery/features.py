"""Similarity of image features and texts, and feature surgery in closed form.

Feature surgery (Li et al. 2023, "CLIP Surgery", arXiv 2304.05653) removes what all texts have in common. With unit
image tokens F (n, d), unit text features T (t, d), CLS row c and tau = 2:

    w = softmax(tau * c T^T) / mean(softmax(tau * c T^T))
    S = sum_c (F_i * T_t * w_t - mean_t(F_i * T_t * w_t))      as published, through an (n, t, d) tensor
      = P - mean_t(P),  P = (F T^T) * w                        the same numbers from (n, t) ones
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from surgery.dense import DenseFeatures
from surgery.methods import Method

TEMPERATURE = 2.0
"""tau of the class weights in the published code."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """Similarity of the image and of every patch to every text.

    Attributes:
        cls: (b, t), of the whole image.
        patches: (b, gh, gw, t).
        method: the method of the image features.
        model: name of the model.
        kind: "cosine" in [-1, 1], or "feature surgery".
    """

    cls: Tensor
    patches: Tensor
    method: Method
    model: str
    kind: str = "cosine"


@torch.inference_mode()
def similarity(features: DenseFeatures, text: Tensor) -> Similarity:
    """Cosine of the image and of every patch with every text.

    Args:
        features: from `dense_features`.
        text: (t, d) text features; normalised here.

    Returns:
        Cosines in [-1, 1].

    Raises:
        ValueError: text is not of shape (t, d) with the d of the features.
    """
    text = unit_texts(text, features.patches)
    cls, patches = (F.normalize(z, dim=-1) @ text.mT for z in (features.cls, features.patches))
    return Similarity(cls, patches, features.method, features.model)


@torch.inference_mode()
def feature_surgery(features: DenseFeatures, text: Tensor, redundant: Tensor | None = None) -> Similarity:
    """Similarity without what is redundant across the texts.

    Args:
        features: from `dense_features`.
        text: (t, d) text features. Two or more are one another's redundancy; a single one needs `redundant`.
        redundant: (d,) or (1, d) feature that stands for the redundancy instead, such as that of the empty text,
            `model.encode_text([""], templates)` with the templates of the text; then S = F (T - redundant)^T.

    Returns:
        S; over the texts it sums to 0 when `redundant` is None.

    Raises:
        ValueError: wrong shapes, or a single text without `redundant`.

    Source: Li et al. 2023, arXiv 2304.05653; closed form of the module docstring.
    """
    text = unit_texts(text, features.patches)
    if redundant is not None:
        common = unit_texts(redundant.reshape(-1, redundant.shape[-1]), features.patches, name="redundant")
        if len(common) != 1:
            raise ValueError(f"Expected redundant to be one feature (d,), but got shape {tuple(redundant.shape)}")
        result = similarity(features, text)
        cls, patches = (
            plain - F.normalize(z, dim=-1) @ common.mT
            for plain, z in ((result.cls, features.cls), (result.patches, features.patches))
        )
        return replace(result, cls=cls, patches=patches, kind="feature surgery")
    if len(text) == 1:
        raise ValueError(
            "Expected text to hold at least 2 features, or redundant to be given for a single one "
            '(model.encode_text([""], templates) as published), but got 1 text and no redundant'
        )
    plain = similarity(features, text)
    weights = class_weights(plain.cls)  # (b, t)
    cls = _without_mean(plain.cls * weights)
    patches = _without_mean(plain.patches * weights[:, None, None])
    return replace(plain, cls=cls, patches=patches, kind="feature surgery")


def class_weights(cls_similarity: Tensor) -> Tensor:
    """Weights w of the texts in feature surgery, mean 1 over the texts.

    Args:
        cls_similarity: (b, t) cosines of the image with the texts.

    Returns:
        (b, t).
    """
    probability = (TEMPERATURE * cls_similarity).softmax(dim=-1)
    return probability / probability.mean(dim=-1, keepdim=True)


def _without_mean(products: Tensor) -> Tensor:
    return products - products.mean(dim=-1, keepdim=True)


def unit_texts(text: Tensor, features: Tensor, name: str = "text") -> Tensor:
    """Normalised texts (t, d) in the dtype and on the device of image features (..., d).

    Raises:
        ValueError: text is not of shape (t, d), or holds none.
    """
    d = features.shape[-1]
    if text.ndim != 2 or text.shape[1] != d or len(text) == 0:
        raise ValueError(f"Expected {name} to be of shape (t, {d}), but got {tuple(text.shape)}")
    return F.normalize(text.to(features), dim=-1)


def class_probabilities(cls_similarity: Tensor, logit_scale: float, logit_bias: float | None = None) -> Tensor:
    """Zero-shot probabilities of the texts for the whole image.

    Args:
        cls_similarity: (b, t) cosines.
        logit_scale: the model's factor of the cosines, already exponentiated.
        logit_bias: SigLIP's bias; None for CLIP.

    Returns:
        (b, t): softmax over the texts (CLIP), or each text on its own by a sigmoid (SigLIP, arXiv 2303.15343).
    """
    logits = cls_similarity * logit_scale
    return logits.softmax(dim=-1) if logit_bias is None else (logits + logit_bias).sigmoid()
