"""Method x trace -> dense features: the few lines that carry out every method of `surgery.methods.METHODS`."""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surgery.attention import Projections, attend
from surgery.calibration import calibrated_tokens, similarity_pattern
from surgery.methods import CLASSIC, METHODS, Method, get_method
from surgery.mixtures import SIMILARITY, Part, parse_mixture
from surgery.towers import FAMILIES, Tower, check_kind
from surgery.trace import OnBlock, Trace

if TYPE_CHECKING:
    from surgery.models import Model


class InterpolationWarning(UserWarning):
    """A method was carried out on a position embedding that was interpolated in another way than the method's own."""


@dataclass(frozen=True, slots=True)
class DenseFeatures:
    """Image features in the space of the text features, not normalised.

    Attributes:
        cls: (b, d) the model's own image feature, always of the original path.
        patches: (b, gh, gw, d) one feature per patch.
        method: what produced them, as the tower carried it out on the position interpolation of the trace.
        model: name of the model.
    """

    cls: Tensor
    patches: Tensor
    method: Method
    model: str


def fit_method(tower: Tower, method: Method | str) -> Method:
    """The method, or the preset of this name, as this tower can carry it out.

    The attention pool of a ResNet is its only block and has neither residual nor MLP, so these three fields are set.

    Raises:
        ValueError: an unknown name, an attention kind without meaning for the tower, or fewer blocks than asked for.
        TypeError: neither a method nor a name.
    """
    method = get_method(method)
    if not tower.blocks:
        return _fit_to_last_layer(tower, method)
    check_kind(tower, method.attention)
    _check_steps(tower, method)
    if not tower.has_residual:
        return replace(method, blocks=1, residual=0.0, mlp=False)
    if method.blocks > len(tower.blocks):
        raise ValueError(
            f"Expected blocks to be from 1 to {len(tower.blocks)} (the depth of this tower), but got {method.blocks}"
        )
    if method.reach > len(tower.blocks):
        raise ValueError(
            f"Expected attention to name blocks from -{len(tower.blocks)} to -1 for this tower, "
            f"but got {' with the steps '.join(filter(None, (repr(method.attention), method.steps)))}"
        )
    return method


def _check_steps(tower: Tower, method: Method) -> None:
    steps = method.parsed_steps
    if steps is not None and not tower.has_residual:
        raise ValueError(f"Expected no steps for the attention pool of a ResNet, but got {method.steps!r}")
    if steps is not None and steps.cls and not tower.has_cls:
        raise ValueError(f"Expected steps without cls for a tower that has no CLS token, but got {method.steps!r}")


def _fit_to_last_layer(tower: Tower, method: Method) -> Method:
    if not method.follows_original:
        raise ValueError(
            f"Expected method to be clip for a tower without blocks over all tokens ({FAMILIES[tower.family]}), "
            f"but got {method}"
        )
    return method


class Walk:
    """Methods over one trace; attention outputs are computed once per (block, kind) and shared between methods."""

    def __init__(
        self, trace: Trace, on_block: OnBlock | None = None, heads: Mapping[tuple[int, str], Tensor] | None = None
    ) -> None:
        """`heads` are per-head outputs that take the place of those of a (block, kind)."""
        self.trace = trace
        self.on_block = on_block
        self._attention: dict[tuple[int, str], Tensor] = {}
        self._heads: dict[tuple[int, str], Tensor] = dict(heads or {})
        self._tokens: dict[Method, Tensor] = {}
        self._steps: dict[Method, list[Step]] = {}

    def heads(self, index: int, kind: str) -> Tensor:
        """Per-head outputs of Attn_l[kind] of the original path, (b, heads, tokens, head width)."""
        if (index, kind) not in self._heads:
            own = self.trace.block(index)
            known = kind == "qk" and not own.edited and own.heads_out is not None
            self._heads[index, kind] = own.heads_out if known else self._compute_heads(index, kind)
        return self._heads[index, kind]

    def _compute_heads(self, index: int, attention: str) -> Tensor:
        own = self.trace.block(index).projections
        out = None
        for part in parse_mixture(attention):
            for block in part.blocks or (index,):
                term = _scaled(self.attend_part(part, block, own), part.weight / max(1, len(part.blocks)))
                out = term if out is None else out + term
        return out

    def attend_part(self, part: Part, block: int, own: Projections) -> Tensor:
        """The pattern that one kind of a mixture has in a block, times v of `own`: (b, heads, tokens, head width)."""
        if part.kind == SIMILARITY:
            return similarity_pattern(self.trace.stream(self.trace.behind(block))) @ own.v
        return attend(part.kind, replace(self.trace.block(block).projections, v=own.v))

    def attention(self, index: int, kind: str) -> Tensor:
        """Attn_l[kind] of the original path, (b, tokens, w)."""
        block = self.trace.block(index)
        if kind == "qk":
            return block.attn_out
        if (index, kind) not in self._attention:
            kept = block.heads_out is not None or (index, kind) in self._heads
            heads = self.heads(index, kind) if kept else self._compute_heads(index, kind)
            self._attention[index, kind] = self.trace.tower.blocks[index].merge(heads)
        return self._attention[index, kind]

    @cached_property
    def cls(self) -> Tensor:
        """The model's own image feature (b, d), not normalised."""
        return _at_least_float32(self.trace.tower.pool(self.trace.output))

    def tokens(self, method: Method) -> Tensor:
        """The sum `acc` at the end of the walk, (b, tokens, w); `method` already fitted to the tower."""
        if method.follows_original:
            return self.trace.output
        if method not in self._tokens and method.steps:
            self._tokens[method] = calibrated_tokens(self.trace, method)
        elif method not in self._tokens:
            steps = list(self.steps(method)) if method.mlp else deque(self.steps(method), maxlen=1)
            self._tokens[method] = steps[-1].acc
            if method.mlp:  # what an MLP adds is dear to compute again
                self._steps[method] = steps
        return self._tokens[method]

    def steps(self, method: Method) -> Iterator["Step"]:
        """The walked blocks one by one, also where they retrace the original path."""
        if method in self._steps:
            yield from self._steps[method]
            return
        trace = self.trace
        first = trace.depth - method.blocks
        acc = trace.block(first).x if method.residual else None
        for index in range(first, trace.depth):
            if self.on_block is not None:
                self.on_block(index - first, method.blocks)
            update = _scaled(self.attention(index, method.attention), method.alpha)
            acc = _scaled(acc, method.residual) + update if method.residual else update
            mlp_out = trace.tower.blocks[index].mlp_out(acc) if method.mlp else None
            acc = acc if mlp_out is None else acc + mlp_out
            yield Step(index, acc, mlp_out)


