"""exCLIP: second-order attributions, how much a pair of one caption token and one patch adds to the similarity.

    P[:, i] = mean over points of  dg/dx_i (x_i - r_i)      Q[:, j] = the same on the text side
    pairs[j, i] = Q[:, j] . P[:, i] / (|g(image)| |g(caption)|)

g is the embedding of a tower before normalisation, taken at `POINTS` points on the line from a reference r to the input
x, both at the entry of the last block. References: an image of the mean colour, and the caption "!" of the authors'
code (start token, padding, end token), each read where the input is read.

The authors' code forms Jacobians of (width of the embedding) x (tokens x width). Here Q comes from one directional
derivative per token, and Q^T P from one backward pass per token.

Source: Möller et al. 2024, "Explaining Caption-Image Interactions in CLIP Models with Second-Order Attributions",
arXiv 2408.14153, equation 5; authors' code.
"""

import torch
from torch import Tensor

from analysis.explainers.explanation import BUDGET_BYTES, ImagePass
from surgery.graph import image_reading, text_blocks, text_reading
from surgery.models import Model
from surgery.text_tower import TextTower

POINTS = 10
REFERENCE_END = 2
"""Position of the end token in the text reference."""


def pairs_of(run: ImagePass, tower: TextTower, ids: Tensor, end: int) -> Tensor:
    """Second-order attributions (b, end + 1, gh, gw).

    Args:
        run: the images' pass, its text unused.
        tower: the text tower.
        ids: (1, context length) of the caption.
        end: position of its end token.
    """
    q, caption_norm = _text_side(tower, ids, end)
    reference = _reference_image(run)
    rows = [_image_side(run.image(index), reference, q) for index in range(run.batch)]
    return torch.stack(rows).unflatten(-1, run.grid) / caption_norm


def _text_side(tower: TextTower, ids: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """Q (end + 1, D), and the norm of the caption's embedding."""
    reference = torch.zeros_like(ids)
    reference[:, 0], reference[:, REFERENCE_END] = ids[0, 0], ids[0, end]
    with torch.no_grad():
        blocks = text_blocks(tower, end + 1)
        x, r = (blocks.streams(tower.embed(z[:, : end + 1]))[-2] for z in (ids, reference))

    def embed(points: Tensor) -> Tensor:
        reading = text_reading(tower, points, end)
        return reading.finish(torch.einsum("bhn,bhnd->bhd", reading.pattern(), reading.v))

    points = _line(x, r).requires_grad_()
    embeddings = embed(points)  # (points, D)
    cotangents = torch.zeros_like(embeddings, requires_grad=True)
    (gradient,) = torch.autograd.grad(embeddings, points, cotangents, create_graph=True)  # linear in the cotangents
    along = torch.einsum(
        "pnw,nw->n", gradient, (x - r)[0]
    )  # its derivative by them: forward-mode products, one a token
    each = torch.eye(end + 1, dtype=x.dtype, device=x.device)
    (products,) = torch.autograd.grad(along, cotangents, each, is_grads_batched=True)  # (k, points, D)
    with torch.no_grad():
        norm = embed(x).norm()
    return products.mean(dim=1), norm


def _reference_image(run: ImagePass) -> Tensor:
    """The stream of the reference image where the last attention reads it, (1, tokens, w)."""
    blank = torch.zeros_like(run.pixels[:1])
    with torch.no_grad():
        x = run.model.tower.embed(blank, run.grid, run.position_interpolation)
        return _entry(run.model, run.blocks.streams(x))


def _entry(model: Model, streams: list[Tensor]) -> Tensor:
    return streams[-1] if model.tower.pooling == "attention" else streams[-2]


def _image_side(run: ImagePass, reference: Tensor, q: Tensor) -> Tensor:
    """Q^T P of one image, over the norm of its embedding: (k, gh * gw)."""
    tower = run.model.tower
    x = _entry(run.model, list(run.streams))

    def embed(points: Tensor) -> Tensor:
        reading = image_reading(tower, [points, points], run.grid)
        return reading.finish(torch.einsum("bhn,bhnd->bhd", reading.pattern(), reading.v))

    points = _line(x, reference).requires_grad_()
    embeddings = embed(points)  # (points, D)
    part = max(1, BUDGET_BYTES // (8 * points.numel() * points.element_size()))
    rows = []
    for cotangents in q.split(part):
        spread = cotangents[:, None].expand(-1, POINTS, -1)
        (gradient,) = torch.autograd.grad(embeddings, points, spread, is_grads_batched=True, retain_graph=True)
        rows.append(torch.einsum("kpnw,nw->kn", gradient, (x - reference)[0]) / POINTS)
    with torch.no_grad():
        norm = embed(x).norm()
    return torch.cat(rows)[:, tower.prefix :] / norm


def _line(x: Tensor, reference: Tensor) -> Tensor:
    """Points (POINTS, n, w) from the input, included, to the reference, excluded."""
    shares = torch.arange(POINTS, 0, -1, dtype=x.dtype, device=x.device) / POINTS
    return reference + shares[:, None, None] * (x - reference)
