"""The parts of a network that blame names, and the read-out that turns what one writes into cosines."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surgery import Trace
from surgery.blocks import Block
from surgery.chain import PulledBack
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
class Readout:
    """Reads what a tensor in the residual stream adds to the cosines, with the norms of the read-out frozen.

    Attributes:
        text: (t, d) unit text features.
        features: (b, gh * gw, d) the method's features, not normalised.
        back: texts pulled back to the residual stream, one over the norm of the feature within its scale.
        head_mlp: (b, gh * gw, d) the part of the features that the MLP of a head adds; None for an affine read-out.
        prefix: tokens before the patches, which are left out.
        fold: (b, r, gh * gw) weights that patches are summed with; then every (b, gh * gw, ...) that is read is
            (b, r, ...). None leaves the patches apart.
    """

    text: Tensor
    features: Tensor
    back: PulledBack
    head_mlp: Tensor | None
    prefix: int
    fold: Tensor | None = None

    @classmethod
    def of(cls, trace: Trace, acc: Tensor, text: Tensor, features: Tensor | None = None) -> "Readout":
        """For the final tokens acc (b, tokens, w) of a method, their features if known, and texts (t, d)."""
        tower = trace.tower
        patches = acc[:, tower.prefix :]
        dtype = torch.float64 if acc.dtype == torch.float64 else torch.float32
        if features is None:
            features = tower.readout(patches).to(dtype)  # (b, gh * gw, d)
        unit = unit_texts(text, features)
        back = tower.chain.pull_back(patches, unit, 1 / features.norm(dim=-1, keepdim=True))
        head_mlp = None if tower.is_affine else features - tower.chain(patches).to(dtype)
        return cls(unit, features, back, head_mlp, tower.prefix)

    @classmethod
    def stacked(cls, readouts: Sequence["Readout"], fold: Tensor) -> "Readout":
        """One that reads for several methods at once: the sums of each, one after the other."""
        first = readouts[0]
        folds = torch.cat([fold * readout.back.scale.mT for readout in readouts], dim=1)
        back = replace(first.back, scale=torch.ones_like(first.back.scale))
        return replace(first, back=back, fold=folds)

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
        """Terms of the read-out itself for every patch: its biases, and the MLP of a head."""
        terms = {"read-out": self.back.constant} if trace.tower.chain.steps else {}
        if self.head_mlp is not None:
            per_token = 1 / self.features.norm(dim=-1, keepdim=True)  # (b, gh * gw, 1)
            terms["head mlp"] = self.head_mlp @ self.text.mT * per_token
        return [(Component(kind), row) for kind, row in terms.items()]


Row = tuple[Component, Tensor]
