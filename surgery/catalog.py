"""What can be loaded: open_clip's architectures with their sizes, and whether weights are on this machine.

Nothing is downloaded. Parameters are counted from the configuration; only one of an unknown shape is built for that.
"""

import difflib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import open_clip
import torch

from surgery.downloads import is_cached
from surgery.towers import MapTower, ResnetTower, VitTower, build_tower
from surgery.weights import TOY_FOLDER, create_random, first_line

TOY = "toy"
BYTES_A_PARAMETER = 4  # nearly all published checkpoints are float32
RESNET_PATCH_PX = 32
NEEDS_TRANSFORMERS = 'its text side needs the packages transformers and sentencepiece, the extra "siglip"'

Config = Mapping[str, Any]

_FAMILIES = {VitTower: "vit", ResnetTower: "resnet", MapTower: "map"}

# Width, depth and MLP ratio are written in timm's functions, not in open_clip's configuration.
_SIGLIP_SIZES = {
    "base": (768, 12, 4.0),
    "large": (1024, 24, 4.0),
    "so400m": (1152, 27, 3.7362),
    "giantopt": (1536, 40, 4.0),
}
_SIGLIP_NAME = re.compile(rf"vit_(?P<size>{'|'.join(_SIGLIP_SIZES)})_patch(?P<patch>\d+)_siglip(_gap)?_\d+")

_VISION_KEYS = {
    "resnet": {"image_size", "layers", "width", "patch_size"},
    "vit": {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "ls_init_value", "no_ln_pre"}
    | {"pool_type", "final_ln_after_pool"},
    "map": {"image_size", "timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj"},
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


@dataclass(frozen=True, slots=True)
class TagInfo:
    """Pretrained weights of an architecture.

    Attributes:
        tag: what `load_model` takes as `pretrained`.
        cached: whether the file is on this machine.
        download_mb: about how much is to be downloaded (MB, float32 weights); None when cached or unknown.
    """

    tag: str
    cached: bool
    download_mb: int | None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One architecture.

    Attributes:
        name: what `load_model` takes as `name`.
        family: kind of image tower, "vit", "resnet" or "map"; "" for one that cannot be operated on.
        parameters: of both towers; None for one that cannot be operated on, or built here.
        patch_px: side of a patch in pixels; None likewise.
        image_size: side of the native input in pixels.
        tags: its pretrained weights.
        supported: whether `load_model` takes it here.
        reason: why not, or what it still needs; else "".
    """

    name: str
    family: str
    parameters: int | None
    patch_px: int | None
    image_size: int
    tags: tuple[TagInfo, ...]
    supported: bool
    reason: str

    @property
    def ready(self) -> bool:
        """Whether weights are on this machine: the embedded model, or a cached tag."""
        return self.name == TOY or any(tag.cached for tag in self.tags)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What follows from a configuration alone."""

    family: str
    parameters: int | None
    patch_px: int | None
    supported: bool = True
    reason: str = ""


def list_models() -> tuple[ModelInfo, ...]:
    """Every architecture of open_clip, also those that cannot be operated on, after the embedded toy."""
    return tuple(describe(name) for name in (TOY, *open_clip.list_models()))


def describe(name: str) -> ModelInfo:
    """One architecture.

    Args:
        name: "toy" or a name in `open_clip.list_models()`.

    Raises:
        ValueError: there is none of this name; the nearest ones are listed.
    """
    config = _toy_config() if name == TOY else open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, [TOY, *open_clip.list_models()], n=5, cutoff=0.3)
        raise ValueError(
            f"Expected name to be toy or an open_clip model, but got {name!r}; nearest: {', '.join(near) or 'none'}"
        )
    shape = _shape_of(name, json.dumps(config, sort_keys=True))
    size = config["vision_cfg"]["image_size"]
    tags = tuple(_tag_info(name, tag, shape.parameters) for tag in open_clip.list_pretrained_tags_by_model(name))
    return ModelInfo(name, shape.family, shape.parameters, shape.patch_px, size, tags, shape.supported, shape.reason)


