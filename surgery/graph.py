"""Passes that autograd can look into: attention patterns and outputs as tensors of the graph, weights left alone.

A recorded `Trace` has no graph. Here blocks run once more, from a stream that was recorded without one, with their
patterns as leaves; no parameter ever requires a gradient, no hook is set, and the model is not changed, so threads may
explain on one model at the same time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from surgery.attention import Projections
from surgery.blocks import Block
from surgery.text_tower import TextTower, open_clip_blocks
from surgery.towers import Reading, Tower


@dataclass(frozen=True, slots=True)
class GraphBlock:
    """One block inside the graph.

    Attributes:
        projections: its q, k, v.
        pattern: (b, heads, n, n) attention pattern, a tensor that gradients can be taken of.
        heads_out: (b, heads, n, d) pattern times v.
        output: (b, n, w) the stream after the block.
    """

    projections: Projections
    pattern: Tensor
    heads_out: Tensor
    output: Tensor


@dataclass(frozen=True, slots=True)
class Blocks:
    """A stack of blocks with what they need to run.

    Attributes:
        blocks: in order.
        grid, prefix: of an image; (0, 0) and 0 for a text.
        has_residual: whether a block adds to its input.
        mask: (n, n) added to the scores, None where every token sees every other.
    """

    blocks: tuple[Block, ...]
    grid: tuple[int, int] = (0, 0)
    prefix: int = 0
    has_residual: bool = True
    mask: Tensor | None = None

    @torch.no_grad()
    def streams(self, x: Tensor) -> list[Tensor]:
        """x_0 .. x_L, each (b, n, w), without a graph."""
        found = [x]
        for index in range(len(self.blocks)):
            found.append(self.step(index, found[-1]))
        return found

    def step(self, index: int, x: Tensor) -> Tensor:
        """The stream (b, n, w) after block `index`, its pattern never formed."""
        p = self.blocks[index].project(x, self.grid, self.prefix)
        heads_out = F.scaled_dot_product_attention(p.q, p.k, p.v, attn_mask=self.mask, scale=p.scale)
        return self._leave(index, x, heads_out)

    def run(self, index: int, x: Tensor, *, normed: Tensor | None = None, one_head: bool = False) -> GraphBlock:
        """Block `index` on the stream x (b, n, w) inside the graph.

        Args:
            index: which block.
            x: the stream that enters it.
            normed: ln_1(x) where a gradient is taken of it.
            one_head: whether all heads attend as a single one of the whole width.
        """
        block = self.blocks[index] if normed is None else replace(self.blocks[index], ln_1=None)
        p = block.project(x if normed is None else normed, self.grid, self.prefix)
        p = as_one_head(p) if one_head else p
        pattern = self.pattern(p)
        if not pattern.requires_grad:
            pattern.requires_grad_()
        heads_out = pattern @ p.v
        return GraphBlock(p, pattern, heads_out, self._leave(index, x, heads_out))

    def pattern(self, p: Projections) -> Tensor:
        """Attention pattern (b, heads, n, n) of a block's projections."""
        scores = p.q @ p.k.mT * p.scale
        return (scores if self.mask is None else scores + self.mask).softmax(dim=-1)

    def _leave(self, index: int, x: Tensor, heads_out: Tensor) -> Tensor:
        block = self.blocks[index]
        u = block.merge(heads_out)
        u = x + u if self.has_residual else u
        return u if block.mlp is None else u + block.mlp_out(u)


def image_blocks(tower: Tower, grid: tuple[int, int]) -> Blocks:
    """The blocks of an image tower."""
    return Blocks(tower.blocks, grid, tower.prefix, tower.has_residual)


def text_blocks(tower: TextTower, length: int) -> Blocks:
    """The blocks of a text tower over the first `length` positions."""
    mask = None if tower.causal_mask is None else tower.causal_mask[:length, :length]
    return Blocks(open_clip_blocks(tower), mask=mask)


def as_one_head(p: Projections) -> Projections:
    """All heads side by side as a single one of the whole width, scores over the root of that width."""
    q, k, v = (z.transpose(1, 2).flatten(2)[:, None] for z in (p.q, p.k, p.v))  # (b, 1, n, heads * d)
    return replace(p, q=q, k=k, v=v, scale=v.shape[-1] ** -0.5)


def pools_one_token(tower: Tower) -> bool:
    """Whether the image feature is read from CLS (or the ResNet's mean token) alone."""
    return tower.pooling == "token"


def image_reading(tower: Tower, streams: Sequence[Tensor], grid: tuple[int, int]) -> Reading:
    """How the image feature gathers the patches: by the last block's CLS row, or by the query of an attention pool.

    Args:
        tower: of the model.
        streams: x_0 .. x_L, or their end; only x_{L-1} and x_L are read.
        grid: rows and columns of patches.

    Raises:
        ValueError: the feature is an average over patches, so that no one token gathers them.
    """
    if tower.pooling == "attention":
        return tower.reading(streams[-1])
    if not pools_one_token(tower):
        raise ValueError(
            "Expected a tower whose image feature is read from CLS or from an attention pool, "
            "but got one that averages its patches"
        )
    x, block = streams[-2], tower.blocks[-1]
    p = block.project(x, grid, tower.prefix)
    rest = _finish_block(block, x[:, :1] if tower.has_residual else None)
    return Reading(p.q[:, :, 0], p.k, p.v, p.scale, lambda out: tower.pool(rest(out)), 0, tower.prefix)


def text_reading(tower: TextTower, x: Tensor, end: int) -> Reading:
    """How the end token gathers the tokens before it, from the stream x (1, n, w) that enters the last block."""
    block = open_clip_blocks(tower)[-1]
    p = block.project(x[:, : end + 1], (0, 0), 0)
    rest = _finish_block(block, x[:, end : end + 1])
    finish = lambda out: tower.project(tower.ln_final(rest(out)))[:, 0]  # noqa: E731
    return Reading(p.q[:, :, end], p.k, p.v, p.scale, finish, end, 0)


def _finish_block(block: Block, x: Tensor | None) -> Callable[[Tensor], Tensor]:
    """(b, heads, d) attention output of one token -> (b, 1, w) the stream after the block."""

    def finish(out: Tensor) -> Tensor:
        u = block.merge(out[:, :, None])
        u = u if x is None else x + u
        return u if block.mlp is None else u + block.mlp_out(u)

    return finish


def gradients_of_each(values: Tensor, inputs: Sequence[Tensor], *, retain: bool = False) -> list[Tensor]:
    """Gradients of every column of values (b, t) by tensors (b, ...), in one batched backward pass.

    Rows of a batch do not see one another, so that the sum over b has the gradient of each.

    Returns:
        One (t, b, ...) per input; zeros where an input has no part in the values.
    """
    totals = values.sum(dim=0)
    each = torch.eye(len(totals), dtype=values.dtype, device=values.device)
    found = torch.autograd.grad(
        totals, list(inputs), each, is_grads_batched=True, allow_unused=True, retain_graph=retain
    )
    return [
        torch.zeros(len(totals), *x.shape, dtype=x.dtype, device=x.device) if g is None else g
        for g, x in zip(found, inputs, strict=True)
    ]


def cosines(feature: Tensor, targets: Tensor) -> Tensor:
    """Cosines (b, t) of features (b, d), not normalised, with unit targets (t, d)."""
    return F.normalize(feature, dim=-1) @ targets.mT
