"""What a configuration of open_clip says without building anything: kind of tower, patch, number of parameters.

What timm's trunks are is written in timm's functions, not in open_clip's configurations; so those that open_clip names
stand here in a table, which the tests hold against trunks that are built. Any other one is built without memory.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from open_clip.model import _build_vision_tower

from surgery.towers import build_tower

RESNET_PATCH_PX = 32

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trunk of timm as open_clip's configurations use it.

    Attributes:
        family: see `surgery.towers.FAMILIES`.
        patch_px: side of a patch in pixels.
        width: of its pooled feature.
        parameters: without the projection to the space of the texts.
    """

    family: str
    patch_px: int
    width: int
    parameters: int


TRUNKS: dict[str, Trunk] = {
    "convnext_base": Trunk("last layer", 32, 1024, 87_566_464),
    "convnext_large": Trunk("last layer", 32, 1536, 196_230_336),
    "convnext_small": Trunk("last layer", 32, 768, 49_454_688),
    "convnext_tiny": Trunk("last layer", 32, 768, 27_820_128),
    "convnext_xlarge": Trunk("last layer", 32, 2048, 348_147_968),
    "convnext_xxlarge": Trunk("last layer", 32, 3072, 843_398_016),
    "eva02_base_patch16_clip_224": Trunk("eva", 16, 768, 85_869_312),
    "eva02_enormous_patch14_clip_224": Trunk("eva", 14, 1792, 4_348_720_896),
    "eva02_large_patch14_clip_224": Trunk("eva", 14, 1024, 303_317_952),
    "eva02_large_patch14_clip_336": Trunk("eva", 14, 1024, 303_645_632),
    "eva_giant_patch14_224": Trunk("eva", 14, 1408, 1_011_146_112),
    "fastvit_mci0": Trunk("last layer", 32, 1024, 10_882_176),
    "fastvit_mci1": Trunk("last layer", 32, 1024, 21_016_832),
    "fastvit_mci2": Trunk("last layer", 32, 1280, 35_159_360),
    "fastvit_mci3": Trunk("last layer", 64, 3072, 122_875_584),
    "fastvit_mci4": Trunk("last layer", 64, 4096, 318_638_336),
    "swin_base_patch4_window7_224": Trunk("last layer", 32, 1024, 86_743_224),
    "vit_base_mci_224": Trunk("hybrid", 16, 768, 85_955_328),
    "vit_base_patch16_siglip_224": Trunk("map", 16, 768, 92_884_224),
    "vit_base_patch16_siglip_256": Trunk("map", 16, 768, 92_930_304),
    "vit_base_patch16_siglip_384": Trunk("map", 16, 768, 93_176_064),
    "vit_base_patch16_siglip_512": Trunk("map", 16, 768, 93_520_128),
    "vit_base_patch32_siglip_256": Trunk("map", 32, 768, 94_552_320),
    "vit_giantopt_patch16_siglip_256": Trunk("map", 16, 1536, 1_163_168_256),
    "vit_giantopt_patch16_siglip_384": Trunk("map", 16, 1536, 1_163_659_776),
    "vit_large_patch14_clip_224": Trunk("timm", 14, 1024, 303_179_776),
    "vit_large_patch16_siglip_256": Trunk("map", 16, 1024, 315_956_224),
    "vit_large_patch16_siglip_384": Trunk("map", 16, 1024, 316_283_904),
    "vit_large_patch16_siglip_512": Trunk("map", 16, 1024, 316_742_656),
    "vit_medium_patch16_gap_256": Trunk("timm", 16, 512, 38_348_288),
    "vit_pe_core_base_patch16_224": Trunk("pe", 16, 768, 92_886_528),
    "vit_pe_core_gigantic_patch14_448": Trunk("pe", 14, 1536, 1_880_066_560),
    "vit_pe_core_large_patch14_336": Trunk("pe", 14, 1024, 316_102_656),
    "vit_pe_core_small_patch16_384": Trunk("pe", 16, 384, 23_586_048),
    "vit_pe_core_tiny_patch16_384": Trunk("pe", 16, 192, 6_042_240),
    "vit_so400m_patch14_siglip_224": Trunk("map", 14, 1152, 427_680_704),
    "vit_so400m_patch14_siglip_378": Trunk("map", 14, 1152, 428_225_600),
    "vit_so400m_patch14_siglip_384": Trunk("map", 14, 1152, 428_225_600),
    "vit_so400m_patch16_siglip_256": Trunk("map", 16, 1152, 427_888_064),
    "vit_so400m_patch16_siglip_384": Trunk("map", 16, 1152, 428_256_704),
    "vit_so400m_patch16_siglip_512": Trunk("map", 16, 1152, 428_772_800),
    "vitamin_base_224": Trunk("hybrid", 16, 768, 87_132_032),
    "vitamin_large2_224": Trunk("hybrid", 16, 1024, 332_531_616),
    "vitamin_large2_256": Trunk("hybrid", 16, 1024, 332_593_056),
    "vitamin_large2_336": Trunk("hybrid", 16, 1024, 332_782_496),
    "vitamin_large2_384": Trunk("hybrid", 16, 1024, 332_920_736),
    "vitamin_large_224": Trunk("hybrid", 16, 1024, 332_531_616),
    "vitamin_large_256": Trunk("hybrid", 16, 1024, 332_593_056),
    "vitamin_large_336": Trunk("hybrid", 16, 1024, 332_782_496),
    "vitamin_large_384": Trunk("hybrid", 16, 1024, 332_920_736),
    "vitamin_small_224": Trunk("hybrid", 16, 384, 21_877_696),
    "vitamin_xlarge_256": Trunk("hybrid", 16, 1152, 434_726_976),
    "vitamin_xlarge_336": Trunk("hybrid", 16, 1152, 434_726_976),
    "vitamin_xlarge_384": Trunk("hybrid", 16, 1152, 434_726_976),
}

