"""The causal check of blame: remove a component, re-run the network from its block on, read the change of the contrast.

Source: mean ablation as in Wang et al. 2022, "Interpretability in the Wild", arXiv 2211.00593, section 2.1; the mean is
taken over the patches of the same image, so that a component keeps its level and loses what it says of places.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from analysis.decomposition import Component, decompose
from analysis.metrics import contrast
from analysis.regions import Region
from surgery import Method, Trace, dense_features, similarity
from surgery.attention import attend
from surgery.blocks import Block
from surgery.methods import get_method
from surgery.trace import BlockTrace, rerun_edited, write_attention

HOW = ("mean", "zero")
KINDS = ("attention", "head", "mlp")


@dataclass(frozen=True, slots=True)
class Intervention:
    """What removing one component did.

    Attributes:
        component: what was removed.
        blame: what it added to the contrast according to `decompose`.
        contrast: of the map without it.
        change: contrast without it minus contrast with it; blame predicts -blame.
    """

    component: Component
    blame: float
    contrast: float
    change: float


@dataclass(frozen=True, slots=True)
class JointRemoval:
    """What removing several components at once did, beside what removing each alone did.

    The two differ because a component reads what others write, and because every norm divides by the length of what
    all of them have written together.

    Attributes:
        singles: each component removed alone, in the order asked for.
        contrast: of the map without all of them.
        change: contrast without them minus contrast with them.
    """

    singles: tuple[Intervention, ...]
    contrast: float
    change: float

    @property
    def sum_of_changes(self) -> float:
        """What the single removals add up to."""
        return sum(single.change for single in self.singles)

    @property
    def interaction(self) -> float:
        """What they do together beyond what they do one by one."""
        return self.change - self.sum_of_changes

    @property
    def blame(self) -> float:
        """What all of them add to the contrast according to `decompose`; it predicts a change of -blame."""
        return sum(single.blame for single in self.singles)


def components_of(trace: Trace, *, heads: bool = False) -> tuple[Component, ...]:
    """Everything in the tower that can be removed: attention outputs and MLPs, or heads and MLPs."""
    found: list[Component] = []
    for index, block in enumerate(trace.tower.blocks):
        if heads:
            found += [Component("head", index, head) for head in range(block.heads)]
        else:
            found.append(Component("attention", index))
        if block.mlp is not None:
            found.append(Component("mlp", index))
    return tuple(found)


@torch.inference_mode()
def ablate(trace: Trace, component: Component | Collection[Component], how: str = "mean") -> Trace:
    """The pass without one component, or without several at once, re-run from the first of their blocks on.

    Args:
        trace: a recorded pass with every block from the component's on kept.
        component: an attention output, a head or an MLP, see `components_of`, or several of them. Each is replaced by
            what it would write in the pass that the others have changed; an attention output includes its heads.
        how: "mean" gives every patch the mean over the patches of its image and leaves CLS and registers alone; "zero"
            writes nothing. A head is replaced before the output projection, and before a norm in front of it (EVA-02).

    Returns:
        A trace of the changed path for any method. Methods that recompute attention in the last blocks read q, k and v
        of the changed path.

    Raises:
        ValueError: no such component in the tower, none at all, or an unknown `how`.
    """
    if how not in HOW:
        raise ValueError(f"Expected how to be one of {', '.join(HOW)}, but got {how!r}")
    parts = (component,) if isinstance(component, Component) else tuple(component)
    if not parts:
        raise ValueError("Expected at least one component to remove, but got none")
    for part in parts:
        _check(trace, part)
    removal = _Removal(trace.tower.prefix, how)
    edits = {}
    for index in {part.block for part in parts}:
        own = [part for part in parts if part.block == index]
        edits[index] = partial(removal, trace.tower.blocks[index], own)
    return rerun_edited(trace, edits)


@dataclass(frozen=True, slots=True)
class _Removal:
    """Takes components out of the record of their block.

    Attributes:
        prefix: tokens before the patches.
        how: see `ablate`.
    """

    prefix: int
    how: str

    def __call__(self, block: Block, parts: Sequence[Component], record: BlockTrace) -> BlockTrace:
        heads = [part.head for part in parts if part.kind == "head"]
        if any(part.kind == "attention" for part in parts):
            record = write_attention(block, record, self._without(record.attn_out))
        elif heads:
            heads_out = attend("qk", record.projections).clone()  # (b, heads, tokens, d)
            for head in heads:
                heads_out[:, head] = self._without(heads_out[:, head])
            record = write_attention(block, record, block.merge(heads_out))
        if any(part.kind == "mlp" for part in parts):
            record = replace(record, mlp_out=self._without(record.mlp_out))
        return record

    def _without(self, written: Tensor) -> Tensor:
        """What is written (b, tokens, w) in place of `written`."""
        if self.how == "zero":
            return torch.zeros_like(written)
        patches = written[:, self.prefix :]
        return torch.cat([written[:, : self.prefix], patches.mean(dim=1, keepdim=True).expand_as(patches)], dim=1)


def _check(trace: Trace, component: Component) -> None:
    if component.kind not in KINDS:
        raise ValueError(f"Expected a component of kind {', '.join(KINDS)}, but got {component.label!r}")
    if component.block not in range(trace.depth):
        raise ValueError(
            f"Expected a block from 0 to {trace.depth - 1}, but got {component.block} ({component.label!r})"
        )
    if component.kind == "mlp" and trace.tower.blocks[component.block].mlp is None:
        raise ValueError(f"Expected a block with an MLP, but got block {component.block} ({component.label!r})")
    if component.kind == "head" and trace.block(component.block).edited:
        raise ValueError(
            f"Expected a block whose attention output is its own, but {component.label!r} was edited before"
        )
    heads = trace.tower.blocks[component.block].heads
    if component.kind == "head" and component.head not in range(heads):
        raise ValueError(f"Expected a head from 0 to {heads - 1}, but got {component.head}")


def iterate_interventions(
    trace: Trace,
    text: Tensor,
    region: Region,
    components: Sequence[Component] | None = None,
    *,
    how: str = "mean",
    method: Method | str | None = None,
) -> Iterator[Intervention]:
    """Removes one component after the other and reads the contrast of the map of one text.

    Args:
        trace: a recorded pass of one image with every block kept.
        text: (1, d) feature of the text.
        region: what should light up.
        components: what to remove; None for all attention outputs and MLPs.
        how: see `ablate`.
        method: how the map is read, a method or the name of a preset; None for the original path.

    Yields:
        One `Intervention` per component, in order.

    Raises:
        ValueError: more than one image or text, an unknown name, or see `ablate`.
    """
    _check_one(trace, text)
    method = get_method("clip" if method is None else method)
    chosen = components_of(trace) if components is None else tuple(components)
    blame = _blame_by_component(trace, text, region, method, heads=any(c.kind == "head" for c in chosen))
    before = _map_contrast(trace, text, region, method)
    for component in chosen:
        after = _map_contrast(ablate(trace, component, how), text, region, method)
        yield Intervention(component, blame.get(component, 0.0), after, after - before)


def remove_together(
    trace: Trace,
    text: Tensor,
    region: Region,
    components: Collection[Component],
    *,
    how: str = "mean",
    method: Method | str | None = None,
) -> JointRemoval:
    """Removes components one by one and all at once, and reads the contrast of the map of one text each time.

    Args:
        trace, text, region, how, method: as in `iterate_interventions`.
        components: what to remove, at least one; each once.

    Raises:
        ValueError: as `iterate_interventions` and `ablate`.
    """
    _check_one(trace, text)
    chosen = tuple(dict.fromkeys(components))
    method = get_method("clip" if method is None else method)
    after = _map_contrast(ablate(trace, chosen, how), text, region, method)
    singles = tuple(iterate_interventions(trace, text, region, chosen, how=how, method=method))
    return JointRemoval(singles, after, after - _map_contrast(trace, text, region, method))


def _check_one(trace: Trace, text: Tensor) -> None:
    if len(trace.output) != 1 or len(text) != 1:
        raise ValueError(f"Expected one image and one text, but got {len(trace.output)} and {len(text)}")


def _map_contrast(trace: Trace, text: Tensor, region: Region, method: Method) -> float:
    return contrast(similarity(dense_features(trace, method), text).patches[0, :, :, 0], region)


def _blame_by_component(
    trace: Trace, text: Tensor, region: Region, method: Method, heads: bool
) -> dict[Component, float]:
    """Contrast terms of heads (if asked for), attention outputs and MLPs."""
    fine = decompose(trace, text, method, heads=heads)
    found: dict[Component, float] = {}
    for blame in (fine, fine.merged()):
        terms: np.ndarray = blame.contrast(region)[0, :, 0]
        found |= dict(zip(blame.components, map(float, terms), strict=True))
    return found
