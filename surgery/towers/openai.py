"""The image towers that open_clip writes itself: VisionTransformer, CoCa's with its pooler, and ModifiedResNet."""

import open_clip.transformer as oct
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from surgery.blocks import Block, open_clip_block, unsupported
from surgery.chain import Affine, Chain
from surgery.towers.base import Reading, Tower
from surgery.towers.positions import interpolate_positions


class VitTower(Tower):
    """open_clip's VisionTransformer with a CLS token."""

    family = "vit"

    def __init__(self, visual: oct.VisionTransformer) -> None:
        if visual.pool_type == "none":
            raise unsupported("a ViT without pooling, or with two attentional poolers")
        self.visual = visual
        self.blocks = tuple(open_clip_block(block) for block in visual.transformer.resblocks)
        self.patch_px = tuple(visual.patch_size)
        self.native_grid = tuple(visual.grid_size)
        self.chain = Chain(visual.ln_post, self._projection())
        self.pooling = "token" if visual.pool_type == "tok" else "patches"

    def _projection(self) -> Affine | None:
        return None if self.visual.proj is None else Affine(lambda: (self.visual.proj.mT, None))

    def embed(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        v = self.visual
        x = v.conv1(pixels).flatten(2).mT  # (b, gh * gw, w)
        cls_token = v.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        positions = v.positional_embedding.to(x.dtype)
        patch_positions = interpolate_positions(positions[1:], self.native_grid, grid, position_interpolation)
        return v.ln_pre(torch.cat([cls_token + positions[:1], x + patch_positions], dim=1))

    def pool(self, x: Tensor) -> Tensor:
        pooled = self.visual._pool(x)[0]
        return pooled if self.visual.proj is None else pooled @ self.visual.proj


class CocaTower(VitTower):
    """VisionTransformer whose tokens, CLS among them, are gathered by the learned queries of CoCa's pooler.

    The read-out of a token is what the pooler makes of it when nothing else can be attended to: every query then gives
    its value, so that their number does not matter.
    """

    family = "coca"

    def __init__(self, visual: oct.VisionTransformer) -> None:
        super().__init__(visual)
        pooler = visual.attn_pool
        value = Affine(lambda: self._projections()[2])
        self._behind = Chain(pooler.attn.out_proj, visual.ln_post, self._projection())
        self.chain = Chain(pooler.ln_k, value, *self._behind.steps)
        self.pooling = "attention"

    def _projections(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of q, k and v."""
        attn = self.visual.attn_pool.attn
        joint, biases = attn.in_proj_weight, attn.in_proj_bias.chunk(3)
        apart = (attn.q_proj_weight, attn.k_proj_weight, attn.v_proj_weight)
        return list(zip(apart if joint is None else joint.chunk(3), biases, strict=True))

    def reading(self, x: Tensor) -> Reading:
        pooler, heads = self.visual.attn_pool, self.visual.attn_pool.attn.num_heads
        if self.visual.pool_type != "tok":
            raise ValueError("Expected a pooler whose first query stands for the image, but got a mean over queries")
        y = pooler.ln_k(x)
        query = pooler.ln_q(pooler.query[None, :1]).expand(len(x), -1, -1)
        q, k, v = (
            F.linear(z, *parts).unflatten(-1, (heads, -1)).transpose(1, 2)
            for z, parts in zip((query, y, y), self._projections(), strict=True)
        )
        finish = lambda out: self._behind(out.flatten(1))  # noqa: E731
        return Reading(q[:, :, 0], k, v, v.shape[-1] ** -0.5, finish, None, self.prefix)


class ResnetTower(Tower):
    """ModifiedResNet: convolutions embed, the attention pool is the only block, and its output is the feature."""

    family = "resnet"
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
                out=Chain(pool.c_proj),
                ln_2=None,
                mlp=None,
                ls_2=nn.Identity(),
            ),
        )
        self.patch_px = (32, 32)
        side = round((len(pool.positional_embedding) - 1) ** 0.5)
        self.native_grid = (side, side)
        self.chain = Chain()

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

    def pool(self, x: Tensor) -> Tensor:
        return x[:, 0]
