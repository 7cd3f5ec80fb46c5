"""Grad-ECLIP: the gradient at the attention output of the token that is read, spread over the patches.

    ReLU sum_c (dc/do_c) lam_i v_ic,    lam_i = min-max over the patches of cos(q_read, k_i)

c is the cosine, o the concatenated heads before the output projection. More than one block: the sum of their maps.

The published code runs its last blocks with ONE head of the whole width, so the cosine that it explains is not that of
CLIP (`single_head_cosine`); `own_heads` is the same formula on the model itself. Its script takes q and k after the
output projection, its notebook before it (the default here).

On the text side the end token reads, the sum over the blocks (8 by default) is taken before the ReLU, and the words'
shares add up to 1, where not all are zero, which is frequent.

Source: Zhao et al. 2024, "Gradient-based Visual Explanation for Transformer-based CLIP", ICML 2024, equations 8 to 10;
notebook and generate_emap.py of the authors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.explainers.explanation import ImagePass
from surgery.blocks import Block
from surgery.graph import Blocks, Reading, cosines, gradients_of_each, pools_one_token


@dataclass(frozen=True, slots=True)
class Read:
    """One attention as Grad-ECLIP looks at it.

    Attributes:
        gradient: (t, b, w) of the targets at the output o of the token that is read.
        q: (b, w) of that token.
        k, v: (b, n, w) of the tokens that are explained.
    """

    gradient: Tensor
    q: Tensor
    k: Tensor
    v: Tensor


def grad_eclip(
    run: ImagePass, *, blocks: int = 1, own_heads: bool = False, key_similarity: bool = True, projected: bool = False
) -> Tensor:
    """Relevance (b, gh, gw, t).

    Args:
        run: see `start_pass`.
        blocks: number of last blocks.
        own_heads: whether attention keeps the model's heads instead of the published single one.
        key_similarity: whether lam weighs the patches; 1 if not.
        projected: whether q and k pass the output projection first, as in the published script.

    Raises:
        ValueError: more than one block in a tower that is not read from CLS.
    """
    if blocks == 1:
        reading = run.reading()
        reads, prefix = [_single_read(reading, run.text, own_heads)], reading.prefix
    else:
        if not pools_one_token(run.model.tower):
            raise ValueError(f"Expected blocks to be 1 for a tower that is not read from CLS, but got {blocks}")
        reads, prefix = (
            block_reads(run.blocks, run.streams, run.model.tower.pool, run.text, 0, blocks, own_heads),
            run.blocks.prefix,
        )
    total = sum(
        contributions(_after(read, prefix), run.blocks.blocks[-1] if projected else None, key_similarity).clamp(min=0)
        for read in reads
    )
    return run.fold(total)


def contributions(read: Read, block: Block | None = None, key_similarity: bool = True) -> Tensor:
    """sum_c gradient_c lam_i v_ic before the ReLU: (t, b, n)."""
    plain = torch.einsum("tbw,bnw->tbn", read.gradient, read.v)
    if not key_similarity:
        return plain
    q, k = read.q, read.k
    if block is not None:
        q, k = (block.out_proj(z) for z in (q, k))
    lam = torch.einsum("bw,bnw->bn", F.normalize(q, dim=-1), F.normalize(k, dim=-1))
    low, high = lam.amin(dim=-1, keepdim=True), lam.amax(dim=-1, keepdim=True)
    return plain * ((lam - low) / torch.where(high > low, high - low, torch.ones_like(high)))


def _single_read(reading: Reading, targets: Tensor, own_heads: bool) -> Read:
    """The last attention alone: nothing but the row that is read has to be in the graph."""
    used = reading if own_heads else reading.one_head()
    out = torch.einsum("bhn,bhnd->bhd", used.pattern(), used.v).requires_grad_()
    (gradient,) = gradients_of_each(cosines(reading.finish(out), targets), [out])
    k, v = (z.transpose(1, 2).flatten(2) for z in (used.k, used.v))
    return Read(gradient.flatten(2), used.q.flatten(1), k, v)


def block_reads(
    blocks: Blocks,
    streams: Sequence[Tensor],
    finish: Callable[[Tensor], Tensor],
    targets: Tensor,
    row: int,
    count: int,
    own_heads: bool,
) -> list[Read]:
    """The last `count` blocks, each as the token at `row` reads it, all inside one graph.

    Args:
        blocks: of the tower.
        streams: x_0 .. x_L, each (b, n, w).
        finish: last stream (b, n, w) -> feature (b, D).
        targets: (t, D) unit features.
        row: position of the token that is read.
        count: number of last blocks, at most all.
        own_heads: whether attention keeps the model's heads.
    """
    first = max(0, len(blocks.blocks) - count)
    x, done = streams[first], []
    for index in range(first, len(blocks.blocks)):
        done.append(blocks.run(index, x, one_head=not own_heads))
        x = done[-1].output
    gradients = gradients_of_each(cosines(finish(x), targets), [block.heads_out for block in done])
    reads = []
    for block, gradient in zip(done, gradients, strict=True):
        p = block.projections
        q, k, v = (z.detach().transpose(1, 2).flatten(2) for z in (p.q, p.k, p.v))
        reads.append(Read(gradient[:, :, :, row].flatten(2), q[:, row], k, v))
    return reads


def _after(read: Read, prefix: int) -> Read:
    return Read(read.gradient, read.q, read.k[:, prefix:], read.v[:, prefix:])
