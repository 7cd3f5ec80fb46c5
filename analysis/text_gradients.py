"""Integrated gradients of the similarity over the tokens of a caption: a second opinion on which word matters.

    relevance_i = sum_c (e_i - e'_i)_c * integral_0^1 d f(e' + s (e - e')) / d e_ic  ds

e are the token embeddings of the caption, e' those of the baseline; start and end token stay, and so do positions. What
stands in place of the words is a choice that the relevances depend on: "padding" (the sentence "!!!!"), "empty" (the
words are absent; then e is their presence) or "mean", see `analysis.text_paths`. f is the cosine with the image, or its
contrast over a region. The relevances add up to f(e) - f(e'), but for an error of the numerical integral that is
reported as the gap.

Source: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", arXiv 1703.01365, equation 1; captum's
implementation. The gradient is taken at the embeddings themselves, so no hook is set and the model is left as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.redundancy import mean_contrast
from analysis.regions import Region
from analysis.text_paths import BASELINES, TokenPath, token_path
from analysis.text_tokens import Caption, read_caption, token_tower
from surgery.dense import DenseFeatures
from surgery.methods import Method
from surgery.models import Model
from surgery.words import warn_if_cut

STEPS_A_BATCH = 8


@dataclass(frozen=True, slots=True, eq=False)
class TokenGradients:
    """Integrated gradients of one similarity.

    Attributes:
        caption: the k tokens and their words.
        tokens: (k,) float32 relevance; 0 for start and end token, which the baseline shares.
        words: (w,) float32 relevance, the sum over the tokens of each word.
        value: f of the caption.
        baseline: f of the baseline, see `BASELINES`.
        gap: sum of the relevances minus (value - baseline); 0 for an exact integral.
        steps: points of the numerical integral.
        target: "cosine" with the image, or "contrast" over the region.
        method: the method of the image features.
        model: name of the model.
    """

    caption: Caption
    tokens: np.ndarray
    words: np.ndarray
    value: float
    baseline: float
    gap: float
    steps: int
    target: str
    method: Method
    model: str


@torch.inference_mode(False)  # the caller may be in inference mode, where nothing can be differentiated
def integrated_gradients(
    model: Model,
    features: DenseFeatures,
    caption: str,
    *,
    region: Region | None = None,
    image: int = 0,
    steps: int = 32,
    baseline: str = "padding",
    on_step: Callable[[int], None] = lambda done: None,
) -> TokenGradients:
    """Integrated gradients over the token embeddings of a caption.

    Args:
        model: the model of the features.
        features: from `dense_features`.
        caption: one text, without a template.
        region: None for the cosine with the CLS feature; else the contrast of the patches, mean cosine over the
            foreground minus over the background.
        image: which image of the batch.
        steps: points of the integral (Gauss-Legendre), >= 2.
        baseline: what stands in place of every word, one of `BASELINES`.
        on_step: called before every few points with the number done so far; what it raises ends the integration.

    Raises:
        ValueError: the text tower gives its tokens no feature of their own, fewer than 2 steps, no such image, or a
            region of another grid.

    Warns:
        PromptCutWarning: the caption has more tokens than the model reads; what is cut off has no token.
    """
    token_tower(model)
    if steps < 2:
        raise ValueError(f"Expected steps to be at least 2, but got {steps!r}")
    if baseline not in BASELINES:
        raise ValueError(f"Expected baseline to be one of {', '.join(BASELINES)}, but got {baseline!r}")
    if not 0 <= image < len(features.cls):
        raise ValueError(f"Expected image to be from 0 to {len(features.cls) - 1}, but got {image}")
    warn_if_cut(model, [caption], "none")
    read = read_caption(model, caption)
    direction = _direction(features, region, image)
    path = token_path(model, read, baseline)
    relevance, value, start_value = _integrate(path, direction, steps, on_step)
    tokens = relevance.float().cpu().numpy()
    return TokenGradients(
        caption=read,
        tokens=tokens,
        words=np.array([tokens[list(word.tokens)].sum() for word in read.words], dtype=np.float32),
        value=value,
        baseline=start_value,
        gap=float(relevance.sum()) - (value - start_value),
        steps=steps,
        target="cosine" if region is None else "contrast",
        method=features.method,
        model=features.model,
    )


def _direction(features: DenseFeatures, region: Region | None, image: int) -> Tensor:
    """The (d,) vector whose product with the unit text feature is the cosine, or the contrast."""
    if region is None:
        vector = F.normalize(features.cls[image], dim=-1)
    else:
        vector = mean_contrast(F.normalize(features.patches[image : image + 1], dim=-1), region)[0]
    vector = vector.to(torch.promote_types(vector.dtype, torch.float32))
    return vector.clone()  # an ordinary tensor: those of inference mode are closed to autograd


def _integrate(
    path: TokenPath, direction: Tensor, steps: int, on_step: Callable[[int], None]
) -> tuple[Tensor, float, float]:
    """Relevance (k,) of the tokens, and f at both ends of the path."""
    from captum.attr import IntegratedGradients  # imported here: it loads matplotlib, which takes a second

    done = 0

    def counted(points: Tensor) -> Tensor:
        nonlocal done
        on_step(done)
        done += len(points)
        return path.unit_features(points) @ direction

    with torch.enable_grad():
        relevance = IntegratedGradients(counted).attribute(
            path.whole, path.start, n_steps=steps, internal_batch_size=min(steps, STEPS_A_BATCH)
        )
    start, whole = (path.ends() @ direction).tolist()
    return relevance.detach()[0].sum(dim=-1), whole, start
