"""The names of other packages -> those of `open_clip.CLIP`."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from surgery.checkpoints.contents import (
    BOTH_TOWERS,
    IMAGE_TOWER,
    QUICK_GELU,
    Checkpoint,
    CheckpointError,
    Saved,
    Tensors,
)
from surgery.checkpoints.unwrapping import find_state, strip_prefixes

OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")
"""Three numbers that OpenAI keeps among the weights."""

LONG_CLIP_KEPT = 20
"""Positions that Long-CLIP keeps from CLIP; the later ones are in a second table. Zhang et al. 2024, arXiv 2403.15378,
section 3.1, and `model_longclip.py` of their code."""

TEXT_PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "cls_emb")
CLIP_PARTS = ("visual", "text", "text_decoder", "logit_scale", "logit_bias", *TEXT_PARTS)
MOBILE_PARTS = ("image_encoder", "text_encoder", "logit_scale")

_BLOCK = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.out_proj.": "attn.out_proj.",
}
_TIMM_BLOCK = {"layer_norm1.": "norm1.", "layer_norm2.": "norm2.", "self_attn.out_proj.": "attn.proj."}


def to_checkpoint(saved: Saved, path: Path) -> Checkpoint:
    """What was read from a file, in the names of open_clip.

    Raises:
        CheckpointError: the file holds no CLIP and no image tower of one; the message says what it holds.
    """
    state, left_out = strip_prefixes(find_state(saved.content, path.name), path.name)
    if "head.probe" in state:  # a SiglipVisionModel of newer versions of transformers
        state = {f"vision_model.{key}": tensor for key, tensor in state.items()}
    activation = saved.activation or _activation_of_run(saved.content)
    if all(key in state for key in OPENAI_KEYS):
        origin, activation = "OpenAI's CLIP", activation or QUICK_GELU
    else:
        origin = _origin(state)
    state = {key: tensor for key, tensor in state.items() if key not in OPENAI_KEYS and not _is_bookkeeping(key)}
    if origin == "":
        raise CheckpointError(
            f"Expected {path.name} to hold a CLIP or the image tower of one, but got {saved.kind} with "
            f"{_what_else(state)}"
        )
    tensors = _in_clip(_CONVERTERS.get(origin, dict)(state))
    parts = MOBILE_PARTS if origin == "Apple's MobileCLIP" else CLIP_PARTS
    foreign = tuple(key for key in tensors if key.split(".")[0] not in parts)
    tensors = {key: tensor for key, tensor in tensors.items() if key not in foreign}
    has_text = any(key.split(".")[0] in (*TEXT_PARTS, "text", "text_encoder") for key in tensors)
    holds = BOTH_TOWERS if has_text else IMAGE_TOWER
    return Checkpoint(path.name, saved.kind, tensors, holds, origin, activation, (*left_out, *foreign))


def _is_bookkeeping(key: str) -> bool:
    """Buffers that are rebuilt with the model."""
    return key.endswith(("position_ids", "attn_mask")) or key in ("mask1", "mask2")


def _in_clip(state: Tensors) -> Tensors:
    """A text tower of its own ("text.") in the names of `open_clip.CLIP`; one of Hugging Face has no names there."""
    if "text.token_embedding.weight" not in state:
        return state
    return {key.removeprefix("text."): tensor for key, tensor in state.items()}


def _activation_of_run(content: object) -> str | None:
    """open_clip's training script keeps the name of the run, which holds that of the architecture."""
    run = content.get("name") if isinstance(content, dict) else None
    return QUICK_GELU if isinstance(run, str) and "-quickgelu" in run.lower() else None


def _origin(state: Tensors) -> str:
    """Whose names these are; "" for no CLIP."""
    if any(key.startswith("vision_model.embeddings") for key in state):
        is_siglip = "vision_model.embeddings.patch_embedding.bias" in state
        whole = any(key.startswith("text_model.") for key in state)
        if is_siglip:
            return "Hugging Face SiglipModel" if whole else "Hugging Face SiglipVisionModel"
        return "Hugging Face CLIPModel" if whole else "Hugging Face CLIPVisionModel"
    if any(key.startswith("image_encoder.model.patch_emb") for key in state):
        return "Apple's MobileCLIP"
    if any(key.startswith("visual.") for key in state):
        is_long = "positional_embedding_res" in state
        return "Long-CLIP" if is_long else "an open_clip model"
    if any(key in state for key in ("class_embedding", "attnpool.positional_embedding")) or any(
        key.startswith("trunk.") for key in state
    ):
        return "an open_clip image tower"
    return ""


