"""Where every head brings from what it writes: the term of each head split over the tokens that it attends to.

`analysis.decomposition.decompose` says what a head adds to the cosine of patch i: its term at i. With the pattern A of
the head and the read-out frozen, that term is itself a sum over tokens j,

    term_i = sum_j A_ij (v_j . direction) * scale_i

so a patch, or the contrast of a region (a weighted sum over i), has one signed map per head over the places j that it
was brought from. Map and the part of CLS and registers sum to the head's term of the blame, without remainder.

Source: Gandelsman et al. 2024, "Interpreting CLIP's Image Representation via Text-Based Decomposition", arXiv
2310.05916, section 3.3 (their equation 5 splits the CLS token over heads and image tokens); here for every patch.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from analysis.readout import Component, Readout
from analysis.regions import Region
from surgery import Trace
from surgery.attention import Projections, attend, attention_pattern

ROWS = 512
"""Query tokens whose attention is computed at once."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadMaps:
    """One map a component over the grid of patches, on one scale.

    Attributes:
        components: k components.
        maps: (k, gh, gw) float32 or float64, cosines.
        prefix: (k,) what CLS and registers add to the sum of each map.
        model: name of the model.
    """

    components: tuple[Component, ...]
    maps: np.ndarray
    prefix: np.ndarray
    model: str


@torch.inference_mode()
def head_sources(trace: Trace, text: Tensor, of: Region | tuple[int, int]) -> HeadMaps:
    """From which places every head brings what it writes into a patch, or into the contrast of a region.

    Args:
        trace: a recorded pass of one image with every block kept.
        text: (1, d) feature of the text.
        of: the region whose contrast is split, or row and column of the patch whose cosine is.

    Returns:
        Maps of all heads in order; of a block that was edited none. Map plus prefix is the head's term in `decompose`,
        of the contrast or at the patch.

    Raises:
        ValueError: more than one image or text, a block that was not kept, a region or patch off the grid, no head.
    """
    if len(trace.output) != 1 or len(text) != 1:
        raise ValueError(f"Expected one image and one text, but got {len(trace.output)} and {len(text)}")
    weights = torch.from_numpy(_weights(of, tuple(trace.grid)).reshape(-1))  # (gh * gw,)
    readout, prefix = Readout.of(trace, trace.output, text), trace.tower.prefix
    components, rows = [], []
    for index, block in enumerate(trace.tower.blocks):
        record = trace.block(index)
        if record.edited:
            continue
        p = record.projections
        joint = attend("qk", p).transpose(1, 2).flatten(2)[:, prefix:]  # (1, gh * gw, heads * d)
        back = block.out.pull_back(joint, readout.back.directions, readout.back.scale)
        direction = back.directions.unflatten(-1, (block.heads, -1))[0]  # (heads, d)
        values = torch.einsum("hnd,hd->hn", p.v[0].to(direction), direction)
        taken = _taken(p, weights.to(back.scale) * back.scale[0, :, 0])
        rows.append(taken * values)  # (heads, n)
        components += [Component("head", index, head) for head in range(block.heads)]
    if not rows:
        raise ValueError(f"Expected a tower with heads over all tokens, but got none in {trace.model or 'this tower'}")
    sources = torch.cat(rows).cpu().numpy()
    maps = sources[:, prefix:].reshape(-1, *trace.grid)
    return HeadMaps(tuple(components), maps, sources[:, :prefix].sum(axis=1), trace.model)


def _weights(of: Region | tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """(gh, gw): what the term at each patch counts."""
    if isinstance(of, Region):
        if of.grid != grid:
            raise ValueError(f"Expected region to be on the grid {grid} of the trace, but got {of.grid}")
        return of.foreground / of.foreground.sum() - of.background / of.background.sum()
    if not (0 <= of[0] < grid[0] and 0 <= of[1] < grid[1]):
        raise ValueError(f"Expected patch to lie in the grid {grid}, but got {of}")
    one = np.zeros(grid)
    one[of] = 1.0
    return one


def _taken(p: Projections, weights: Tensor) -> Tensor:
    """(heads, n): the attention that each token gets from patches of these weights (gh * gw,), summed."""
    asking = weights.nonzero()[:, 0]
    total = weights.new_zeros(p.v.shape[1:3])
    for rows in asking.split(ROWS):
        pattern = attention_pattern("qk", replace(p, q=p.q[:, :, rows + p.prefix]))[0]  # (heads, rows, n)
        total += torch.einsum("r,hrn->hn", weights[rows], pattern.to(weights))
    return total
