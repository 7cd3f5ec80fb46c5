"""Relevance of attention, gradient times weight, along the blocks.

    R = I;  per block  R <- R + mean over heads of max(0, dy/dA * A) R,    y = 100 cosine of one image and one text
    image: R[CLS, patches]        text: R[end, words] divided by its sum

Only the row of R that is read is carried, from the last block to the first, with one block in the graph at a time. In
the last block only that row of A reaches the feature, so its relevance alone needs no more than this row.

The published notebook starts at the last block in both towers; the factor 100 then cancels in a map but for its scale.
Where all products are negative the relevance is zero everywhere (`empty`), and the text's quotient would be 0 / 0.
For the MAP head of SigLIP, the row that is read first is that of its learned query over the patches (ours).

Source: Chefer et al. 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", arXiv 2103.15679, equations 5 and 6; notebook CLIP_explainability of the authors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from analysis.explainers.explanation import LOGIT_SCALE, ImagePass
from analysis.explainers.rollout import first_row, over_all_tokens
from surgery.graph import Blocks, Reading, cosines, gradients_of_each


def chefer(run: ImagePass) -> Tensor:
    """Last attention only: (b, gh, gw, t)."""
    reading = run.reading()
    rows = torch.cat([read_row(reading, part) for part in run.text_parts()])  # (t, b, n)
    return run.fold(rows[..., reading.prefix :])


def chefer_all(run: ImagePass) -> Tensor:
    """All blocks: (b, gh, gw, t)."""
    images = [run.image(index) for index in range(run.batch)]
    rows = [torch.cat([_image_row(image, part) for part in image.text_parts()]) for image in images]
    return run.fold(torch.stack(rows, dim=1)[..., run.blocks.prefix :])


def read_row(reading: Reading, targets: Tensor) -> Tensor:
    """mean over heads of max(0, dy/dA * A) of the row that is read, for targets (t, d): (t, b, n)."""
    pattern = reading.pattern()
    out = torch.einsum("bhn,bhnd->bhd", pattern, reading.v).requires_grad_()
    (gradient,) = gradients_of_each(LOGIT_SCALE * cosines(reading.finish(out), targets), [out])  # (t, b, heads, d)
    return (torch.einsum("tbhd,bhnd->tbhn", gradient, reading.v) * pattern).clamp(min=0).mean(dim=2)


def _image_row(run: ImagePass, targets: Tensor) -> Tensor:
    """Row of R that the feature of the one image of a pass reads, (t, tokens)."""
    tower = run.model.tower
    last = run.streams[-1].clone().requires_grad_()
    (cotangents,) = gradients_of_each(LOGIT_SCALE * cosines(tower.pool(last), targets), [last])  # (t, 1, n, w)
    if tower.pooling == "attention":
        row = over_all_tokens(run, read_row(run.reading(), targets)[:, 0])
    else:
        row = first_row(run).expand(len(targets), -1)
    return walk_back(run.blocks, run.streams, cotangents, row)


def walk_back(blocks: Blocks, streams: Sequence[Tensor], cotangents: Tensor, row: Tensor, first: int = 0) -> Tensor:
    """The row of R from the last block down to block `first`.

    Args:
        blocks: of the tower.
        streams: x_0 .. x_L of one input, each (1, n, w).
        cotangents: (t, 1, n, w) gradients of the t targets at x_L.
        row: (t, n) the row of R before any block.
        first: block at which R starts.

    Returns:
        (t, n).
    """
    for index in reversed(range(first, len(blocks.blocks))):
        x = streams[index].clone().requires_grad_()
        block = blocks.run(index, x)
        wanted = [block.pattern, x] if index > first else [block.pattern]
        found = torch.autograd.grad(block.output, wanted, cotangents, is_grads_batched=True)
        weights = (found[0] * block.pattern.detach()).clamp(min=0).mean(dim=2)[:, 0]  # (t, n, n)
        row = row + torch.einsum("tn,tnm->tm", row, weights)
        cotangents = found[-1]
    return row
