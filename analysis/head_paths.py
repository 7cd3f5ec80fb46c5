"""Path: which earlier component fed a head, through its query, its key and its value.

The input of block l is a sum, x_{l-1} = x_0 + sum over earlier heads, biases and MLPs of what each wrote. With ln_1
(and norms of q and k, where a model has them) frozen at their deviations, q, k and v of a head are linear in it, so a
number that is linear in one of them is a sum of one signed term per earlier component, without remainder:

    score   mean over queries i of  (mean over keys j in the region - mean over keys j in the background)  of q_i . k_j
            split over q with k whole, and over k with q whole: each sums to the score
    value   what the head adds to the contrast (or to one patch), its attention pattern and the read-out frozen:
            split over v; sums to the head's term of `analysis.decomposition.decompose`

The softmax does not change where all scores of a query rise alike, so it is the difference of scores that counts: a
negative score is a query that looks rather at the background. q and k are each half of a product, so their terms are
two readings of one number and are not added. A component also acts through components in between, which is not
counted here: these are direct effects.

Source: Q-, K- and V-composition of Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; the split
over v is one summand of the second-order effect of Gandelsman et al. 2025, "Interpreting the Second-Order Effects of
Neurons in CLIP", arXiv 2406.04341, which freezes patterns and norms alike and reads CLS; here for patches.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from analysis.readout import Component, Readout
from analysis.regions import Region
from surgery import Trace
from surgery.attention import Projections, attend, attention_pattern
from surgery.trace import BlockTrace

SIDES = ("query", "key", "value")
INPUT_BIAS = Component("input bias")
"""The biases of the head's own norms and projections, beside what others wrote."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadPath:
    """Direct effects of everything before a head on the head.

    Attributes:
        head: the head.
        components: what wrote before it, in the order in which the network runs it, then "input bias": the biases of
            the head's own norms and projections.
        query, key: (k,) float64, terms of `score`; one over sqrt(head width) is in them.
        value: (k,) float64, terms of `written`, cosines.
        score: how much more the queries look at the region than at the background, before the softmax.
        written: what the head adds to the contrast, or to the cosine of the chosen patch.
        patch: the query, row and column; None where all patches of the region ask.
        model: name of the model.
    """

    head: Component
    components: tuple[Component, ...]
    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    score: float
    written: float
    patch: tuple[int, int] | None
    model: str

    def terms(self, side: str) -> np.ndarray:
        """(k,) terms of one of `SIDES`.

        Raises:
            ValueError: another word.
        """
        if side not in SIDES:
            raise ValueError(f"Expected side to be one of {', '.join(SIDES)}, but got {side!r}")
        return getattr(self, side)

    def total(self, side: str) -> float:
        """What the terms of a side add up to."""
        return self.written if side == "value" else self.score


@torch.inference_mode()
def head_path(
    trace: Trace, head: Component, text: Tensor, region: Region, patch: tuple[int, int] | None = None
) -> HeadPath:
    """Splits what a head looks for, what it finds and what it takes along over the components before it.

    Args:
        trace: a recorded pass of one image with every block kept.
        head: a component of kind "head".
        text: (1, d) feature of the text.
        region: whose patches ask, and against whose background keys are held.
        patch: row and column of the only query; None for all patches of the region.

    Raises:
        ValueError: more than one image or text, no such head, a patch outside the grid, or a head whose block was
            edited.
    """
    record = _check(trace, head, text, region, patch)
    block = trace.tower.blocks[head.block]
    p, wide = record.projections, torch.promote_types(trace.output.dtype, torch.float32)
    asks, keys, reads = (_tokens(row, trace).to(wide) for row in _weights(region, patch))  # each (n,)
    q, k, v = (z[0, head.head].to(wide) for z in (p.q, p.k, p.v))  # (n, d)
    readout = Readout.of(trace, trace.output, text)
    pulled = block.out.pull_back(
        attend("qk", p).transpose(1, 2).flatten(2)[:, trace.tower.prefix :], readout.back.directions, readout.back.scale
    )
    direction = pulled.directions.unflatten(-1, (block.heads, -1))[0, head.head]  # (d,)
    reads[trace.tower.prefix :] *= pulled.scale[0, :, 0]
    pattern = attention_pattern("qk", _one_head(p, head.head))[0, 0].to(wide)  # (n, n)
    taken = reads @ pattern  # (n,) what each token counts for in what the head writes
    mean_q, mean_k = asks @ q * p.scale, keys @ k * p.scale
    rows = (asks[:, None] * mean_k, keys[:, None] * mean_q, taken[:, None] * direction)
    gradients = tuple(_in_head(row, p.v, head.head) for row in rows)
    back, constant = block.pull_back_input(record.x, trace.grid, trace.tower.prefix, gradients)
    parts = [*_written_before(trace, head.block, back), (INPUT_BIAS, constant[:, 0])]
    terms = torch.stack([row for _, row in parts], dim=1).double().cpu().numpy()  # (3, k)
    score, written = float(mean_q @ (keys @ k)), float(taken @ (v @ direction))
    components = tuple(component for component, _ in parts)
    if trace.output.dtype.itemsize < 4:
        components, terms = _with_rounding(components, terms, score, written)
    return HeadPath(head, components, *terms, score, written, patch, trace.model)


