"""Every kind of image tower in a tiny configuration, built by open_clip as the real architectures are.

timm's own entry points are called with small sizes and registered under names of ours, so that everything else of an
architecture (norms, rotary positions, activation, pooling, heads) is what timm makes of it.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from timm.layers import HybridEmbed
from timm.models import (
    convnext,
    eva,
    fastvit,
    naflexvit,
    register_model,
    swin_transformer,
    vision_transformer,
    vision_transformer_hybrid,
    vitamin,
)

from surgery import Model, load_model
from tests.tiny import CONFIGS, TEXT, VIT, register, shaken

WIDTH = 32
_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": WIDTH, "depth": 3, "num_heads": 4}
_EVA02 = {**_VIT, "ref_feat_shape": (3, 3)}
_STEM = partial(
    HybridEmbed,
    backbone=vision_transformer_hybrid.ConvStem(
        channels=(8, 8, WIDTH), stride=(2, 2, 2), kernel_size=(2, 2, 2), padding=0, act_layer=torch.nn.GELU
    ),
    proj=False,
)
_VITAMIN = vitamin.VitCfg(
    embed_dim=(8, 16, WIDTH),
    depths=(1, 1, 1),
    stem_width=8,
    conv_cfg=vitamin.VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6),
)


def _conv_vit(**kwargs: Any) -> torch.nn.Module:
    """MobileCLIP-B is 768 wide by its stem; the same with a narrow one."""
    return vision_transformer.VisionTransformer(
        **{**_VIT, "patch_size": 1}, embed_layer=_STEM, no_embed_class=True, **_head(kwargs)
    )


def _head(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: kwargs[name] for name in ("num_classes", "global_pool") if name in kwargs}


def _named(entry: Callable[..., torch.nn.Module], **sizes: Any) -> Callable[..., torch.nn.Module]:
    return lambda **kwargs: entry(**{**sizes, **kwargs})


_SWIN = {"img_size": 64, "embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2}
_NAFLEX = {"patch_size": 8, "embed_dim": WIDTH, "depth": 3, "num_heads": 4, "pos_embed_grid_size": (4, 4)}

TRUNKS: dict[str, tuple[Callable[..., torch.nn.Module], dict[str, Any]]] = {
    "siglip": (
        _named(vision_transformer.vit_base_patch16_siglip_224, **_VIT),
        {"timm_pool": "map", "timm_proj": "none"},
    ),
    "siglip-average": (
        _named(vision_transformer.vit_base_patch16_siglip_gap_224, **_VIT),
        {"timm_pool": "avg", "timm_proj": "linear"},
    ),
    "naflex": (
        _named(naflexvit.naflexvit_base_patch16_siglip, **_NAFLEX),
        {"timm_pool": "map", "timm_proj": "none"},
    ),
    "eva01": (_named(eva.eva_giant_patch14_224, **_VIT, mlp_ratio=3.0), {"timm_pool": "token", "timm_proj": None}),
    "eva02": (_named(eva.eva02_base_patch16_clip_224, **_EVA02), {"timm_pool": "token", "timm_proj": None}),
    "eva02-post-norm": (
        _named(eva.eva02_enormous_patch14_clip_224, **_VIT, mlp_ratio=3.0),
        {"timm_pool": "token", "timm_proj": None},
    ),
    "pe": (_named(eva.vit_pe_core_base_patch16_224, **_EVA02), {"timm_pool": "map", "timm_proj": None}),
    "pe-without-cls": (
        _named(eva.vit_pe_core_gigantic_patch14_448, **_EVA02, mlp_ratio=3.0),
        {"timm_pool": "map", "timm_proj": None},
    ),
    "mobileclip-b": (_conv_vit, {"timm_pool": "token", "timm_proj": None}),
    "vitamin": (
        _named(vitamin.vitamin_small_224, img_size=64, embed_dim=WIDTH, depth=3, num_heads=4, embed_cfg=_VITAMIN),
        {"timm_pool": "", "timm_proj": "linear"},
    ),
    "timm-cls": (
        _named(vision_transformer.vit_large_patch14_clip_224, **_VIT),
        {"timm_pool": "token", "timm_proj": None},
    ),
    "timm-average": (
        _named(vision_transformer.vit_medium_patch16_gap_256, **_VIT),
        {"timm_pool": "", "timm_proj": "linear"},
    ),
    "timm-registers": (
        _named(vision_transformer.vit_small_patch14_reg4_dinov2, **_VIT),
        {"timm_pool": "token", "timm_proj": "linear"},
    ),
    "timm-rope-registers": (
        _named(eva.vit_medium_patch16_rope_reg1_gap_256, **_VIT),
        {"timm_pool": "avg", "timm_proj": "linear"},
    ),
    "timm-mlp-head": (
        _named(vision_transformer.vit_base_patch16_clip_224, **_VIT),
        {"timm_pool": "token", "timm_proj": "mlp"},
    ),
    "convnext": (
        _named(convnext.convnext_base, depths=(1, 1, 1, 1), dims=(8, 8, 16, 32)),
        {"timm_pool": "", "timm_proj": "linear"},
    ),
    "convnext-mlp-head": (
        _named(convnext.convnext_large, depths=(1, 1, 1, 1), dims=(8, 8, 16, 32)),
        {"timm_pool": "", "timm_proj": "mlp"},
    ),
    "mobileclip-s": (
        _named(fastvit.fastvit_mci0, layers=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32)),
        {"timm_pool": "avg", "timm_proj": None},
    ),
    "swin": (_named(swin_transformer.swin_base_patch4_window7_224, **_SWIN), {"timm_pool": "", "timm_proj": "linear"}),
}
"""timm's trunks by the name of their kind, and how open_clip pools and projects them."""