_KNOWN_KEYS = {
    "resnet": {"image_size", "layers", "width", "patch_size"},
    "vit": {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "ls_init_value", "no_ln_pre"}
    | {"pool_type", "final_ln_after_pool", "output_tokens", "attentional_pool", "attn_pooler_heads"},
    "timm": {"image_size", "timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_drop"}
    | {"timm_drop_path"},
}
_TEXT_KEYS = {
    "context_length",
    "vocab_size",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "hf_tokenizer_name",
    "act_kwargs",
}
_TEXT_KEYS |= {"tokenizer_kwargs", "no_causal_mask", "pool_type", "norm_kwargs", "proj_bias", "proj_type", "eos_id"}
_TEXT_KEYS |= {"embed_cls", "output_tokens"}
COCA_QUERIES = 256


@dataclass(frozen=True, slots=True)
class Shape:
    """What follows from a configuration alone.

    Attributes:
        family: kind of image tower, see `surgery.towers.FAMILIES`; "" for one that cannot be operated on.
        patch_px: side of a patch in pixels; None for one that cannot be operated on.
        parameters: of both towers; None where the text tower is one of Hugging Face, or the count is not known.
        refusal: why the tower cannot be operated on, else "".
    """

    family: str
    patch_px: int | None
    parameters: int | None
    refusal: str = ""


def shape_of(config: Config) -> Shape:
    """The shape of a model from its open_clip configuration."""
    return _shape_of(json.dumps(config, sort_keys=True))


@lru_cache(maxsize=1024)
def _shape_of(config_json: str) -> Shape:
    config = json.loads(config_json)
    vision = config["vision_cfg"]
    if not _is_known(vision):
        return _built(config)
    if "timm_model_name" in vision:
        trunk = TRUNKS[vision["timm_model_name"]]
        return Shape(trunk.family, trunk.patch_px, count_parameters(config))
    if isinstance(vision["layers"], list):
        return Shape("resnet", RESNET_PATCH_PX, count_parameters(config))
    family = "coca" if vision.get("attentional_pool") else "vit"
    return Shape(family, vision["patch_size"], count_parameters(config))


def _is_known(vision: Config) -> bool:
    if "timm_model_name" in vision:
        return vision["timm_model_name"] in TRUNKS and not set(vision) - _KNOWN_KEYS["timm"]
    return not set(vision) - _KNOWN_KEYS["resnet" if isinstance(vision.get("layers"), list) else "vit"]


def _built(config: Config) -> Shape:
    """Builds the image tower without memory: slower than reading the configuration, but right for any other one."""
    try:
        with torch.device("meta"):
            visual = _build_vision_tower(config["embed_dim"], config["vision_cfg"], config.get("quick_gelu", False))
            tower = build_tower(visual.eval())
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        return Shape("", None, None, str(error).partition(", but got ")[2] or str(error))
    text = _count_rest(config)
    image = sum(p.numel() for p in visual.parameters())
    return Shape(tower.family, tower.patch_px[0], None if text is None else image + text)


