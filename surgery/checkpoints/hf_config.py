"""A `config.json` of Hugging Face's CLIPModel or SiglipModel -> a configuration of open_clip."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from open_clip.constants import INCEPTION_MEAN, INCEPTION_STD, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from surgery.checkpoints.contents import GELU, QUICK_GELU, CheckpointError
from surgery.checkpoints.recipe import Recipe

Config = Mapping[str, Any]

CLIP_TYPES = {"clip", "clip_vision_model"}
SIGLIP_TYPES = {"siglip", "siglip_vision_model"}
VISION_TYPES = ("clip_vision_model", "siglip_vision_model")
REFUSED_TYPES = {
    "siglip2": "SigLIP 2 with NaFlex (patches of any shape); take a fixed-size SigLIP 2, such as "
    "google/siglip2-base-patch16-224",
    "chinese_clip": "a ChineseCLIPModel, whose text tower is a BERT",
    "altclip": "an AltCLIPModel, whose text tower is an XLM-R",
    "clipseg": "a CLIPSeg; take the CLIP that it was made from",
    "blip": "a BLIP, which is no CLIP",
    "blip-2": "a BLIP-2, which is no CLIP",
    "vision-text-dual-encoder": "a VisionTextDualEncoderModel; take a CLIPModel or a SiglipModel",
}
CLIP_VOCABULARY = 49408
SMALLEST_VIT = "vit_tiny_patch16_224"
"""What open_clip builds before its trunk is replaced by one of the right sizes."""

_GELU_NAMES = {"gelu": None, "gelu_pytorch_tanh": "tanh", "gelu_new": "tanh", "gelu_fast": "tanh"}


def recipe_of(config: Config, preprocessor: Config, where: str) -> Recipe:
    """How to build the model of a configuration.

    Args:
        config: of `config.json`.
        preprocessor: of `preprocessor_config.json`; empty where there is none.
        where: folder or repository, for messages.

    Raises:
        CheckpointError: a configuration of another kind of model, or one that open_clip cannot build.
    """
    kind = config.get("model_type")
    if kind not in CLIP_TYPES | SIGLIP_TYPES:
        what = REFUSED_TYPES.get(str(kind), f"a model of type {kind!r}")
        raise CheckpointError(f"Expected {where} to hold a CLIPModel or a SiglipModel of Hugging Face, but got {what}")
    if kind in VISION_TYPES:
        config = {"vision_config": config, "text_config": {}}
    preprocess = _preprocess_of(preprocessor, kind in SIGLIP_TYPES)
    if kind in CLIP_TYPES:
        return _clip_recipe(config, preprocess, where)
    return _siglip_recipe(config, preprocess, where)


def _preprocess_of(preprocessor: Config, is_siglip: bool) -> dict[str, Any]:
    default = (INCEPTION_MEAN, INCEPTION_STD) if is_siglip else (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    given = (preprocessor.get("image_mean"), preprocessor.get("image_std"))
    mean, std = (tuple(g) if g else d for g, d in zip(given, default, strict=True))
    return {"mean": mean, "std": std, "resize_mode": "squash" if is_siglip else "shortest"}


def _clip_recipe(config: Config, preprocess: dict[str, Any], where: str) -> Recipe:
    vision, text = _with_defaults(config.get("vision_config"), _CLIP_VISION), dict(_CLIP_TEXT)
    text |= config.get("text_config") or {}
    image_activation, text_activation = vision["hidden_act"], text["hidden_act"]
    if (image_activation == QUICK_GELU) != (text_activation == QUICK_GELU) and config.get("text_config"):
        raise CheckpointError(
            f"Expected both towers of {where} to have one activation, but got {image_activation} and {text_activation}"
        )
    quick = image_activation == QUICK_GELU
    width = vision["hidden_size"]
    model_cfg = {
        "embed_dim": config.get("projection_dim") or vision.get("projection_dim") or 512,
        "quick_gelu": quick,
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": vision["num_hidden_layers"],
            "width": width,
            "head_width": width // vision["num_attention_heads"],
            "patch_size": vision["patch_size"],
            "mlp_ratio": _ratio(vision),
            **_norm_and_activation(vision, where),
        },
        "text_cfg": _text_cfg(text, where),
    }
    activation = QUICK_GELU if quick else GELU
    return Recipe(where, model_cfg, preprocess, activation, tokenizer_repository=where, is_transformers=True)


def _text_cfg(text: Config, where: str) -> dict[str, Any]:
    """Of a text transformer; CLIP's end token is the largest id, others are looked for by their id."""
    eos = text.get("eos_token_id")
    by_largest = eos in (None, 2) or eos == text["vocab_size"] - 1
    pooling = {} if by_largest else {"pool_type": "eos", "eos_id": eos}
    return {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "width": text["hidden_size"],
        "heads": text["num_attention_heads"],
        "layers": text["num_hidden_layers"],
        "mlp_ratio": _ratio(text),
        **_norm_and_activation(text, where),
        **pooling,
    }


