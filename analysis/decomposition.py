"""Exact blame: which part of the network wrote the similarity of a patch with a text.

On the original path x_L = x_0 + sum_l a_l + sum_l m_l and a_l = sum_h a_{l,h} + bias; a `Method` only changes the
factors and the attention of the last blocks. The LayerNorms of the read-out are linear once their per-token standard
deviations are frozen, and so are norms inside a block's attention (EVA-02), so the cosine of a patch with a text is a
sum of one signed number per component, no remainder.

Blame is arithmetic, not causation: an early component also acts through later ones. The check is
`analysis.interventions`.

Source: the direct effect of Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", and its use on
CLIP by Gandelsman et al. 2024, "Interpreting CLIP's Image Representation via Text-Based Decomposition", arXiv
2310.05916; here for every patch, every method of `surgery.methods`, and heads that are not linear.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.readout import Component, Readout, Row
from analysis.regions import Region
from surgery import DenseFeatures, Method, Trace, similarity
from surgery.calibration import calibrate
from surgery.dense import Walk, fit_method


@dataclass(frozen=True, slots=True)
class Blame:
    """Signed terms that add up to the similarity.

    Attributes:
        terms: (b, k, gh, gw, t) what each component adds to the cosine.
        components: the k components in the order in which the network runs them.
        similarity: (b, gh, gw, t) cosines as `surgery.similarity` gives them, not the sum of the terms.
        method: the method that was decomposed, as the tower carried it out.
        model: name of the model.
    """

    terms: np.ndarray
    components: tuple[Component, ...]
    similarity: np.ndarray
    method: Method
    model: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the k components."""
        return tuple(component.label for component in self.components)

    def contrast(self, region: Region) -> np.ndarray:
        """Terms folded into foreground minus background, (b, k, t); they sum to the contrast of the similarity."""
        foreground, background = region.foreground, region.background
        return self.terms[:, :, foreground].mean(axis=2) - self.terms[:, :, background].mean(axis=2)

    def merged(self) -> "Blame":
        """The same with heads and output bias added up to one attention term per block."""
        parts: dict[Component, list[int]] = {}
        for i, c in enumerate(self.components):
            part = Component("attention", c.block) if c.kind in ("head", "bias") else c
            parts.setdefault(part, []).append(i)
        terms = np.stack([self.terms[:, rows].sum(axis=1) for rows in parts.values()], axis=1)
        return Blame(terms, tuple(parts), self.similarity, self.method, self.model)


@dataclass(frozen=True, slots=True)
class FoldedBlame:
    """Signed terms of weighted sums of the similarity, on the device of the trace.

    Attributes:
        terms: (b, k, r, t) what each component adds to each of r sums over patches.
        components: the k components in the order in which the network runs them.
    """

    terms: Tensor
    components: tuple[Component, ...]


@torch.inference_mode()
def decompose_folded(
    walk: Walk, text: Tensor, features: Sequence[DenseFeatures], fold: Tensor, *, heads: bool = True
) -> tuple[FoldedBlame, ...]:
    """`decompose`, summed over patches before the texts are met: what a data set needs, at a small part of the cost.

    What several methods are sums of, such as the blocks before their walks, is read once for all of them.

    Args:
        walk: over a recorded pass with every block kept; one that kept its heads saves their computation.
        text: (t, d) text features.
        features: what to decompose: the features of each method on this walk, from `surgery.dense.dense_features_of`.
        fold: (b, r, gh * gw) weights of the patches in each sum, for example 1 / n over the n patches of a region and
            -1 / m over those of its background, which gives the terms of the contrast.
        heads: as in `decompose`.

    Returns:
        One for each method.

    Raises:
        ValueError: as `decompose`.
    """
    readouts = [Readout.of(walk.trace, walk.tokens(own.method), text, own.patches.flatten(1, 2)) for own in features]
    fold = fold.to(readouts[0].text)
    plans = [dict(_sources(walk.trace, own.method)) for own in features]
    read: list[dict[_Source, list[Row]]] = [{} for _ in features]
    for source in dict.fromkeys(source for plan in plans for source in plan):
        users = [place for place, plan in enumerate(plans) if source in plan]
        rows = _read(walk, source, Readout.stacked([readouts[place] for place in users], fold), heads)
        for number, place in enumerate(users):
            own = slice(number * fold.shape[1], (number + 1) * fold.shape[1])
            read[place][source] = [(component, row[:, own] * plans[place][source]) for component, row in rows]
    found = []
    for readout, plan, own in zip(readouts, plans, read, strict=True):
        rows = [row for source in plan for row in own[source]]
        rows += [(component, fold @ row) for component, row in readout.rows(walk.trace)]
        terms = torch.stack([row for _, row in rows], dim=1)
        found.append(FoldedBlame(terms, tuple(component for component, _ in rows)))
    return tuple(found)


