"""Where a token sits: position embeddings at another grid, and rotary positions."""

import copy
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from timm.layers import RotaryEmbeddingCat, apply_rot_embed_cat
from torch import Tensor, nn

from surgery.blocks import Rotate
from surgery.methods import POSITION_INTERPOLATIONS

GRIDS_KEPT = 8
"""Grids whose rotary angles are kept at a time."""


def interpolate_positions(positions: Tensor, native: tuple[int, int], grid: tuple[int, int], mode: str) -> Tensor:
    """Brings the patch part of a position embedding to another grid, the way the chosen publication does.

    Args:
        positions: (native rows * columns, w).
        native: rows and columns it was trained for.
        grid: rows and columns wanted.
        mode: "bicubic" (CLIP, DINO's scale factor with its offset of 0.1), "bilinear" (CLIP Surgery),
            "bicubic_antialias" (GEM, LeGrad) or "bicubic_size" (Grad-ECLIP).

    Returns:
        (rows * columns, w); the input itself at the native grid.

    Raises:
        ValueError: unknown mode.
    """
    if mode not in POSITION_INTERPOLATIONS:
        choices = ", ".join(POSITION_INTERPOLATIONS)
        raise ValueError(f"Expected position_interpolation to be one of {choices}, but got {mode!r}")
    if tuple(grid) == tuple(native):
        return positions
    image = positions.T.unflatten(1, native)[None]  # (1, w, rows, columns)
    if mode == "bilinear":
        image = F.interpolate(image, size=grid, mode="bilinear")
    elif mode == "bicubic_antialias":
        image = F.interpolate(image, size=grid, mode="bicubic", antialias=True)
    elif mode == "bicubic_size":
        image = F.interpolate(image, size=grid, mode="bicubic")
    else:
        scale = tuple((side + 0.1) / own for side, own in zip(grid, native, strict=True))
        image = F.interpolate(image, scale_factor=scale, mode="bicubic")
    return image[0].flatten(1).T  # (rows * columns, w)


def rotations(trunk: nn.Module) -> Callable[[int], Rotate | None]:
    """The rotary positions of a timm trunk, by the index of the block.

    The angles of another grid are those that timm gives the trunk at that size; no `position_interpolation` has a part
    in them. CLS and registers are not turned.
    """
    rope = getattr(trunk, "rope", None)
    if rope is None:
        return lambda index: None

    @lru_cache(maxsize=GRIDS_KEPT)
    @torch.inference_mode(False)
    @torch.no_grad()
    def resized(grid: tuple[int, int]) -> nn.Module:
        """A copy of a module that keeps its angles for one size, at another; the model's own is left alone."""
        other = copy.deepcopy(rope)
        other.update_feat_shape(list(grid))
        return other

    def angles(grid: tuple[int, int], index: int) -> Tensor:
        native = getattr(rope, "feat_shape", None)
        if native is None:
            found = rope.get_embed(shape=grid)
        elif tuple(native) == tuple(grid):
            found = rope.get_embed()
        elif isinstance(rope, RotaryEmbeddingCat):
            found = resized(tuple(grid)).get_embed()
        else:
            found = rope.get_embed(shape=grid)
        return found[index] if found.ndim == 4 else found  # (n, 2 d), or (heads, n, 2 d) of this block

    def of_block(index: int) -> Rotate:
        attn = trunk.blocks[index].attn

        def rotate(z: Tensor, grid: tuple[int, int]) -> Tensor:
            prefix, patches = z.split([attn.num_prefix_tokens, grid[0] * grid[1]], dim=2)
            turned = apply_rot_embed_cat(patches, angles(grid, index), half=getattr(attn, "rotate_half", False))
            return torch.cat([prefix, turned], dim=2).type_as(z)

        return rotate

    return of_block
