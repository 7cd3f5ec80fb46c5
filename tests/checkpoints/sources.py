"""Small models with trained-looking weights, and the features that a form of their checkpoint has to give."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn.functional import normalize

TEXTS = ("a red circle", "two dogs on the grass", "")
CONTEXT, SIZE_PX = 20, 32
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": SIZE_PX, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2},
}
PLAIN, QUICK, CUSTOM, WIDE = "form-vit", "form-vit-quickgelu", "form-vit-custom", "form-vit-wide"
RESNET, RESNET_QUICK = "form-rn", "form-rn-quickgelu"
_RN = CLIP_CONFIG | {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}}
CONFIGS = {
    PLAIN: CLIP_CONFIG,
    QUICK: CLIP_CONFIG | {"quick_gelu": True},
    CUSTOM: CLIP_CONFIG | {"custom_text": True},
    WIDE: CLIP_CONFIG | {key: CLIP_CONFIG[key] | {"mlp_ratio": 2.5} for key in ("vision_cfg", "text_cfg")},
    RESNET: _RN,
    RESNET_QUICK: _RN | {"quick_gelu": True},
}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A model that checkpoints are made of.

    Attributes:
        module: of open_clip or of transformers.
        image, text: unit features (2, d) of `pixels` and (3, d) of `TEXTS`, from the module's own code.
        size_px: side of its input.
    """

    module: nn.Module
    image: Tensor
    text: Tensor
    size_px: int


def pixels(size_px: int = SIZE_PX) -> Tensor:
    return torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))


def ids(context: int) -> Tensor:
    return SimpleTokenizer(context_length=context)(list(TEXTS))


@cache
def register() -> None:
    """Makes the architectures of the forms known to open_clip."""
    folder = Path(mkdtemp())
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def shaken(module: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Random weights large enough that every one of them counts, rounded to what a file of `dtype` can hold."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim >= 1 and "logit" not in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter.to(dtype).float())
    return module.eval()


@torch.inference_mode()
def _source(module: nn.Module, encode_image: Callable, encode_text: Callable, size_px: int, context: int) -> Source:
    image, text = encode_image(pixels(size_px)), encode_text(ids(context))
    return Source(module, normalize(_features(image), dim=-1), normalize(_features(text), dim=-1), size_px)


def _features(output: object) -> Tensor:
    """Features from what a model returns: newer versions of transformers wrap them."""
    return output if isinstance(output, Tensor) else output.pooler_output


def source(
    name: str = PLAIN, dtype: torch.dtype = torch.float32, context: int = CONTEXT, size_px: int = SIZE_PX
) -> Source:
    """One of open_clip's modules."""
    is_resnet = name in (RESNET, RESNET_QUICK)
    return _open_clip_source(name, dtype, context, 64 if is_resnet and size_px == SIZE_PX else size_px)


@cache
def _open_clip_source(name: str, dtype: torch.dtype, context: int, size_px: int) -> Source:
    register()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = open_clip.create_model(name, force_context_length=context, force_image_size=size_px)
    shaken(clip, dtype)
    return _source(clip, clip.encode_image, clip.encode_text, size_px, context)


@cache
def clip_model(activation: str = "quick_gelu", context: int = CONTEXT) -> Source:
    """A CLIPModel of transformers."""
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
    shared["hidden_act"] = activation
    text = shared | {"max_position_embeddings": context, "vocab_size": 49408, "eos_token_id": 49407}
    vision = shared | {"image_size": SIZE_PX, "patch_size": 8}
    module = shaken(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)))
    return _source(
        module,
        lambda p: module.get_image_features(pixel_values=p),
        lambda t: module.get_text_features(input_ids=t),
        SIZE_PX,
        context,
    )


@cache
def siglip_model() -> Source:
    """A SiglipModel of transformers; its texts are ids of a tokenizer that is made in the test."""
    from transformers import SiglipConfig, SiglipModel

    shared = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = shared | {"max_position_embeddings": 16, "vocab_size": 60, "projection_size": 32}
    text |= {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
    vision = shared | {"image_size": SIZE_PX, "patch_size": 8}
    module = shaken(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)))
    tokens = torch.randint(3, 60, (3, 16), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        image = _features(module.get_image_features(pixel_values=pixels()))
        text_features = _features(module.get_text_features(input_ids=tokens))
    return Source(module, normalize(image, dim=-1), normalize(text_features, dim=-1), SIZE_PX)


def siglip_ids() -> Tensor:
    return torch.randint(3, 60, (3, 16), generator=torch.Generator().manual_seed(2))
