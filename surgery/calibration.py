"""What SC-CLIP does with patches: finding and replacing those that stand apart, averaging with similar ones.

Source: Bai et al. 2024, "Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation" (SC-CLIP), arXiv
2411.15869, section 3; authors' code. Its code takes a grid of rows and columns of one length for granted; here outliers
have their own row and column on every grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from surgery.attention import Projections, attend
from surgery.methods import Method
from surgery.mixtures import SIMILARITY, Part, parse_mixture
from surgery.trace import Trace

NEIGHBOURS = 30
"""Of the local outlier factor; fewer on a grid that has no more patches."""
SHARE = 0.05
"""Of the patches that are replaced: those with the largest factors."""
LEAST_COSINE = 0.4
"""Patches less similar than this have no part in an average."""
SHARPNESS = 3.0
"""Factor of the similarities in their softmax."""
EPSILON = 1e-6
"""Added to the sum of the similarities that an average is divided by, as in the published code."""


def similarity_pattern(stream: Tensor) -> Tensor:
    """Attention by similarity, the same for every head.

    Args:
        stream: (b, n, w) tokens.

    Returns:
        (b, 1, n, n), rows sum to 1; nothing where the cosine is below the mean over all pairs.
    """
    cosine = _cosines(stream)
    centred = SHARPNESS * (cosine - cosine.mean(dim=(-2, -1), keepdim=True))
    return centred.masked_fill(centred < 0, -torch.inf).softmax(dim=-1)[:, None]


def averaging(stream: Tensor) -> Tensor:
    """Weights with which every patch becomes an average over the patches that are similar to it, (b, n, n).

    Args:
        stream: (b, n, w) patches.
    """
    cosine = _cosines(stream)
    weights = torch.where(cosine < LEAST_COSINE, torch.zeros_like(cosine), cosine)
    return weights / (weights.sum(dim=-1, keepdim=True) + EPSILON)


def _cosines(stream: Tensor) -> Tensor:
    unit = F.normalize(stream, dim=-1)
    return unit @ unit.mT


def find_outliers(patches: Tensor) -> Tensor:
    """Which patches stand apart by their local outlier factor.

    Args:
        patches: (b, n, w).

    Returns:
        bool (b, n), at most `SHARE` of them.

    Source: Breunig et al. 2000, "LOF: Identifying Density-Based Local Outliers", with the reachability of the authors'
        code, the distance to the last neighbour.
    """
    wide = patches if patches.dtype == torch.float64 else patches.float()
    count = min(NEIGHBOURS, wide.shape[1] - 1)
    if count < 1:
        return torch.zeros(wide.shape[:2], dtype=torch.bool, device=wide.device)
    distances = torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist").square()
    found = distances.topk(count + 1, dim=-1, largest=False)  # the first is the patch itself
    density = 1 / found.values[..., -1].clamp(min=torch.finfo(wide.dtype).tiny)  # (b, n)
    near = density[:, None].expand(-1, wide.shape[1], -1).gather(-1, found.indices[..., 1:])  # (b, n, count)
    factor = (near / density[..., None]).mean(dim=-1)
    return factor > factor.quantile(1 - SHARE, dim=-1, keepdim=True)


def repair(patches: Tensor, outliers: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patches with the outliers replaced by the mean of their up to 8 neighbours that are none.

    Args:
        patches: (b, n, w).
        outliers: bool (b, n); one without such a neighbour stays.
        grid: rows and columns of patches.
    """
    good = (~outliers).to(patches.dtype)[:, None].unflatten(-1, grid)  # (b, 1, gh, gw)
    images = patches.mT.unflatten(-1, grid)
    total, count = (9 * F.avg_pool2d(z, 3, stride=1, padding=1) for z in (images * good, good))
    mean = (total / count.clamp(min=1)).flatten(2).mT  # the patch itself is an outlier, so it adds nothing
    replaced = outliers & (count.flatten(1) > 0.5)
    return torch.where(replaced[..., None], mean, patches)


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """One attention with steps around it, linear in what is summed here.

    Attributes:
        heads: per-head outputs (b, heads, n, d) of the attention over the patches, and of that over the levels.
        streams: which streams x_l give their CLS to every patch, l for each, several times where several do.
        factor: of each of these CLS.
        after: (b, n, n) with which the result is averaged; None for not at all.
    """

    heads: tuple[Tensor, ...]
    streams: tuple[int, ...]
    factor: float
    after: Tensor | None


def calibrate(trace: Trace, method: Method) -> Calibrated:
    """Carries out the steps of a method on the patches of a recorded pass.

    Args:
        trace: that kept the blocks which the method looks at.
        method: with steps, fitted to the tower.
    """
    steps, last = method.parsed_steps, trace.depth - 1
    patches = _patches(trace, last)
    outliers = find_outliers(patches) if steps.repair else None

    def read(stream: int) -> Tensor:
        """The patches of a stream, repaired where that is a step."""
        found = _patches(trace, stream)
        return found if outliers is None else repair(found, outliers, trace.grid)

    patches = read(last)
    if steps.before is not None:
        patches = averaging(read(trace.behind(steps.before))) @ patches
    levels = [trace.behind(block) for block in steps.levels]
    inputs = [patches, sum(_patches(trace, level) for level in levels)] if levels else [patches]
    parts = parse_mixture(method.attention)
    alike = {block: similarity_pattern(read(trace.behind(block))) for block in _similar_blocks(parts)}
    after = None if steps.after is None else averaging(_patches(trace, trace.behind(steps.after)))
    streams = (last, *levels) if steps.cls else ()
    return Calibrated(tuple(_attend(trace, z, parts, alike) for z in inputs), streams, steps.cls, after)


def calibrated_tokens(trace: Trace, method: Method) -> Tensor:
    """The stream (b, tokens, w) that a method with steps leaves; tokens before the patches are the original ones."""
    found, block, prefix = calibrate(trace, method), trace.tower.blocks[-1], trace.tower.prefix
    total = method.alpha * sum(block.merge(heads) for heads in found.heads)
    for stream in found.streams:
        total = total + found.factor * trace.stream(stream)[:, :1]
    total = total if found.after is None else found.after @ total
    return torch.cat([trace.output[:, :prefix], total], dim=1)


def _patches(trace: Trace, stream: int) -> Tensor:
    return trace.stream(stream)[:, trace.tower.prefix :]


def _similar_blocks(parts: Sequence[Part]) -> set[int]:
    return {block for part in parts if part.kind == SIMILARITY for block in part.blocks}


def _attend(trace: Trace, patches: Tensor, parts: Sequence[Part], alike: Mapping[int, Tensor]) -> Tensor:
    """A mixture of attentions among patches (b, n, w) that enter the last block: (b, heads, n, d)."""
    prefix = trace.tower.prefix
    tokens = torch.cat([_first(trace, prefix), patches], dim=1)
    own = _among_patches(trace.tower.blocks[-1].project(tokens, trace.grid, prefix))
    out = 0.0
    for part in parts:
        for block in part.blocks or (None,):
            if part.kind == SIMILARITY:
                term = alike[block] @ own.v
            else:
                source = own if block is None else _among_patches(trace.block(block).projections)
                term = attend(part.kind, replace(source, v=own.v))
            out = out + part.weight / max(1, len(part.blocks)) * term
    return out


def _first(trace: Trace, prefix: int) -> Tensor:
    return trace.stream(trace.depth - 1)[:, :prefix]


def _among_patches(p: Projections) -> Projections:
    q, k, v = (z[:, :, p.prefix :] for z in (p.q, p.k, p.v))
    return replace(p, q=q, k=k, v=v, prefix=0)
