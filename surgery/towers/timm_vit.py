"""timm's ViTs behind open_clip's adapter: VisionTransformer (SigLIP, ViTamin, MobileCLIP), Eva (EVA, PE), NaFlexVit."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from timm.layers import AttentionPoolLatent, HybridEmbed, Mlp, PatchEmbed
from timm.models.eva import Eva
from timm.models.naflexvit import NaFlexVit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from surgery.blocks import timm_block, unsupported
from surgery.chain import Affine, Chain
from surgery.towers.base import Reading, Tower
from surgery.towers.positions import interpolate_positions, rotations

TRUNKS = (VisionTransformer, Eva, NaFlexVit)
POOLINGS = {"token": "token", "avg": "patches", "avgmax": "patches", "max": "patches", "map": "attention"}


class Embedding(ABC):
    """From pixels to the tokens that enter the first block.

    Attributes:
        has_cls, registers, patch_px, native_grid: see `surgery.towers.Tower`.
    """

    has_cls: bool
    registers: int
    patch_px: tuple[int, int]
    native_grid: tuple[int, int]

    @abstractmethod
    def __call__(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        """See `Tower.embed`."""


class FixedEmbedding(Embedding):
    """Patches or a convolutional stem, CLS and registers, and learned positions for one grid or none (rotary only)."""

    def __init__(self, trunk: VisionTransformer | Eva) -> None:
        patches = trunk.patch_embed
        if not isinstance(patches, PatchEmbed | HybridEmbed):
            raise unsupported(f"a patch embedding of type {type(patches).__name__}")
        self.trunk = trunk
        self.has_cls = trunk.cls_token is not None
        self.registers = trunk.num_prefix_tokens - self.has_cls
        self.patch_px = tuple(patches.feat_ratio(as_scalar=False))
        self.native_grid = tuple(patches.grid_size)

    def __call__(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        t = self.trunk
        x = self._patches(pixels)  # (b, gh * gw, w)
        first = [token.expand(len(x), -1, -1) for token in (t.cls_token, t.reg_token) if token is not None]
        x = torch.cat([*first, x], dim=1)
        if t.pos_embed is not None:
            own, positions = (0 if t.no_embed_class else t.num_prefix_tokens), t.pos_embed[0]
            patch_positions = interpolate_positions(positions[own:], self.native_grid, grid, position_interpolation)
            none = (0, 0, t.num_prefix_tokens - own, 0)  # CLS and registers without a position
            x = x + F.pad(torch.cat([positions[:own], patch_positions]), none)
        return t.norm_pre(x)

    def _patches(self, pixels: Tensor) -> Tensor:
        embed = self.trunk.patch_embed
        if isinstance(embed, HybridEmbed):
            x = embed.backbone(pixels)
            return embed.proj(x[-1] if isinstance(x, list | tuple) else x).flatten(2).mT
        return embed.norm(embed.proj(pixels).flatten(2).mT)


class NaflexEmbedding(Embedding):
    """NaFlexVit's, which brings its positions to every grid by itself, whatever the method's interpolation."""

    def __init__(self, trunk: NaFlexVit) -> None:
        embeds = trunk.embeds
        if embeds.pos_embed is None:
            raise unsupported("a NaFlexVit without learned positions on a grid")
        self.trunk = trunk
        self.has_cls = embeds.cls_token is not None
        self.registers = trunk.num_prefix_tokens - self.has_cls
        self.patch_px = tuple(embeds.patch_size)
        self.native_grid = tuple(embeds.pos_embed.shape[1:3])

    def __call__(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        return self.trunk.norm_pre(self.trunk.embeds(pixels)[0])


class TimmTower(Tower):
    """A ViT of timm that pools its first token or its patches."""

    def __init__(self, visual: TimmModel) -> None:
        trunk = visual.trunk
        self.visual, self.trunk = visual, trunk
        self.family = _family(trunk)
        if trunk.global_pool not in POOLINGS:
            raise unsupported(f"a ViT of timm that pools by {trunk.global_pool or 'nothing'!r}")
        self.pooling = POOLINGS[trunk.global_pool]
        self._embedding = (NaflexEmbedding if isinstance(trunk, NaFlexVit) else FixedEmbedding)(trunk)
        for name in ("has_cls", "registers", "patch_px", "native_grid"):
            setattr(self, name, getattr(self._embedding, name))
        rotation = rotations(trunk)
        self.blocks = tuple(timm_block(block, rotation(index)) for index, block in enumerate(trunk.blocks))
        self._make_chain()

    def _make_chain(self) -> None:
        t = self.trunk
        self.chain, self.is_affine = head_chain(self.visual.head, t.norm, t.fc_norm, t.head)

    def embed(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        return self._embedding(pixels, grid, position_interpolation)

    def readout(self, x: Tensor) -> Tensor:
        t = self.trunk
        return self.visual.head(t.head(t.fc_norm(t.norm(x))))

    def pool(self, x: Tensor) -> Tensor:
        return self.visual.head(self.trunk.forward_head(self.trunk.norm(x)))


class MapTower(TimmTower):
    """A ViT of timm whose tokens are gathered by a learned query (MAP head): SigLIP, PE-Core.

    The read-out of a token is what the head makes of it when nothing else can be attended to: value projection, output
    projection, the head's MLP, and the projection behind it.
    """

    def _make_chain(self) -> None:
        t, pool = self.trunk, self.trunk.attn_pool
        if not isinstance(pool, AttentionPoolLatent) or pool.pos_embed is not None:
            raise unsupported(f"a ViT of timm with an attention pool of type {type(pool).__name__} or with positions")
        if not isinstance(t.fc_norm, nn.Identity):
            raise unsupported("a ViT of timm with a norm behind its attention pool")
        self.map_head = pool
        self._attended = make_chain(t.norm, Affine(self._value), pool.proj)
        self.chain, affine = head_chain(self.visual.head, *self._attended.steps, t.head)
        self.is_affine = affine and pool.mlp is None

    def _value(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the head's value projection, the second half of its key-value map."""
        kv = self.map_head.kv
        return kv.weight.chunk(2)[1], None if kv.bias is None else kv.bias.chunk(2)[1]

    def readout(self, x: Tensor) -> Tensor:
        return self._finish(self._attended(x))

    def _finish(self, features: Tensor) -> Tensor:
        """From the output projection of the attention pool to the feature."""
        pool = self.map_head
        if pool.mlp is not None:
            features = features + pool.mlp(pool.norm(features))
        return self.visual.head(self.trunk.head(features))

    def reading(self, x: Tensor) -> Reading:
        pool = self.map_head
        if pool.latent_len != 1:
            raise ValueError(f"Expected an attention pool with one query, but got {pool.latent_len}")
        seen = self.prefix if getattr(self.trunk, "pool_include_prefix", True) else 0  # Eva's sees every token
        shape = (pool.num_heads, pool.head_dim)
        q = pool.q_norm(pool.q(pool.latent)[:, 0].unflatten(-1, shape).unsqueeze(2))[:, :, 0]  # (1, heads, d)
        k, v = pool.kv(self.trunk.norm(x[:, self.prefix - seen :])).chunk(2, dim=-1)
        k, v = (z.unflatten(-1, shape).transpose(1, 2) for z in (k, v))  # (b, heads, n, d)
        finish = lambda out: self._finish(pool.proj(out.flatten(1)))  # noqa: E731
        return Reading(q.expand(len(x), -1, -1), pool.k_norm(k), v, pool.scale, finish, None, seen)