def count_parameters(config: Config) -> int | None:
    """Parameters of a model from its configuration.

    Args:
        config: of a CLIP whose image tower is a VisionTransformer, a ModifiedResNet or one of `TRUNKS`.

    Returns:
        None where the text tower is not open_clip's transformer.
    """
    vision, d, rest = config["vision_cfg"], config["embed_dim"], _count_rest(config)
    if rest is None:
        return None
    if "timm_model_name" in vision:
        return rest + _count_timm(vision, d)
    return rest + (_count_resnet if isinstance(vision["layers"], list) else _count_vit)(vision, d)


def _count_rest(config: Config) -> int | None:
    """Everything but the image tower; None for what is not counted here."""
    text, d = config["text_cfg"], config["embed_dim"]
    if set(text) - _TEXT_KEYS:
        return None
    decoder = _count_decoder(config["multimodal_cfg"], text["vocab_size"]) if "multimodal_cfg" in config else 0
    return 1 + ("init_logit_bias" in config) + _count_text(text, d) + decoder


def _count_timm(vision: Config, d: int) -> int:
    trunk, projection = TRUNKS[vision["timm_model_name"]], vision.get("timm_proj")
    w = trunk.width
    heads = {"none": 0, "linear": w * d, "mlp": _linear(w, 2 * d) + 2 * d * d}
    return trunk.parameters + heads.get(projection or "", _linear(w, d))


def _linear(n: int, m: int) -> int:
    return n * m + m


def _norm(n: int) -> int:
    return 2 * n


def _mlp(width: int, ratio: float) -> int:
    hidden = int(width * ratio)
    return _linear(width, hidden) + _linear(hidden, width)


def _block(width: int, ratio: float) -> int:
    return 2 * _norm(width) + _linear(width, 3 * width) + _linear(width, width) + _mlp(width, ratio)


def _count_vit(vision: Config, d: int) -> int:
    w, patch = vision["width"], vision["patch_size"]
    tokens = (vision["image_size"] // patch) ** 2 + 1
    ln_pre = 0 if vision.get("no_ln_pre") else _norm(w)
    layer_scale = 0 if vision.get("ls_init_value") is None else 2 * w
    blocks = vision["layers"] * (_block(w, vision.get("mlp_ratio", 4.0)) + layer_scale)
    trunk = w + tokens * w + 3 * patch**2 * w + ln_pre + blocks
    if not vision.get("attentional_pool"):
        return trunk + _norm(w) + w * d
    pooler = COCA_QUERIES * d + d * d + 2 * w * d + 3 * d + _linear(d, d) + _norm(d) + _norm(w)
    return trunk + pooler + _norm(d) + d * d


def _count_resnet(vision: Config, d: int) -> int:
    w = vision["width"]
    half, total, planes_in = w // 2, 0, w
    for n_in, n_out in ((3, half), (half, half), (half, w)):  # the stem
        total += 9 * n_in * n_out + _norm(n_out)
    for stage, depth in enumerate(vision["layers"]):
        planes = w * 2**stage
        wide = 4 * planes
        for index in range(depth):
            total += planes_in * planes + 9 * planes**2 + planes * wide + 2 * _norm(planes) + _norm(wide)
            total += planes_in * wide + _norm(wide) if index == 0 else 0  # the shortcut
            planes_in = wide
    tokens = (vision["image_size"] // RESNET_PATCH_PX) ** 2 + 1
    return total + tokens * planes_in + 3 * _linear(planes_in, planes_in) + _linear(planes_in, d)


def _count_text(text: Config, d: int) -> int:
    w, cls = text["width"], bool(text.get("embed_cls"))
    projection = 0 if text.get("proj_type") == "none" else w * d + (d if text.get("proj_bias") else 0)
    blocks = text["layers"] * _block(w, text.get("mlp_ratio", 4.0))
    positions = (text.get("context_length", 77) + cls) * w
    return text["vocab_size"] * w + positions + cls * w + blocks + _norm(w) + projection


def _count_decoder(multimodal: Config, vocabulary: int) -> int:
    """CoCa's decoder: per layer a block, and one that attends to the image with a norm of its own; then words."""
    w = multimodal["width"]
    layer = 2 * _block(w, multimodal.get("mlp_ratio", 4.0)) + _norm(w)
    return multimodal["layers"] * layer + _norm(w) + w * vocabulary