def _toy_config() -> dict[str, Any]:
    return json.loads((TOY_FOLDER / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]


# ---- weights on this machine


def _tag_info(name: str, tag: str, parameters: int | None) -> TagInfo:
    if is_cached(open_clip.get_pretrained_cfg(name, tag)):
        return TagInfo(tag, True, None)
    return TagInfo(tag, False, None if parameters is None else round(parameters * BYTES_A_PARAMETER / 1e6))


# ---- what a configuration says


@lru_cache(maxsize=1024)
def _shape_of(name: str, config_json: str) -> _Shape:
    config = json.loads(config_json)
    vision, text = config["vision_cfg"], config["text_cfg"]
    has_transformers = importlib.util.find_spec("transformers") is not None
    refusal = _refusal(vision)
    if refusal:
        return _Shape("", None, None, False, refusal)
    family, patch_px = _family_and_patch(vision)
    if "hf_model_name" in text:
        return _Shape(family, None, patch_px, has_transformers, "" if has_transformers else NEEDS_TRANSFORMERS)
    if set(vision) - _VISION_KEYS[family] or set(text) - _TEXT_KEYS or "multimodal_cfg" in config:
        return _built(name)
    ready = has_transformers or "hf_tokenizer_name" not in text
    return _Shape(family, count_parameters(config), patch_px, True, "" if ready else NEEDS_TRANSFORMERS)


def _refusal(vision: Config) -> str:
    """What stands in the way of operating on the image tower, as `towers.build_tower` finds it; "" for nothing."""
    if vision.get("attentional_pool"):
        return "attentional pool (CoCa)"
    trunk = vision.get("timm_model_name")
    if trunk is None or (vision.get("timm_pool") == "map" and _SIGLIP_NAME.fullmatch(trunk)):
        return ""
    return f"timm trunk {trunk}, not a plain ViT with a MAP head and without prefix tokens"


def _family_and_patch(vision: Config) -> tuple[str, int]:
    if "timm_model_name" in vision:
        return "map", int(_SIGLIP_NAME.fullmatch(vision["timm_model_name"])["patch"])
    return ("resnet", RESNET_PATCH_PX) if isinstance(vision["layers"], list) else ("vit", vision["patch_size"])


def _built(name: str) -> _Shape:
    """Builds the model without memory: slower than reading its configuration, but right for any other one."""
    try:
        with torch.device("meta"):
            clip = create_random(name, device="meta")
            tower = build_tower(clip.visual)
    except ValueError as error:
        return _Shape("", None, None, False, first_line(error))
    return _Shape(_FAMILIES[type(tower)], sum(p.numel() for p in clip.parameters()), tower.patch_px[0])


def count_parameters(config: Config) -> int:
    """Parameters of a model from its open_clip configuration.

    Args:
        config: of a CLIP whose image tower is a VisionTransformer, a ModifiedResNet or one of timm's SigLIP ViTs, and
            whose text tower is open_clip's transformer.
    """
    vision, d = config["vision_cfg"], config["embed_dim"]
    if "timm_model_name" in vision:
        image = _count_map(vision)
    else:
        image = (_count_resnet if isinstance(vision["layers"], list) else _count_vit)(vision, d)
    scale_and_bias = 1 + ("init_logit_bias" in config)
    return image + _count_text(config["text_cfg"], d) + scale_and_bias


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
    norms = _norm(w) * (1 if vision.get("no_ln_pre") else 2)
    layer_scale = 0 if vision.get("ls_init_value") is None else 2 * w
    blocks = vision["layers"] * (_block(w, vision.get("mlp_ratio", 4.0)) + layer_scale)
    return w + tokens * w + 3 * patch**2 * w + norms + blocks + w * d


def _count_map(vision: Config) -> int:
    match = _SIGLIP_NAME.fullmatch(vision["timm_model_name"])
    w, depth, ratio = _SIGLIP_SIZES[match["size"]]
    patch = int(match["patch"])
    tokens = (vision["image_size"] // patch) ** 2
    head = w + _linear(w, w) + _linear(w, 2 * w) + _linear(w, w) + _norm(w) + _mlp(w, ratio)
    return _linear(3 * patch**2, w) + tokens * w + depth * _block(w, ratio) + _norm(w) + head


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
    w = text["width"]
    projection = 0 if text.get("proj_type") == "none" else w * d + (d if text.get("proj_bias") else 0)
    blocks = text["layers"] * _block(w, text.get("mlp_ratio", 4.0))
    return text["vocab_size"] * w + text.get("context_length", 77) * w + blocks + _norm(w) + projection