def _family(trunk: nn.Module) -> str:
    if isinstance(trunk, NaFlexVit):
        return "naflex"
    if isinstance(trunk, Eva):
        return "pe" if trunk.global_pool == "map" else "eva"
    if isinstance(trunk.patch_embed, HybridEmbed):
        return "hybrid"
    return "map" if trunk.global_pool == "map" else "timm"


def head_chain(head: nn.Sequential, *steps: object) -> tuple[Chain, bool]:
    """The affine part of steps and open_clip's projection head, and whether that is all of it.

    Of an MLP, whose activation (GELU, SiLU, ReLU) is half its input plus an even function, the half is affine.
    """
    layers = list(head)
    if not (layers and isinstance(layers[-1], Mlp)):
        return make_chain(*steps, head), True
    mlp = layers[-1]
    halved = Affine(lambda: (mlp.fc1.weight.new_full((mlp.fc1.out_features,), 0.5), None))
    return make_chain(*steps, *layers[:-1], mlp.fc1, halved, mlp.norm, mlp.fc2), False


def make_chain(*steps: object) -> Chain:
    """`Chain`, with the error of a tower that cannot be operated on."""
    try:
        return Chain(*steps)
    except TypeError as error:
        raise unsupported(f"a {error} between its tokens and its feature") from error