OWN: dict[str, dict[str, Any]] = {
    "vit": {},
    "vit-scaled": {"ls_init_value": 0.3, "qk_norm": True},
    "vit-sub-norms": {"scale_attn_inner": True, "scale_attn": True, "scale_fc": True},
    "vit-average": {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
    "coca": {"attentional_pool": True, "output_tokens": True, "attn_pooler_queries": 3, "attn_pooler_heads": 4},
    "rn": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
}
"""Kinds of towers that open_clip writes itself, by what sets them apart from its plain ViT."""

TOWERS = (*OWN, *TRUNKS)
LAST_LAYER = ("convnext", "convnext-mlp-head", "mobileclip-s", "swin")
WITH_BLOCKS = tuple(name for name in TOWERS if name not in LAST_LAYER)
FIXED_SIZE = ("swin",)


def configuration(name: str) -> dict[str, Any]:
    """open_clip's configuration of a kind of tower; its trunk is known to timm by then."""
    width = 32 if name == "rn" else 24
    if name in OWN:
        vision = {**VIT, "image_size": 32, "layers": 3, **OWN[name]}
    else:
        entry, pooling = TRUNKS[name]
        trunk = f"tiny_{name.replace('-', '_')}"
        entry.__name__, entry.__module__ = trunk, __name__
        register_model(entry)
        size = 64 if name in (*LAST_LAYER, "vitamin") else 32
        vision = {"timm_model_name": trunk, "timm_model_pretrained": False, "image_size": size, **pooling}
        width = WIDTH if pooling["timm_proj"] == "none" else width
    found = {"embed_dim": width, "vision_cfg": vision, "text_cfg": TEXT}
    if name == "coca":
        found |= {"multimodal_cfg": {**TEXT, "attn_pooler_heads": 4}, "custom_text": True}
    return found


@cache
def tower_model(name: str) -> Model:
    """A model with one of `TOWERS`, in float64, filled with random numbers large enough that no part is negligible."""
    architecture = f"tower-{name}"
    CONFIGS[architecture] = configuration(name)
    register(architecture)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = shaken(load_model(architecture, "random", device="cpu").clip)
    return Model(architecture, None, clip.double(), torch.device("cpu"))
