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

import re
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.regions import Region
from surgery import DenseFeatures, Method, Trace, similarity
from surgery.blocks import Block
from surgery.calibration import calibrate
from surgery.chain import PulledBack
from surgery.dense import Walk, fit_method
from surgery.features import unit_texts


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the network that writes to the residual stream or to the feature.

    Attributes:
        kind: "embedding", "attention", "head", "bias" (of a block's output projection and norms), "mlp", "head mlp"
            (of a MAP head or another head with an MLP), "read-out" (biases of the final norms and projections) or
            "rounding" (what a model in half precision loses at every addition to its residual stream; absent in float32
            and float64).
        block: index of the block, None for the embedding and the read-out.
        head: index of the head, only for kind "head".
    """

    kind: str
    block: int | None = None
    head: int | None = None

    @property
    def label(self) -> str:
        """Short name, for example "embedding", "a3" (attention of block 3), "a3.h1", "a3.bias", "m3"."""
        if self.block is None:
            return self.kind
        suffix = {"attention": "", "head": f".h{self.head}", "bias": ".bias", "mlp": ""}[self.kind]
        return f"{'m' if self.kind == 'mlp' else 'a'}{self.block}{suffix}"


_LABEL = re.compile(r"(?P<letter>[am])(?P<block>\d{1,6})(?:\.(?:h(?P<head>\d{1,6})|(?P<bias>bias)))?")
_ALONE = ("embedding", "head mlp", "read-out")


def parse_component(label: str) -> Component | None:
    """The component of this label, the inverse of `Component.label`; None for no component.

    >>> parse_component("a2.h1")
    Component(kind='head', block=2, head=1)
    """
    if label in _ALONE:
        return Component(label)
    found = _LABEL.fullmatch(label)
    if found is None or (found["letter"] == "m" and (found["head"] or found["bias"])):
        return None
    block = int(found["block"])
    if found["head"]:
        return Component("head", block, int(found["head"]))
    return Component("bias" if found["bias"] else {"a": "attention", "m": "mlp"}[found["letter"]], block)


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
    walk: Walk, text: Tensor, method: Method | str, fold: Tensor, *, heads: bool = True
) -> FoldedBlame:
    """`decompose`, summed over patches before the texts are met: what a data set needs, at a small part of the cost.

    Args:
        walk: over a recorded pass with every block kept; methods that share one share their attention.
        text: (t, d) text features.
        method: what to decompose.
        fold: (b, r, gh * gw) weights of the patches in each sum, for example 1 / n over the n patches of a region and
            -1 / m over those of its background, which gives the terms of the contrast.
        heads: as in `decompose`.

    Raises:
        ValueError: as `decompose`.
    """
    fitted = fit_method(walk.trace.tower, method)
    readout = Readout.of(walk.trace, walk.tokens(fitted), text)
    rows = _all_rows(walk, fitted, replace(readout, fold=fold.to(readout.text)), heads)
    return FoldedBlame(torch.stack([row for _, row in rows], dim=1), tuple(component for component, _ in rows))


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
    rows = _all_rows(walk, fitted, readout, heads)
    features = readout.features.unflatten(1, trace.grid)
    cosines = similarity(DenseFeatures(features[:, 0, 0], features, fitted, trace.model), text).patches
    if trace.output.dtype.itemsize < 4:
        rounded = cosines.flatten(1, 2) - torch.stack([row for _, row in rows]).sum(dim=0)
        rows.append((Component("rounding"), rounded))
    terms = torch.stack([row for _, row in rows], dim=1)  # (b, k, gh * gw, t)
    components = tuple(component for component, _ in rows)
    return Blame(terms.unflatten(2, trace.grid).cpu().numpy(), components, cosines.cpu().numpy(), fitted, trace.model)


@dataclass(frozen=True, slots=True)
class Readout:
    """Reads what a tensor in the residual stream adds to the cosines, with the norms of the read-out frozen.

    Attributes:
        text: (t, d) unit text features.
        features: (b, gh * gw, d) the method's features, not normalised.
        back: texts pulled back to the residual stream, one over the norm of the feature within its scale.
        head_mlp: (b, gh * gw, d) the part of the features that the MLP of a head adds; None for an affine read-out.
        prefix: tokens before the patches, which are left out.
        fold: (b, r, gh * gw) weights that patches are summed with; then every (b, gh * gw, ...) below is (b, r, ...).
            None leaves the patches apart.
    """

    text: Tensor
    features: Tensor
    back: PulledBack
    head_mlp: Tensor | None
    prefix: int
    fold: Tensor | None = None

    @classmethod
    def of(cls, trace: Trace, acc: Tensor, text: Tensor) -> "Readout":
        """For the final tokens acc (b, tokens, w) of a method and texts (t, d)."""
        tower = trace.tower
        patches = acc[:, tower.prefix :]
        dtype = torch.float64 if acc.dtype == torch.float64 else torch.float32
        features = tower.readout(patches).to(dtype)  # (b, gh * gw, d)
        unit = unit_texts(text, features)
        back = tower.chain.pull_back(patches, unit, 1 / features.norm(dim=-1, keepdim=True))
        head_mlp = None if tower.is_affine else features - tower.chain(patches).to(dtype)
        return cls(unit, features, back, head_mlp, tower.prefix)

    def __call__(self, written: Tensor) -> Tensor:
        """(b, tokens, w) -> (b, gh * gw, t)."""
        return self.back(written[:, self.prefix :], self.fold)

    def averaged(self, after: Tensor | None) -> "Readout":
        """What patches add before they are averaged with weights `after` (b, n, n)."""
        if after is None:
            return self
        back, weights = self.back, after.to(self.text)
        per_patch = weights * back.scale if self.fold is None else (self.fold * back.scale.mT) @ weights
        plain = replace(back, scale=torch.ones_like(back.scale), constant=torch.zeros_like(back.constant))
        return replace(self, back=plain, fold=per_patch)

    def heads(self, block: Block, heads_out: Tensor) -> tuple[Tensor, Tensor]:
        """Per-head outputs (b, heads, tokens, d) -> (b, heads, gh * gw, t), and what biases behind them add."""
        back = self.back
        return block.pull_back(heads_out[:, :, self.prefix :], back.directions, back.scale, self.fold)

    def rows(self, trace: Trace) -> list["Row"]:
        """Terms of the read-out itself: its biases, and the MLP of a head."""
        terms = {"read-out": self.back.constant} if trace.tower.chain.steps else {}
        if self.head_mlp is not None:
            per_token = 1 / self.features.norm(dim=-1, keepdim=True)  # (b, gh * gw, 1)
            terms["head mlp"] = self.head_mlp @ self.text.mT * per_token
        return [(Component(kind), row if self.fold is None else self.fold @ row) for kind, row in terms.items()]


Row = tuple[Component, Tensor]


def _all_rows(walk: Walk, method: Method, readout: Readout, heads: bool) -> list[Row]:
    """Every term of a method that is already fitted to the tower."""
    rows = [*_original_rows(walk, method, readout, heads), *_walked_rows(walk, method, readout, heads)]
    return rows + readout.rows(walk.trace)


def _original_rows(walk: Walk, method: Method, readout: Readout, heads: bool) -> list[Row]:
    """Terms of the embedding and of the blocks before the walk."""
    trace = walk.trace
    first = trace.depth if method.follows_original else trace.depth - method.blocks
    factor = 1.0 if method.follows_original else float(method.residual) ** method.blocks
    if factor == 0 or (trace.depth and not trace.tower.has_residual):
        return []
    rows: list[Row] = [(Component("embedding"), readout(trace.stream(0)))]
    for index in range(first):
        record = trace.block(index)
        rows += _attention_rows(walk, index, "qk", readout, record.attn_out, heads)
        rows.append((Component("mlp", index), readout(record.mlp_out)))
    return [(component, row * factor) for component, row in rows]


def _walked_rows(walk: Walk, method: Method, readout: Readout, heads: bool) -> list[Row]:
    """Terms of the blocks that the method walks again."""
    trace = walk.trace
    if method.follows_original:
        return []
    if method.steps:
        return _calibrated_rows(walk, method, readout, heads)
    rows: list[Row] = []
    for step in walk.steps(method):
        factor = float(method.residual) ** (trace.depth - 1 - step.index)
        if factor == 0:
            continue
        written = walk.attention(step.index, method.attention)
        attention = _attention_rows(walk, step.index, method.attention, readout, written, heads)
        rows += [(component, row * (factor * method.alpha)) for component, row in attention]
        if step.mlp_out is not None:
            rows.append((Component("mlp", step.index), readout(step.mlp_out) * factor))
    return rows


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


def _attention_rows(walk: Walk, index: int, kind: str, readout: Readout, written: Tensor, heads: bool) -> list[Row]:
    if not heads or (kind == "qk" and walk.trace.block(index).edited):
        return [(Component("attention", index), readout(written))]
    return _head_rows(walk.trace, index, walk.heads(index, kind), readout, heads)


def _head_rows(trace: Trace, index: int, heads_out: Tensor, readout: Readout, heads: bool) -> list[Row]:
    """Terms of the heads (b, heads, tokens, d) of a block and of the biases behind them, or of both together."""
    block = trace.tower.blocks[index]
    if not heads:
        return [(Component("attention", index), readout(block.merge(heads_out)))]
    per_head, bias = readout.heads(block, heads_out)  # (b, heads, gh * gw, t), (b, gh * gw, t)
    rows = [(Component("head", index, head), per_head[:, head]) for head in range(block.heads)]
    return [*rows, (Component("bias", index), bias)]
