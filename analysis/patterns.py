"""The attention patterns of a trace, one block and a few images at a time, so that memory stays bounded."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from surgery.attention import Projections, attention_pattern, parse_kind
from surgery.towers import check_kind
from surgery.trace import Trace

MAX_PATTERN_BYTES = 256 * 2**20
"""A pattern of more images than fit in here is computed in parts."""


def walk_patterns(
    trace: Trace,
    kind: str,
    blocks: Sequence[int] | None = None,
    images: range | None = None,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[int, slice, Tensor]]:
    """Attention patterns whose rows sum to 1.

    Args:
        trace: a recorded pass.
        kind: see `surgery.attention.parse_kind`; a sum of softmaxes is divided by their number.
        blocks: indices of blocks, None for all.
        images: indices in the batch, None for all.
        dtype: the least precision of scores and softmax; a trace in float64 stays float64.

    Yields:
        Index of the block, images of the batch, and their pattern (images, heads, tokens, tokens).

    Raises:
        ValueError: the kind has no meaning for the tower, or a block was not kept.
    """
    check_kind(trace.tower, kind)
    for block in range(trace.depth) if blocks is None else blocks:
        projections = trace.block(block).projections
        for part in _parts(projections, range(len(projections.v)) if images is None else images, dtype):
            yield block, part, row_normalised(kind, _take(projections, part, dtype))


def row_normalised(kind: str, projections: Projections) -> Tensor:
    """`attention_pattern` with rows that sum to 1 for sums of softmaxes as well; (b, heads, tokens, tokens)."""
    pattern = attention_pattern(kind, projections)
    summands = len(parse_kind(kind).pairs)
    return pattern / summands if summands > 1 else pattern


def join_parts(parts: Sequence[Tensor], images: int) -> Tensor:
    """What was measured of each pattern of a walk over all images, in its order: (b, ...) each -> (blocks, b, ...)."""
    return torch.cat(list(parts)).unflatten(0, (-1, images))


def _parts(projections: Projections, images: range, dtype: torch.dtype) -> Iterator[slice]:
    _, heads, n, _ = projections.v.shape
    step = max(1, MAX_PATTERN_BYTES // (heads * n * n * dtype.itemsize))
    return (slice(start, min(start + step, images.stop)) for start in range(images.start, images.stop, step))


def _take(p: Projections, images: slice, dtype: torch.dtype) -> Projections:
    """Some images of a batch, in at least the precision `dtype`."""
    dtype = torch.promote_types(p.v.dtype, dtype)
    device = "cpu" if p.v.device.type == "mps" and dtype == torch.float64 else p.v.device  # MPS has no float64
    q, k, v = (z[images].to(device).to(dtype) for z in (p.q, p.k, p.v))
    norm = None if p.input_norm is None else p.input_norm[images].to(device).to(dtype)
    return replace(p, q=q, k=k, v=v, input_norm=norm)