@dataclass(frozen=True, slots=True)
class Step:
    """One walked block.

    Attributes:
        index: which block.
        acc: (b, tokens, w) the running sum after it.
        mlp_out: (b, tokens, w) what its MLP added, None for a method without MLP.
    """

    index: int
    acc: Tensor
    mlp_out: Tensor | None


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else factor * x


def usable_methods(tower: Tower, names: Iterable[str] = CLASSIC) -> dict[str, Method]:
    """The presets of these names that have a meaning for the tower and fit its depth; `METHODS` for all there are."""
    return {name: METHODS[name] for name in names if _fits(tower, METHODS[name])}


def _fits(tower: Tower, method: Method) -> bool:
    try:
        fit_method(tower, method)
    except ValueError:
        return False
    return True


def dense_features(trace: Trace, method: Method | str) -> DenseFeatures:
    """Dense features of one method from a recorded pass.

    Args:
        trace: from `Model.trace`; its position interpolation stands, the method's own is used by `encode_dense`.
        method: any method, see `surgery.methods.Method`, or the name of one of `METHODS`.

    Returns:
        Features in float32 (float64 for a float64 model); their `method` has the interpolation of the trace.

    Raises:
        ValueError: an unknown name, a method without meaning for the tower, or a block it needs was not kept.
        TypeError: method is neither a method nor a name.

    Warns:
        InterpolationWarning: off the native size the trace has another position interpolation than the method, so the
            features are not those of the publication.
    """
    return next(iterate_dense_features(trace, [_on_trace(fit_method(trace.tower, method), trace, 3)]))


@torch.inference_mode()
def iterate_dense_features(trace: Trace, methods: Iterable[Method | str]) -> Iterator[DenseFeatures]:
    """`dense_features` of many methods, or names of presets, sharing the attention outputs that they have in common."""
    walk = Walk(trace)
    for method in methods:
        yield dense_features_of(walk, method)


@torch.inference_mode()
def dense_features_of(walk: Walk, method: Method | str) -> DenseFeatures:
    """`dense_features` on a walk that remembers what other methods have computed."""
    trace, tower = walk.trace, walk.trace.tower
    fitted = _on_trace(fit_method(tower, method), trace, 4)
    features = tower.readout(walk.tokens(fitted)[:, tower.prefix :])  # (b, gh * gw, d)
    return DenseFeatures(walk.cls, _at_least_float32(features).unflatten(1, trace.grid), fitted, trace.model)


def _on_trace(method: Method, trace: Trace, stacklevel: int) -> Method:
    """The method with the interpolation that the trace really has; says so where that changes the outcome."""
    own, traced = method.position_interpolation, trace.position_interpolation
    if own == traced or trace.grid == tuple(trace.tower.native_grid):
        return method
    warnings.warn(
        f"The method interpolates the position embedding by {own!r}, but this trace by {traced!r}: on its grid of "
        f"{trace.grid[0]} x {trace.grid[1]} patches the features differ from the method's own. Use encode_dense, or "
        f"record the trace with position_interpolation={own!r}",
        InterpolationWarning,
        stacklevel=stacklevel,
    )
    return replace(method, position_interpolation=traced)


def encode_dense(model: "Model", pixels: Tensor, method: Method | str) -> DenseFeatures:
    """Trace and dense features in one call, with the method's own position interpolation.

    Args:
        model: see `surgery.load_model`.
        pixels: (b, 3, H, W) from `model.preprocess`.
        method: any method, or the name of one of `METHODS`.
    """
    fitted = fit_method(model.tower, method)
    trace = model.trace(
        pixels, position_interpolation=fitted.position_interpolation, keep=min(fitted.reach, len(model.tower.blocks))
    )
    return dense_features(trace, fitted)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
