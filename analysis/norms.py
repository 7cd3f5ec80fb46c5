"""How long the tokens are in every block, how concentrated the attention is, and which way the CLS token already looks.

Block l adds a_l (attention) and m_l (MLP) to the residual stream x_{l-1}. ClearCLIP (Lan et al. 2024, arXiv 2407.12442,
section 3.2) plots the Frobenius norms of the residual and of the attention output: where the residual is far longer,
the map follows it and not the attention. Patches of extreme norm are what Darcet et al. 2023, "Vision Transformers Need
Registers", arXiv 2309.16588, found to serve as registers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.metrics import check_finite
from analysis.patterns import measure_patterns
from analysis.regions import Region, stack_regions
from surgery.trace import Trace

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
STREAMS = ("residual", "attention", "mlp")
OUTLIER_THRESHOLD = 6.0
"""Robust z-score above which a token is an outlier: 1 normally distributed token in 10^9 reaches it."""
MIN_DEVIATION = 0.05
"""Least deviation to measure by, as a part of the median: an outlier is then 6 * 5 % longer than it or more."""
MAD_TO_STD = 1.4826
"""Standard deviation of a normal distribution whose median absolute deviation is 1."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamMeasure:
    """One number per token for what enters and what leaves every block; arrays are float32.

    Attributes:
        quantity: "L2 norm", or "cosine with the CLS feature".
        residual: (blocks, b, tokens) of x_{l-1}; None where it has no meaning.
        attention: (blocks, b, tokens) of a_l.
        mlp: (blocks, b, tokens) of m_l; None in a tower without MLP.
        output: (b, tokens) of x_L, what leaves the last block.
        groups: bool (b, tokens) by name: "cls" and "registers" (if the tower has any), "patches", and with a region
            "foreground" and "background".
        grid: rows and columns of patches.
        model: name of the model.
    """

    quantity: str
    residual: np.ndarray | None
    attention: np.ndarray
    mlp: np.ndarray | None
    output: np.ndarray
    groups: Mapping[str, np.ndarray]
    grid: tuple[int, int]
    model: str

    @property
    def streams(self) -> tuple[str, ...]:
        """Those of "residual", "attention" and "mlp" that the tower has."""
        return tuple(name for name in STREAMS if getattr(self, name) is not None)

    def mean(self, stream: str, group: str = "patches") -> np.ndarray:
        """Mean over the tokens of a group, (blocks, b)."""
        return np.stack([v.mean(axis=-1) for v in self._members(stream, group)], axis=-1)

    def quantiles(self, stream: str, group: str = "patches", levels: Sequence[float] = QUANTILES) -> np.ndarray:
        """Quantiles over the tokens of a group, (levels, blocks, b)."""
        return np.stack([np.quantile(v, levels, axis=-1) for v in self._members(stream, group)], axis=-1)

    def frobenius(self, stream: str, group: str = "patches") -> np.ndarray:
        """Root of the sum of squares over the tokens of a group, (blocks, b): the Frobenius norm of their stream."""
        return np.stack([np.linalg.norm(v, axis=-1) for v in self._members(stream, group)], axis=-1)

    def _members(self, stream: str, group: str) -> list[np.ndarray]:
        """The values of a group's tokens, (blocks, tokens of the group) for every image."""
        if stream not in self.streams:
            raise ValueError(f"Expected stream to be one of {', '.join(self.streams)}, but got {stream!r}")
        masks = _group(self.groups, group)
        return [getattr(self, stream)[:, image, mask] for image, mask in enumerate(masks)]


