"""What a tower is: tokens in, blocks, a read-out per token and the model's own pooling."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surgery.blocks import Block
from surgery.chain import Chain
from surgery.mixtures import parse_mixture


@dataclass(frozen=True, slots=True)
class Reading:
    """The attention by which the token that stands for the whole gathers the others: nothing after it mixes tokens.

    Attributes:
        q: (b, heads, d) of that token.
        k, v: (b, heads, n, d) of the tokens that it sees.
        scale: factor of the scores.
        finish: (b, heads, d) attention output -> (b, D) the model's own feature, not normalised.
        own: index of the token itself among the n; None where it is no token (a learned query).
        prefix: tokens before the patches among the n.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    scale: float
    finish: Callable[[Tensor], Tensor]
    own: int | None
    prefix: int

    def pattern(self) -> Tensor:
        """(b, heads, n) weights, rows summing to 1."""
        return (torch.einsum("bhd,bhnd->bhn", self.q, self.k) * self.scale).softmax(dim=-1)

    def one_head(self) -> "Reading":
        """The same with all heads as one of the whole width; its feature is then not the model's own."""
        q = self.q.flatten(1)[:, None]
        k, v = (z.transpose(1, 2).flatten(2)[:, None] for z in (self.k, self.v))
        return replace(self, q=q, k=k, v=v, scale=q.shape[-1] ** -0.5)


class Tower(ABC):
    """An image tower: `embed`, then blocks, then `readout` per token or `pool` for the whole image.

    Attributes:
        family: short name of the kind of tower, one of `surgery.towers.FAMILIES`.
        blocks: the residual blocks in order; none in a tower that offers its last layer only.
        has_cls: whether the first token stands for the image: CLS, or the mean token of a ResNet.
        registers: further tokens between CLS and the patches, which stand for nothing.
        patch_px: side of a patch in pixels, (height, width).
        native_grid: rows and columns of patches at the size that the model was made for.
        any_size: whether images of another size than the native one can be taken in.
        chain: the affine part of the read-out, norms frozen: from a token to its feature.
        is_affine: whether `chain` is the whole read-out; a head with an MLP adds to it.
        pooling: how the image feature gathers the tokens: "token" (from the first one), "attention" (a learned query)
            or "patches" (their mean or maximum).
        kinds: the attention kinds that have a meaning here, None when all have.
        has_residual: whether a block adds to its input.
    """

    family: str
    blocks: tuple[Block, ...]
    has_cls: bool = True
    registers: int = 0
    patch_px: tuple[int, int]
    native_grid: tuple[int, int]
    any_size: bool = True
    chain: Chain
    is_affine: bool = True
    pooling: str = "token"
    kinds: tuple[str, ...] | None = None
    has_residual: bool = True

    @property
    def prefix(self) -> int:
        """Tokens before the patches: CLS, if there is one, and registers."""
        return int(self.has_cls) + self.registers

    @abstractmethod
    def embed(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        """The tokens x_0 (b, prefix + gh * gw, w) that enter the first block."""

    @abstractmethod
    def pool(self, x: Tensor) -> Tensor:
        """The model's own image feature (b, d), not normalised, from the last tokens x_L."""

    def reading(self, x: Tensor) -> Reading:
        """How the attention pool of a tower whose `pooling` is "attention" reads the last tokens x (b, tokens, w).

        Raises:
            ValueError: the tower gathers its tokens in another way, or by more than one query.
        """
        raise ValueError(f"Expected a tower with an attention pool, but got one that pools by {self.pooling!r}")

    def readout(self, x: Tensor) -> Tensor:
        """Per-token features R(x): (b, n, w) -> (b, n, d), not normalised: what the model makes of a token alone."""
        return self.chain(x)

    def grid_of(self, pixels: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of an image batch (b, 3, H, W).

        Raises:
            ValueError: not a batch of RGB images, or a size that the tower does not take, see `grid_for`.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"Expected pixels to be of shape (b, 3, H, W), but got {tuple(pixels.shape)}")
        return self.grid_for(tuple(pixels.shape[-2:]))

    def grid_for(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches of an image of (height, width) pixels.

        Raises:
            ValueError: a side is not a positive multiple of the patch, or the tower takes its native size only.
        """
        if any(side < patch or side % patch for side, patch in zip(size_px, self.patch_px, strict=True)):
            patch = " x ".join(map(str, self.patch_px))
            raise ValueError(f"Expected size to be a multiple of the patch ({patch} pixels), but got {tuple(size_px)}")
        grid = size_px[0] // self.patch_px[0], size_px[1] // self.patch_px[1]
        if not self.any_size and grid != self.native_grid:
            native = tuple(g * p for g, p in zip(self.native_grid, self.patch_px, strict=True))
            raise ValueError(f"Expected size to be {native}, the only one of this tower, but got {tuple(size_px)}")
        return grid


def check_kind(tower: Tower, kind: str) -> None:
    """Refuses an attention kind that has no meaning for the tower.

    Raises:
        ValueError: naming the kinds that have.
    """
    if tower.kinds is not None and any(part.kind not in tower.kinds or part.blocks for part in parse_mixture(kind)):
        raise ValueError(
            f"Expected attention to be one of {', '.join(tower.kinds)} for the attention pool of a ResNet, "
            f"but got {kind!r}"
        )