@torch.inference_mode()
def decompose(trace: Trace, text: Tensor, method: Method | str, *, heads: bool = True) -> Blame:
    """Splits the cosine of every patch with every text into one term per component.

    Args:
        trace: a recorded pass with every block kept.
        text: (t, d) text features.
        method: what to decompose, a method or the name of one of `METHODS`; "clip" is the original path.
        heads: one term per head and one for the output bias of each block; False gives one term per attention output.

    Returns:
        Terms in float32, or float64 for a float64 model.

    Raises:
        ValueError: an unknown name, a method without meaning for the tower, a block that was not kept, or text of
            another width.
        TypeError: method is neither a method nor a name.
    """
    fitted = fit_method(trace.tower, method)
    walk = Walk(trace)
    readout = Readout.of(trace, walk.tokens(fitted), text)
    rows = [
        (component, row * factor)
        for source, factor in _sources(trace, fitted)
        for component, row in _read(walk, source, readout, heads)
    ]
    rows += readout.rows(trace)
    features = readout.features.unflatten(1, trace.grid)
    cosines = similarity(DenseFeatures(features[:, 0, 0], features, fitted, trace.model), text).patches
    if trace.output.dtype.itemsize < 4:
        rounded = cosines.flatten(1, 2) - torch.stack([row for _, row in rows]).sum(dim=0)
        rows.append((Component("rounding"), rounded))
    terms = torch.stack([row for _, row in rows], dim=1)  # (b, k, gh * gw, t)
    components = tuple(component for component, _ in rows)
    return Blame(terms.unflatten(2, trace.grid).cpu().numpy(), components, cosines.cpu().numpy(), fitted, trace.model)


@dataclass(frozen=True, slots=True)
class _Source:
    """A tensor that methods are sums of.

    Attributes:
        kind: "embedding", "attention", "mlp", or "calibrated": one attention with steps around it.
        index: of the block.
        attention: kind of attention.
        walked: the method whose walk ran this; None for the original path.
    """

    kind: str
    index: int = 0
    attention: str = ""
    walked: Method | None = None


def _sources(trace: Trace, method: Method) -> Iterator[tuple[_Source, float]]:
    """What a method that is fitted to the tower is a sum of, each with its factor."""
    first = trace.depth if method.follows_original else trace.depth - method.blocks
    factor = 1.0 if method.follows_original else float(method.residual) ** method.blocks
    if factor and (trace.tower.has_residual or not trace.depth):
        yield _Source("embedding"), factor
        for index in range(first):
            yield _Source("attention", index, "qk"), factor
            yield _Source("mlp", index), factor
    if method.steps:
        yield _Source("calibrated", walked=method), 1.0
        return
    for index in range(first, trace.depth):
        factor = float(method.residual) ** (trace.depth - 1 - index)
        if factor:
            yield _Source("attention", index, method.attention), factor * method.alpha
            if method.mlp:
                yield _Source("mlp", index, walked=method), factor


def _read(walk: Walk, source: _Source, readout: Readout, heads: bool) -> list[Row]:
    """The terms of a source, without its factor."""
    if source.kind == "embedding":
        return [(Component("embedding"), readout(walk.trace.stream(0)))]
    if source.kind == "attention":
        return _attention_rows(walk, source.index, source.attention, readout, heads)
    if source.kind == "calibrated":
        return _calibrated_rows(walk, source.walked, readout, heads)
    if source.walked is None:
        written = walk.trace.block(source.index).mlp_out
    else:
        written = next(step.mlp_out for step in walk.steps(source.walked) if step.index == source.index)
    return [(Component("mlp", source.index), readout(written))]


def _calibrated_rows(walk: Walk, method: Method, readout: Readout, heads: bool) -> list[Row]:
    """Terms of one attention with steps around it: its heads, and every component that wrote to the CLS it adds."""
    trace, found = walk.trace, calibrate(walk.trace, method)
    before, last, prefix = readout.averaged(found.after), trace.depth - 1, trace.tower.prefix
    rows: list[Row] = []

    def cls(written: Tensor, index: int) -> Tensor:
        """What a component adds through CLS of the streams behind it."""
        streams = sum(stream > index for stream in found.streams)
        return before(written[:, :1].expand_as(trace.output)) * (found.factor * streams)

    if found.streams:
        rows.append((Component("embedding"), cls(trace.stream(0), -1)))
        for index in range(max(found.streams)):
            rows.append((Component("attention", index), cls(trace.block(index).attn_out, index)))
            rows.append((Component("mlp", index), cls(trace.block(index).mlp_out, index)))
    padded = [F.pad(out, (0, 0, prefix, 0)) for out in found.heads]  # the read-out leaves out as many tokens again
    return rows + _sums([_head_rows(trace, last, out, before, heads) for out in padded], method.alpha)


def _sums(parts: list[list[Row]], factor: float) -> list[Row]:
    """Rows of the same components added up."""
    return [(rows[0][0], factor * sum(row for _, row in rows)) for rows in zip(*parts, strict=True)]


def _attention_rows(walk: Walk, index: int, kind: str, readout: Readout, heads: bool) -> list[Row]:
    if not heads or (kind == "qk" and walk.trace.block(index).edited):
        return [(Component("attention", index), readout(walk.attention(index, kind)))]
    return _head_rows(walk.trace, index, walk.heads(index, kind), readout, heads)


def _head_rows(trace: Trace, index: int, heads_out: Tensor, readout: Readout, heads: bool) -> list[Row]:
    """Terms of the heads (b, heads, tokens, d) of a block and of the biases behind them, or of both together."""
    block = trace.tower.blocks[index]
    if not heads:
        return [(Component("attention", index), readout(block.merge(heads_out)))]
    per_head, bias = readout.heads(block, heads_out)  # (b, heads, gh * gw, t), (b, gh * gw, t)
    rows = [(Component("head", index, head), per_head[:, head]) for head in range(block.heads)]
    return [*rows, (Component("bias", index), bias)]