def _what_else(state: Tensors) -> str:
    """What a file without an image tower holds."""
    if any(key.startswith(("text_model.", "token_embedding", "text.")) for key in state):
        return "a text tower only; take the whole model, since every map needs its image tower"
    if "embeddings.class_embedding" in state:
        return "a CLIPVisionModel without its projection into the text space; take a CLIPVisionModelWithProjection"
    if any(key.startswith(("blocks.", "patch_embed.")) for key in state):
        return "a timm image model, which has no text space; take a CLIP that was trained with text"
    if any(key.startswith(("bert.", "roberta.", "encoder.layer.", "vit.", "embeddings.")) for key in state):
        return f"a Hugging Face model of another kind ({next(iter(state))} ...); take a CLIPModel or a SiglipModel"
    names = ", ".join(list(state)[:4])
    return f"{len(state)} tensors of another model ({names}{', ...' if len(state) > 4 else ''})"


# ---- one converter for each origin


def _from_tower(state: Tensors) -> Tensors:
    return {f"visual.{key}": tensor for key, tensor in state.items()}


def _from_long_clip(state: Tensors) -> Tensors:
    """The two tables of positions become the one that they act as."""
    state = dict(state)
    later = state.pop("positional_embedding_res")
    state["positional_embedding"] = torch.cat([state["positional_embedding"][:LONG_CLIP_KEPT], later[LONG_CLIP_KEPT:]])
    return state


def _from_clip_model(state: Tensors) -> Tensors:
    converted = _joined(state, "self_attn", "attn.in_proj_{}")
    names = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.pre_layrnorm.": "visual.ln_pre.",
        "vision_model.post_layernorm.": "visual.ln_post.",
        "vision_model.encoder.layers.": "visual.transformer.resblocks.",
        **_TEXT_NAMES,
    }
    tensors = {_renamed(key, names | _BLOCK): tensor for key, tensor in converted.items()}
    for key, target in (("visual_projection.weight", "visual.proj"), ("text_projection.weight", "text_projection")):
        if key in tensors:
            tensors[target] = tensors.pop(key).mT
    return tensors


_TEXT_NAMES = {
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.head.": "text_projection.",
}


def _from_siglip_model(state: Tensors) -> Tensors:
    """The image tower has the names of timm, the text tower those of open_clip."""
    image = {key: tensor for key, tensor in state.items() if key.startswith("vision_model.")}
    rest = {key: tensor for key, tensor in state.items() if key not in image}
    text = _joined(rest, "self_attn", "attn.in_proj_{}")
    names = {
        "vision_model.embeddings.patch_embedding.": "visual.trunk.patch_embed.proj.",
        "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
        "vision_model.post_layernorm.": "visual.trunk.norm.",
        "vision_model.encoder.layers.": "visual.trunk.blocks.",
        "vision_model.head.probe": "visual.trunk.attn_pool.latent",
        "vision_model.head.attention.out_proj.": "visual.trunk.attn_pool.proj.",
        "vision_model.head.layernorm.": "visual.trunk.attn_pool.norm.",
        "vision_model.head.mlp.": "visual.trunk.attn_pool.mlp.",
    }
    tensors = {_renamed(key, _TEXT_NAMES | _BLOCK): tensor for key, tensor in text.items()}
    for key, tensor in _joined(image, "self_attn", "attn.qkv.{}").items():
        if "head.attention.in_proj" in key:
            part = key.rpartition("_")[2]
            width = len(tensor) // 3
            tensors[f"visual.trunk.attn_pool.q.{part}"] = tensor[:width]
            tensors[f"visual.trunk.attn_pool.kv.{part}"] = tensor[width:]
        else:
            tensors[_renamed(key, names | _TIMM_BLOCK)] = tensor
    tensors["visual.trunk.pos_embed"] = tensors["visual.trunk.pos_embed"][None]
    return tensors


def _joined(state: Tensors, module: str, target: str) -> Tensors:
    """Separate q, k and v projections stacked into one, in this order."""
    joined: Tensors = {}
    for key, tensor in state.items():
        if f".{module}.q_proj." in key:
            parts = [state[key.replace(".q_proj.", f".{name}_proj.")] for name in "qkv"]
            head, _, kind = key.partition(f".{module}.q_proj.")
            joined[f"{head}.{target.format(kind)}"] = torch.cat(parts)
        elif not any(f".{module}.{name}_proj." in key for name in "kv"):
            joined[key] = tensor
    return joined


def _renamed(key: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if key.startswith(old) or (old in _BLOCK and f".{old}" in key):
            key = key.replace(old, new, 1)
    return key


_CONVERTERS: dict[str, Callable[[Tensors], dict[str, Tensor]]] = {
    "an open_clip image tower": _from_tower,
    "Long-CLIP": _from_long_clip,
    "Hugging Face CLIPModel": _from_clip_model,
    "Hugging Face CLIPVisionModel": _from_clip_model,
    "Hugging Face SiglipModel": _from_siglip_model,
    "Hugging Face SiglipVisionModel": _from_siglip_model,
}
