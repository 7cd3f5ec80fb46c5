"""Maps of single tokens: norms, linear maps and scales one after the other, and how directions are pulled back.

A LayerNorm is affine once the standard deviation of its input is frozen. So what a chain makes of a token is a sum over
whatever the token is a sum of, without remainder: the ground of exact blame, for the read-out of a tower and for the
way from the heads of a block to the residual stream.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from open_clip.transformer import LayerScale as OpenClipScale
from timm.layers import LayerNorm2d, LayerScale
from torch import Tensor, nn


class Affine:
    """An affine map whose tensors are read from the model at every call.

    Args:
        read: gives weight and bias; a weight (n, m) maps (..., m) to (..., n), a weight (m,) scales (..., m).
    """

    def __init__(self, read: Callable[[], tuple[Tensor, Tensor | None]]) -> None:
        self.read = read

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self.read()
        return F.linear(x, weight, bias) if weight.ndim == 2 else x * weight


class RowNorm:
    """A LayerNorm over the last dimension with the parameters of one that expects (b, c, h, w)."""

    def __init__(self, norm: LayerNorm2d) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.norm.normalized_shape, self.norm.weight, self.norm.bias, self.norm.eps)


Step = nn.Module | Affine | RowNorm
_KNOWN = (nn.LayerNorm, nn.Linear, LayerScale, OpenClipScale, nn.Identity, nn.Dropout, Affine, RowNorm)


@dataclass(frozen=True, slots=True)
class PulledBack:
    """What parts of tokens add to t numbers per token, with every norm of a chain frozen.

    Attributes:
        directions: (t, w).
        scale: (b, n, 1).
        constant: (b, n, t) what the biases of the chain add.
    """

    directions: Tensor
    scale: Tensor
    constant: Tensor

    def __call__(self, part: Tensor, fold: Tensor | None = None) -> Tensor:
        """(b, n, w) -> (b, n, t), or with weights fold (b, r, n) their sums over tokens (b, r, t), at a lower cost."""
        part = part.to(self.directions)
        if fold is not None:
            return (fold * self.scale.mT) @ part @ self.directions.mT
        return part @ self.directions.mT * self.scale


class Chain:
    """Steps that a token passes one after the other.

    Args:
        *steps: LayerNorms, linear layers, layer scales, identities, dropouts, `Affine` or sequences of these; None is
            left out.

    Raises:
        TypeError: a step that is none of these; the message is its name.
    """

    def __init__(self, *steps: Step | None) -> None:
        flat = [leaf for step in steps for leaf in (step if isinstance(step, nn.Sequential) else [step])]
        self.steps = tuple(step for step in flat if step is not None)
        for step in self.steps:
            if not isinstance(step, _KNOWN):
                raise TypeError(type(step).__name__)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., w) -> (..., d)."""
        for step in self.steps:
            x = step(x)
        return x

    def pull_back(self, x: Tensor, directions: Tensor, scale: Tensor) -> PulledBack:
        """Directions at the end of the chain as directions at its start, for the tokens that pass it.

        Args:
            x: (b, n, w) tokens at the start, whose standard deviations are frozen.
            directions: (t, d) at the end, in the dtype of the result.
            scale: (b, n, 1) factor of each token's numbers at the end.
        """
        deviations = self._deviations(x.to(directions))
        constant = directions.new_zeros(*x.shape[:2], len(directions))
        for step in reversed(self.steps):
            weight, bias = (None if z is None else z.to(directions) for z in _parts(step))
            if bias is not None:
                constant = constant + directions @ bias * scale
            if weight is not None:
                directions = directions * weight if weight.ndim == 1 else directions @ weight
            if _is_norm(step):
                directions = directions - directions.mean(dim=-1, keepdim=True)
                scale = scale / deviations.pop()
        return PulledBack(directions, scale, constant)

    def pull_back_each(self, x: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Every token's own direction at the end of the chain as one at its start, norms frozen.

        Args:
            x: (b, n, w) tokens at the start, whose standard deviations are frozen.
            gradients: (..., b, n, d) at the end, in the dtype of the result.

        Returns:
            (..., b, n, w), whose inner product with a part of x is what that part adds, and (..., b, n): what the
            biases of the chain add.
        """
        deviations = self._deviations(x.to(gradients))
        constant = gradients.new_zeros(gradients.shape[:-1])
        for step in reversed(self.steps):
            weight, bias = (None if z is None else z.to(gradients) for z in _parts(step))
            if bias is not None:
                constant = constant + gradients @ bias
            if weight is not None:
                gradients = gradients * weight if weight.ndim == 1 else gradients @ weight
            if _is_norm(step):
                gradients = (gradients - gradients.mean(dim=-1, keepdim=True)) / deviations.pop()
        return gradients, constant

    def only_norm(self) -> tuple[nn.Module, "Chain"] | None:
        """The LayerNorm that the chain starts with and what follows; None unless it is the chain's only norm."""
        if not self.steps or not _is_norm(self.steps[0]) or sum(map(_is_norm, self.steps)) != 1:
            return None
        return _owner(self.steps[0]), Chain(*self.steps[1:])

    def apply_wide(self, x: Tensor) -> Tensor:
        """The chain in the dtype of x, which may be wider than the model's."""
        for step in self.steps:
            x = _apply(step, x)
        return x

    def _deviations(self, x: Tensor) -> list[Tensor]:
        """Per token standard deviation (b, n, 1) at the entry of every norm."""
        found, norms = [], sum(map(_is_norm, self.steps))
        for step in self.steps:
            if _is_norm(step):
                found.append(torch.native_layer_norm(x, x.shape[-1:], None, None, _owner(step).eps)[2].reciprocal())
            if len(found) == norms:
                break
            x = _apply(step, x)
        return found


def _apply(step: Step, x: Tensor) -> Tensor:
    """A step in the dtype of x, which may be wider than the model's."""
    weight, bias = (None if z is None else z.to(x) for z in _parts(step))
    if _is_norm(step):
        return F.layer_norm(x, x.shape[-1:], weight, bias, _owner(step).eps)
    if weight is None:
        return x
    return F.linear(x, weight, bias) if weight.ndim == 2 else x * weight


def _is_norm(step: Step) -> bool:
    return isinstance(step, nn.LayerNorm | RowNorm)


def _owner(step: Step) -> nn.Module:
    return step.norm if isinstance(step, RowNorm) else step


def _parts(step: Step) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias of a step; a weight of one dimension scales."""
    if isinstance(step, Affine):
        return step.read()
    if isinstance(step, LayerScale | OpenClipScale):
        return step.gamma, None
    if isinstance(step, nn.Identity | nn.Dropout):
        return None, None
    return _owner(step).weight, _owner(step).bias