def _norm_and_activation(tower: Config, where: str) -> dict[str, Any]:
    name = tower["hidden_act"]
    if name != QUICK_GELU and name not in _GELU_NAMES:
        choices = ", ".join((QUICK_GELU, *_GELU_NAMES))
        raise CheckpointError(f"Expected hidden_act of {where} to be one of {choices}, but got {name!r}")
    approximate = _GELU_NAMES.get(name)
    activation = {} if approximate is None else {"act_kwargs": {"approximate": approximate}}
    return {"norm_kwargs": {"eps": tower["layer_norm_eps"]}, **activation}


def _ratio(tower: Config) -> float:
    """Such that open_clip's int(width * ratio) is the intermediate size."""
    width, inner = tower["hidden_size"], tower["intermediate_size"]
    return inner / width if int(width * (inner / width)) == inner else (inner + 0.5) / width


def _siglip_recipe(config: Config, preprocess: dict[str, Any], where: str) -> Recipe:
    vision, text = _with_defaults(config.get("vision_config"), _SIGLIP_VISION), dict(_SIGLIP_TEXT)
    text |= config.get("text_config") or {}
    width = vision["hidden_size"]
    space = text.get("projection_size") or text["hidden_size"]
    if not vision.get("vision_use_head", True):
        raise CheckpointError(f"Expected {where} to have an attention-pooling head, but got a SigLIP without")
    if config.get("text_config") and space != width:
        raise CheckpointError(f"Expected {where} to have one space, but got {width} and {space} dimensions")
    model_cfg = {
        "embed_dim": width,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision["image_size"],
            "timm_model_name": SMALLEST_VIT,
            "timm_pool": "avg",
            "timm_proj": "none",
        },
        "text_cfg": _text_cfg(text | {"eos_token_id": None}, where)
        | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    }
    _norm_and_activation(vision, where)
    trunk = {
        "img_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "embed_dim": width,
        "depth": vision["num_hidden_layers"],
        "num_heads": vision["num_attention_heads"],
        "mlp_ratio": _ratio(vision),
        "norm_layer": partial(nn.LayerNorm, eps=vision["layer_norm_eps"]),
        "act_layer": "gelu" if vision["hidden_act"] == "gelu" else "gelu_tanh",
    }
    build = partial(VisionTransformer, class_token=False, global_pool="map", num_classes=0, **trunk)
    return Recipe(where, model_cfg, preprocess, GELU, build, tokenizer_repository=where, is_transformers=True)


def _with_defaults(given: Config | None, defaults: Config) -> dict[str, Any]:
    """Older files leave out what is the default."""
    return {**defaults, **(given or {})}


_CLIP_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_CLIP_TEXT = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": CLIP_VOCABULARY,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_SIGLIP_VISION = _CLIP_VISION | {"patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
_SIGLIP_TEXT = _CLIP_TEXT | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "vocab_size": 32000,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