def _group(groups: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in groups:
        raise ValueError(f"Expected group to be one of {', '.join(groups)}, but got {name!r}")
    return groups[name]


def token_groups(trace: Trace, regions: Region | Sequence[Region] | None) -> dict[str, np.ndarray]:
    """The groups that tokens are summarised over, each bool (b, tokens); see `StreamMeasure.groups`."""
    b, tokens, _ = trace.output.shape
    tower, prefix = trace.tower, trace.tower.prefix
    index = np.broadcast_to(np.arange(tokens), (b, tokens))
    groups = {"cls": index == 0} if tower.has_cls else {}
    if tower.registers:
        groups["registers"] = (index >= prefix - tower.registers) & (index < prefix)
    groups["patches"] = index >= prefix
    if regions is not None:
        sides = stack_regions(regions, b, trace.grid)
        padded = (np.pad(side, ((0, 0), (prefix, 0))) for side in sides)  # (b, tokens)
        groups |= dict(zip(("foreground", "background"), padded, strict=True))
    return groups


@torch.inference_mode()
def compute_norms(trace: Trace, regions: Region | Sequence[Region] | None = None) -> StreamMeasure:
    """L2 norm of every token of every block's residual, attention output and MLP output.

    Args:
        trace: a recorded pass that kept every block.
        regions: one for all images or one each, for the groups "foreground" and "background".

    Raises:
        ValueError: a block was not kept, or regions that do not fit.

    Source: Lan et al. 2024, "ClearCLIP", arXiv 2407.12442, section 3.2, there as Frobenius norms over all tokens.
    """
    return _measure(trace, "L2 norm", lambda x: torch.linalg.vector_norm(_wide(x), dim=-1), regions)


@torch.inference_mode()
def compute_cosine_to_cls(trace: Trace, regions: Region | Sequence[Region] | None = None) -> StreamMeasure:
    """Cosine of every token of every block's residual, attention output and MLP output with the final CLS feature.

    Each stream goes through the whole read-out on its own (the LayerNorm with its own mean and deviation, then the
    projection), as if it were the last residual stream. Without a CLS token the pooled feature takes its place.

    Args:
        trace: a recorded pass that kept every block.
        regions: one for all images or one each, for the groups "foreground" and "background".

    Returns:
        Cosines in [-1, 1]; no residual in the attention pool of a ResNet, whose input has another width.

    Raises:
        ValueError: a block was not kept, or regions that do not fit.
    """
    tower = trace.tower
    target = F.normalize(_wide(tower.pool(trace.output)), dim=-1)[:, :, None]  # (b, d, 1)

    def cosine(x: Tensor) -> Tensor:
        return (F.normalize(_wide(tower.readout(x)), dim=-1) @ target)[..., 0]  # (b, tokens)

    return _measure(trace, "cosine with the CLS feature", cosine, regions, residual=tower.has_residual)


def _measure(
    trace: Trace,
    quantity: str,
    measure: Callable[[Tensor], Tensor],
    regions: Region | Sequence[Region] | None,
    residual: bool = True,
) -> StreamMeasure:
    """Applies `measure`, (b, tokens, w) -> (b, tokens), to every stream of every block, and to the output."""
    values = {name: [] for name in STREAMS}
    for l in range(trace.depth):
        record = trace.block(l)
        for name, x in zip(STREAMS, (record.x if residual else None, record.attn_out, record.mlp_out), strict=True):
            if x is not None:
                values[name].append(check_finite(measure(x), f"the {name} stream of block {l}"))
    streams = {name: _leave(torch.stack(rows)) if rows else None for name, rows in values.items()}
    groups = token_groups(trace, regions)
    return StreamMeasure(
        quantity,
        **streams,
        output=_leave(check_finite(measure(trace.output), "the output")),
        groups=groups,
        grid=trace.grid,
        model=trace.model,
    )


def _wide(x: Tensor) -> Tensor:
    """At least float32, in which sums of squares of half-precision tokens neither overflow nor lose digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _leave(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


@dataclass(frozen=True, slots=True)
class OutlierToken:
    """A patch token whose norm stands out among the patches of its image.

    Attributes:
        image: index in the batch.
        block: index of the block that it enters; the number of blocks L means the output x_L.
        row, column: the patch.
        norm: L2 norm in the residual stream.
        score: robust z-score over the patches, (norm - median) / deviation, the deviation being the larger
            of 1.4826 * median absolute deviation and 5 % of the median.
    """

    image: int
    block: int
    row: int
    column: int
    norm: float
    score: float


def outlier_tokens(norms: StreamMeasure, threshold: float = OUTLIER_THRESHOLD) -> tuple[OutlierToken, ...]:
    """Register-like tokens: patches of extreme norm in the residual stream, x_0 to x_L.

    Args:
        norms: from `compute_norms`.
        threshold: robust z-score above which a token is an outlier.

    Returns:
        The outliers, by image, then block, then descending score.

    Raises:
        ValueError: the measure is not of norms, or the threshold is not positive.

    Source: Darcet et al. 2023, arXiv 2309.16588, section 2.1, with a robust z-score in place of a fixed cut-off.
    """
    if not threshold > 0:
        raise ValueError(f"Expected threshold to be above 0, but got {threshold}")
    scores = norm_scores(norms)
    patches = _patch_norms(norms)
    found = [
        OutlierToken(int(i), int(l), *divmod(int(p), norms.grid[1]), float(patches[l, i, p]), float(scores[l, i, p]))
        for l, i, p in zip(*np.nonzero(scores > threshold), strict=True)
    ]
    return tuple(sorted(found, key=lambda token: (token.image, token.block, -token.score)))


def norm_scores(norms: StreamMeasure) -> np.ndarray:
    """How far the norm of every patch stands out among the patches of its image, see `OutlierToken.score`.

    Args:
        norms: from `compute_norms`.

    Returns:
        (L + 1, b, gh * gw) float64 for the residual streams x_0 to x_L.

    Raises:
        ValueError: the measure is not of norms.
    """
    if norms.quantity != "L2 norm":
        raise ValueError(f"Expected norms to be from compute_norms, but got a measure of {norms.quantity}")
    patches = _patch_norms(norms)
    median = np.median(patches, axis=-1, keepdims=True)
    deviation = MAD_TO_STD * np.median(np.abs(patches - median), axis=-1, keepdims=True)
    # After ln_pre all norms are nearly equal; the floor keeps a difference of a few percent from standing out.
    return (patches - median) / np.maximum(deviation, MIN_DEVIATION * median + np.finfo(np.float64).tiny)


def _patch_norms(norms: StreamMeasure) -> np.ndarray:
    """Norms of the patches in the residual stream, (L + 1, b, gh * gw) float64."""
    stream = np.concatenate([norms.residual, norms.output[None]])  # (L + 1, b, tokens)
    return stream[..., -norms.grid[0] * norms.grid[1] :].astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Entropy:
    """Entropy of the attention of every query token.

    Attributes:
        values: (blocks, b, heads, tokens) float64, in nats; 0 (one token is looked at) to log(tokens) (all alike).
        groups: bool (b, tokens) of query tokens by name, as in `StreamMeasure`.
        kind: kind of attention.
        model: name of the model.
    """

    values: np.ndarray
    groups: Mapping[str, np.ndarray]
    kind: str
    model: str

    def mean(self, group: str = "patches") -> np.ndarray:
        """Mean over the query tokens of a group, (blocks, b, heads)."""
        masks = _group(self.groups, group)
        # (tokens of the group, blocks, heads) for every image: NumPy puts the axis of a mask first
        return np.stack([self.values[:, i, :, mask].mean(axis=0) for i, mask in enumerate(masks)], axis=1)


@torch.inference_mode()
def compute_entropy(trace: Trace, regions: Region | Sequence[Region] | None = None, kind: str = "qk") -> Entropy:
    """Entropy of the attention pattern of every block and head.

    Scores are computed in the precision of the trace, at least float32, and the rest by the log-sum-exp of each row:
    from a float32 trace within 1e-6 of float64.

    Args:
        trace: a recorded pass that kept every block.
        regions: one for all images or one each, for the groups "foreground" and "background".
        kind: kind of attention; "qk" is the model's own.

    Raises:
        ValueError: a block was not kept, regions that do not fit, or a kind without meaning for the tower.
    """
    groups = token_groups(trace, regions)
    members = np.zeros(groups["patches"].shape, int)
    return Entropy(measure_patterns(trace, kind, members, entropy=True).entropy, groups, kind, trace.model)
