"""What a block is: one view on the image towers of open_clip that can be operated on.

    VitTower     open_clip's own VisionTransformer with a CLS token
    ResnetTower  ModifiedResNet: the attention pool is the only block
    MapTower     timm's VisionTransformer with an attention-pooling head and no CLS token (SigLIP, SigLIP 2)

Every tower is a list of `Block`s between `embed` and `readout`. Nothing of the model is changed or copied: the towers
hold references to its modules and call them. Knowledge of open_clip's and timm's attributes stays here and in `blocks`.
"""

from abc import ABC, abstractmethod

import open_clip.transformer as oct
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from timm.layers import AttentionPoolLatent
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from surgery.blocks import Block, open_clip_block, timm_block, unsupported, unwrap
from surgery.methods import POSITION_INTERPOLATIONS


class Tower(ABC):
    """An image tower: `embed`, then blocks, then `readout` per token or `pool` for the whole image.

    Attributes:
        blocks: the residual blocks in order.
        prefix: tokens before the patches, 1 with a CLS token (or ResNet's mean token), else 0.
        patch_px: side of a patch in pixels, (height, width).
        native_grid: rows and columns of the position embedding.
        norm: the LayerNorm of the read-out, None for a ResNet.
        kinds: the attention kinds that have a meaning here, None when all have.
        has_residual: whether a block adds to its input.
    """

    blocks: tuple[Block, ...]
    prefix: int = 1
    patch_px: tuple[int, int]
    native_grid: tuple[int, int]
    norm: nn.LayerNorm | None = None
    kinds: tuple[str, ...] | None = None
    has_residual: bool = True

    @abstractmethod
    def embed(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        """The tokens x_0 (b, prefix + gh * gw, w) that enter the first block."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The linear part of the read-out, (..., w) -> (..., d)."""

    @abstractmethod
    def pull_back(self, directions: Tensor) -> Tensor:
        """The transposed linear part without bias: (t, d) in feature space -> (t, w) in token space, same dtype."""

    @abstractmethod
    def pool(self, x: Tensor) -> Tensor:
        """The model's own image feature (b, d), not normalised, from the last tokens x_L."""

    def head_mlp(self, features: Tensor) -> Tensor | None:
        """What a non-linear head adds to the projected features (..., d); None where the read-out is linear."""
        return None

    def readout(self, x: Tensor) -> Tensor:
        """Per-token features R(x): (b, n, w) -> (b, n, d), not normalised."""
        features = self.project(x if self.norm is None else self.norm(x))
        head = self.head_mlp(features)
        return features if head is None else features + head

    def grid_of(self, pixels: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of an image batch (b, 3, H, W).

        Raises:
            ValueError: not a batch of RGB images, or a side is not a positive multiple of the patch.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"Expected pixels to be of shape (b, 3, H, W), but got {tuple(pixels.shape)}")
        return self.grid_for(tuple(pixels.shape[-2:]))

    def grid_for(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches of an image of (height, width) pixels; raises ValueError as `grid_of`."""
        if any(side < patch or side % patch for side, patch in zip(size_px, self.patch_px, strict=True)):
            patch = " x ".join(map(str, self.patch_px))
            raise ValueError(f"Expected size to be a multiple of the patch ({patch} pixels), but got {tuple(size_px)}")
        return size_px[0] // self.patch_px[0], size_px[1] // self.patch_px[1]


class VitTower(Tower):
    """open_clip's VisionTransformer with a CLS token."""

    def __init__(self, visual: oct.VisionTransformer) -> None:
        if visual.attn_pool is not None:
            raise unsupported("an attentional pool (CoCa)")
        self.visual = visual
        self.blocks = tuple(open_clip_block(block) for block in visual.transformer.resblocks)
        self.patch_px = tuple(visual.patch_size)
        self.native_grid = tuple(visual.grid_size)
        self.norm = visual.ln_post

    def embed(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        v = self.visual
        x = v.conv1(pixels).flatten(2).mT  # (b, gh * gw, w)
        cls_token = v.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        positions = v.positional_embedding.to(x.dtype)
        patch_positions = interpolate_positions(positions[1:], self.native_grid, grid, position_interpolation)
        return v.ln_pre(torch.cat([cls_token + positions[:1], x + patch_positions], dim=1))

    def project(self, x: Tensor) -> Tensor:
        return x if self.visual.proj is None else x @ self.visual.proj

    def pull_back(self, directions: Tensor) -> Tensor:
        return directions if self.visual.proj is None else directions @ self.visual.proj.mT.to(directions)

    def pool(self, x: Tensor) -> Tensor:
        return self.project(self.visual._pool(x)[0])


class ResnetTower(Tower):
    """ModifiedResNet: convolutions embed, the attention pool is the only block, and its output is the feature."""

    kinds = ("qk", "vv", "identity")
    has_residual = False

    def __init__(self, visual: ModifiedResNet) -> None:
        self.visual = visual
        pool = visual.attnpool
        self.blocks = (
            Block(
                heads=pool.num_heads,
                ln_1=None,
                in_proj=lambda y: (pool.q_proj(y), pool.k_proj(y), pool.v_proj(y)),
                q_norm=nn.Identity(),
                k_norm=nn.Identity(),
                out_proj=pool.c_proj,
                ls_1=nn.Identity(),
                ln_2=None,
                mlp=None,
                ls_2=nn.Identity(),
            ),
        )
        self.patch_px = (32, 32)
        side = round((len(pool.positional_embedding) - 1) ** 0.5)
        self.native_grid = (side, side)

    def embed(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        return self.tokens(self.convolve(pixels), grid, position_interpolation)

    def convolve(self, pixels: Tensor) -> Tensor:
        """The last feature map (b, w, gh, gw)."""
        v = self.visual
        return v.layer4(v.layer3(v.layer2(v.layer1(v.stem(pixels)))))

    def tokens(self, maps: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        """Mean token and patches (b, 1 + gh * gw, w) from the last feature map."""
        x = maps.flatten(2).mT  # (b, gh * gw, w)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        positions = self.visual.attnpool.positional_embedding.to(x.dtype)
        patch_positions = interpolate_positions(positions[1:], self.native_grid, grid, position_interpolation)
        return x + torch.cat([positions[:1], patch_positions])

    def project(self, x: Tensor) -> Tensor:
        return x

    def pull_back(self, directions: Tensor) -> Tensor:
        return directions

    def pool(self, x: Tensor) -> Tensor:
        return x[:, 0]


class MapTower(Tower):
    """timm's VisionTransformer without CLS token, pooled by a learned query (MAP head).

    The read-out of a token is what the head makes of it when nothing else can be attended to: value projection, output
    projection and the head's MLP.
    """

    prefix = 0

    def __init__(self, visual: TimmModel) -> None:
        trunk = visual.trunk
        pool = getattr(trunk, "attn_pool", None)
        plain = type(trunk) is VisionTransformer and isinstance(pool, AttentionPoolLatent)
        if not plain or trunk.num_prefix_tokens or pool.latent_len != 1 or pool.pos_embed is not None:
            raise unsupported(f"a timm trunk of type {type(trunk).__name__} without a MAP head or with prefix tokens")
        if not all(isinstance(m, nn.Identity | nn.Dropout) for m in (trunk.fc_norm, trunk.head, *visual.head)):
            raise unsupported("a projection after the MAP head")
        self.trunk = trunk
        self.map_head = pool
        self.blocks = tuple(timm_block(block) for block in trunk.blocks)
        self.patch_px = tuple(trunk.patch_embed.patch_size)
        self.native_grid = tuple(trunk.patch_embed.grid_size)
        self.norm = trunk.norm

    def embed(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        t = self.trunk
        x = t.patch_embed.norm(t.patch_embed.proj(pixels).flatten(2).mT)  # (b, gh * gw, w)
        return t.norm_pre(x + interpolate_positions(t.pos_embed[0], self.native_grid, grid, position_interpolation))

    def _value(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the head's value projection, the second half of its key-value map."""
        kv = self.map_head.kv
        return kv.weight.chunk(2)[1], None if kv.bias is None else kv.bias.chunk(2)[1]

    def project(self, x: Tensor) -> Tensor:
        return self.map_head.proj(F.linear(x, *self._value()))

    def pull_back(self, directions: Tensor) -> Tensor:
        return directions @ self.map_head.proj.weight.to(directions) @ self._value()[0].to(directions)

    def head_mlp(self, features: Tensor) -> Tensor | None:
        head = self.map_head
        return None if head.mlp is None else head.mlp(head.norm(features))

    def pool(self, x: Tensor) -> Tensor:
        return self.map_head(self.norm(x))


def build_tower(visual: nn.Module) -> Tower:
    """The tower that operates on an open_clip image encoder (`clip.visual`).

    Raises:
        ValueError: the encoder cannot be operated on; the message says why and what is supported.
    """
    visual = unwrap(visual)
    if isinstance(visual, oct.VisionTransformer):
        return VitTower(visual)
    if isinstance(visual, ModifiedResNet):
        return ResnetTower(visual)
    if isinstance(visual, TimmModel):
        return MapTower(visual)
    raise unsupported(f"an image tower of type {type(visual).__name__}")


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


def check_kind(tower: Tower, kind: str) -> None:
    """Refuses an attention kind that has no meaning for the tower.

    Raises:
        ValueError: naming the kinds that have.
    """
    if tower.kinds is not None and kind not in tower.kinds:
        raise ValueError(
            f"Expected attention to be one of {', '.join(tower.kinds)} for the attention pool of a ResNet, "
            f"but got {kind!r}"
        )