def _check(trace: Trace, head: Component, text: Tensor, region: Region, patch: tuple[int, int] | None) -> BlockTrace:
    if len(trace.output) != 1 or len(text) != 1:
        raise ValueError(f"Expected one image and one text, but got {len(trace.output)} and {len(text)}")
    if head.kind != "head" or head.block not in range(trace.depth):
        raise ValueError(f"Expected head to be a head of block 0 to {trace.depth - 1}, but got {head.label!r}")
    if head.head not in range(trace.tower.blocks[head.block].heads):
        heads = trace.tower.blocks[head.block].heads
        raise ValueError(f"Expected a head from 0 to {heads - 1}, but got {head.head}")
    if region.grid != tuple(trace.grid):
        raise ValueError(f"Expected region to be on the grid {tuple(trace.grid)} of the trace, but got {region.grid}")
    if patch is not None and not (0 <= patch[0] < trace.grid[0] and 0 <= patch[1] < trace.grid[1]):
        raise ValueError(f"Expected patch to lie in the grid {tuple(trace.grid)}, but got {patch}")
    record = trace.block(head.block)
    if record.edited:
        raise ValueError(f"Expected a block whose attention output is its own, but {head.label!r} was edited before")
    return record


def _weights(region: Region, patch: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (gh, gw) of the patches as queries, as keys, and in what is read out."""
    inside, outside = region.foreground / region.foreground.sum(), region.background / region.background.sum()
    if patch is None:
        return inside, inside - outside, inside - outside
    one = np.zeros(region.grid)
    one[patch] = 1.0
    return one, inside - outside, one


def _tokens(weights: np.ndarray, trace: Trace) -> Tensor:
    """(n,) from weights (gh, gw) of the patches; 0 for CLS and registers."""
    padded = np.pad(weights.reshape(-1), (trace.tower.prefix, 0))
    return torch.from_numpy(padded).to(trace.device)


def _in_head(row: Tensor, like: Tensor, head: int) -> Tensor:
    """(1, heads, n, d) with a gradient (n, d) at one head and 0 at the others."""
    gradient = row.new_zeros(like.shape)
    gradient[0, head] = row
    return gradient


def _one_head(p: Projections, head: int) -> Projections:
    one = slice(head, head + 1)
    return replace(p, q=p.q[:, one], k=p.k[:, one], v=p.v[:, one])


def _written_before(trace: Trace, block: int, back: Tensor) -> list[tuple[Component, Tensor]]:
    """(3,) what every component before a block adds, from gradients back (3, 1, n, w) at its input."""
    rows = [(Component("embedding"), _inner(trace.stream(0), back))]
    for index in range(block):
        record, module = trace.block(index), trace.tower.blocks[index]
        if record.edited:
            rows.append((Component("attention", index), _inner(record.attn_out, back)))
        else:
            heads_out = attend("qk", record.projections)  # (1, heads, n, d)
            joint = heads_out.transpose(1, 2).flatten(2)
            through, bias = module.out.pull_back_each(joint, back)  # (3, 1, n, heads * d), (3, 1, n)
            per_head = torch.einsum("bhnd,sbnhd->sh", heads_out.to(through), through.unflatten(-1, (module.heads, -1)))
            rows += [(Component("head", index, head), per_head[:, head]) for head in range(module.heads)]
            rows.append((Component("bias", index), bias.sum(dim=(1, 2))))
        if record.mlp_out is not None:
            rows.append((Component("mlp", index), _inner(record.mlp_out, back)))
    return rows


def _inner(written: Tensor, back: Tensor) -> Tensor:
    return (back * written.to(back)).sum(dim=(1, 2, 3))


def _with_rounding(
    components: tuple[Component, ...], terms: np.ndarray, score: float, written: float
) -> tuple[tuple[Component, ...], np.ndarray]:
    """A last term for what a model in half precision loses at every addition."""
    lost = np.array([score, score, written]) - terms.sum(axis=1)
    return (*components, Component("rounding")), np.column_stack([terms, lost])
