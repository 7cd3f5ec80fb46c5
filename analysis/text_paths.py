"""Paths from a caption without its words to the caption, along which gradients are integrated.

    padding   embeddings of words start as that of the token of id 0, which to CLIP's tokenizer is the letter "!": the
              sentence "!!!!", not nothing
    mean      they start as the mean of all token embeddings, which is no word
    empty     embeddings stay; what grows from 0 to 1 is the words' presence: a factor s in the numerator of every
              attention weight that goes to them. At 0 the start and the end token see each other alone, as in the empty
              caption (the end token at its own position)

Start and end token, and the positions, stay as they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.text_tokens import Caption, token_tower
from surgery.graph import Blocks, text_blocks
from surgery.models import Model
from surgery.text_tower import TextTower
from surgery.words import tokenize

PADDING_ID = 0
"""What CLIP's tokenizer fills a short text up with; as a letter it is "!"."""
BASELINES = ("padding", "empty", "mean")
"""What stands in place of the words where the path starts."""
SHARPNESS = 4
"""The presence of a word is this power of the variable of the path: attention is sharp, so that most of the change lies
where presence is nearly 0, and so do the points then. All words keep pace, which leaves the integral as it is."""
POINTS_A_PART = 8
ROWS_A_PART = 128
"""Points times tokens of one batched backward pass."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenPath:
    """A straight line in a space with a row a token, and the text feature at each of its points.

    Attributes:
        start, whole: (1, k, c) its two ends; the rows of start and end token are equal.
        encode: points (n, k, c) -> text features (n, d), not normalised; differentiable, in at least float32.
    """

    start: Tensor
    whole: Tensor
    encode: Callable[[Tensor], Tensor]

    def unit_features(self, points: Tensor) -> Tensor:
        """Unit text features (n, d) at points of the line."""
        return F.normalize(self.encode(points), dim=-1)

    @torch.no_grad()
    def ends(self) -> Tensor:
        """Unit text features (2, d) of the start and of the whole caption."""
        return self.unit_features(torch.cat([self.start, self.whole]))


@torch.inference_mode(False)
def token_path(model: Model, caption: Caption, baseline: str) -> TokenPath:
    """The path of a caption.

    Raises:
        ValueError: an unknown baseline, or a text tower that gives its tokens no feature of their own.
    """
    if baseline not in BASELINES:
        raise ValueError(f"Expected baseline to be one of {', '.join(BASELINES)}, but got {baseline!r}")
    exact = model.in_float32
    tower, k = token_tower(exact), len(caption.tokens)
    ids = tokenize(exact, [caption.text])[:, :k].to(exact.device)  # (1, k)
    with torch.no_grad():
        whole, blocks = tower.embed(ids), text_blocks(tower, k)
        if baseline == "empty":
            present = torch.ones(1, k, 1, dtype=whole.dtype, device=whole.device)
            absent = present.clone()
            absent[:, 1:-1] = 0
            return TokenPath(absent, present, lambda gates: _read(tower, _gated(blocks, gates), whole, len(gates)))
        start = _without_words(tower, ids, baseline)
    return TokenPath(start, whole, lambda points: _read(tower, blocks, points, len(points)))


def _without_words(tower: TextTower, ids: Tensor, baseline: str) -> Tensor:
    padded = ids.clone()
    padded[:, 1:-1] = PADDING_ID
    start = tower.embed(padded)
    if baseline == "mean":
        table = tower.token_embedding.weight
        start[:, 1:-1] += (table.mean(dim=0) - table[PADDING_ID]).to(start)
    return start


def _gated(blocks: Blocks, gates: Tensor) -> Blocks:
    """Blocks whose attention to token i has the factor gates[:, i] ** SHARPNESS before it is normalised; (n, k, 1)."""
    return replace(blocks, mask=blocks.mask + SHARPNESS * gates.log().mT[:, None])  # (n, 1, k, k)


def _read(tower: TextTower, blocks: Blocks, x: Tensor, batch: int) -> Tensor:
    """Text features (n, d) of embeddings (n or 1, k, w), read at the last token."""
    x = x.expand(batch, -1, -1)
    for index in range(len(blocks.blocks)):
        x = blocks.run(index, x).output
    return tower.project(tower.ln_final(x[:, -1]))


def quadrature(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights (steps,) of Gauss and Legendre on [0, 1], which never ask for the ends."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return (points + 1) / 2, weights / 2


@torch.inference_mode(False)
def integrate_vectors(path: TokenPath, steps: int, on_step: Callable[[int], None] = lambda done: None) -> Tensor:
    """What every token adds to the unit text feature along the path: (k, d), 0 for start and end token.

    Its product with any unit image vector is the integrated gradient of their cosine, so that one integration serves
    the image and every patch. The rows add up to the change of the unit feature, but for the error of the integral.

    Args:
        path: from `token_path`.
        steps: points of the integral, >= 2.
        on_step: called before every few points with the number done so far; what it raises ends the integration.

    Raises:
        ValueError: fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"Expected steps to be at least 2, but got {steps!r}")
    delta = (path.whole - path.start)[0]
    total, k = torch.zeros_like(path.ends()[:1]).expand(len(delta), -1).clone(), len(delta)
    done = 0
    for shares, weights in _parts(steps, max(1, min(POINTS_A_PART, ROWS_A_PART // k)), delta) if k > 2 else ():
        on_step(done)
        total[1:-1] += _along(path, delta, shares, weights)
        done += len(shares)
    return total


def _parts(steps: int, size: int, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    found = (torch.from_numpy(values).to(like) for values in quadrature(steps))
    return zip(*(values.split(size) for values in found), strict=True)


def _along(path: TokenPath, delta: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over points of the derivative of the unit feature along each word token: (k - 2, d)."""
    with torch.enable_grad():
        points = (path.start + shares[:, None, None] * delta).detach().requires_grad_()
        features = path.unit_features(points)  # (p, d)
        cotangents = torch.zeros_like(features, requires_grad=True)
        (gradient,) = torch.autograd.grad(features, points, cotangents, create_graph=True)  # linear in the cotangents
        along = torch.einsum("pkc,kc,p->k", gradient, delta, weights)[1:-1]
        each = torch.eye(len(along), dtype=along.dtype, device=along.device)
        (products,) = torch.autograd.grad(along, cotangents, each, is_grads_batched=True)  # (k - 2, p, d)
    return products.sum(dim=1)
