"""Which architectures of open_clip a checkpoint fits, for an error that says what would work."""

from copy import deepcopy

import open_clip
import torch

from surgery.checkpoints.contents import IMAGE_TOWER, Checkpoint
from surgery.checkpoints.recipe import Recipe, build

MAX_BUILT = 24
"""Architectures that are built (without memory) to compare them; the configuration rules out the others."""

_POSITIONS = ("positional_embedding", "pos_embed")


def fitting_architectures(checkpoint: Checkpoint) -> list[str]:
    """Names of architectures whose tensors have the names and shapes of the checkpoint's, up to tables of positions."""
    wanted = _signature({_bare(key): tuple(t.shape) for key, t in checkpoint.tensors.items()}, checkpoint.holds)
    candidates = [name for name in open_clip.list_models() if _may_fit(name, checkpoint)]
    return [name for name in candidates[:MAX_BUILT] if _signature_of(name, checkpoint.holds) == wanted]


def _bare(key: str) -> str:
    return key.removeprefix("text.")


def _signature(shapes: dict[str, tuple[int, ...]], holds: str) -> dict[str, tuple[int, ...]]:
    """Shapes by name; of positions and tokens only the width, of scalars nothing."""
    kept = {key: shape for key, shape in shapes.items() if not key.startswith("logit_")}
    if holds == IMAGE_TOWER:
        kept = {key: shape for key, shape in kept.items() if key.startswith("visual.")}
    tables = (*_POSITIONS, "token_embedding.weight")
    return {key: shape[-1:] if key.endswith(tables) else shape for key, shape in kept.items()}


def _signature_of(name: str, holds: str) -> dict[str, tuple[int, ...]]:
    try:
        clip = build(Recipe(name, deepcopy(open_clip.get_model_config(name))), device="meta")
    except ValueError:
        return {}
    return _signature({_bare(key): tuple(tensor.shape) for key, tensor in clip.state_dict().items()}, holds)


def _may_fit(name: str, checkpoint: Checkpoint) -> bool:
    """From the configuration alone: widths of the text tower and of the shared space, kind of image tower."""
    config, tensors = open_clip.get_model_config(name), checkpoint.tensors
    if "hf_model_name" in config["text_cfg"]:
        return False
    vision = config["vision_cfg"]
    if ("timm_model_name" in vision) != any(key.startswith("visual.trunk.") for key in tensors):
        return False
    embedding = tensors.get("token_embedding.weight", torch.empty(0, config["text_cfg"]["width"]))
    if embedding.shape[-1] != config["text_cfg"]["width"]:
        return False
    patches = tensors.get("visual.conv1.weight")
    if "timm_model_name" in vision or patches is None or isinstance(vision["layers"], list):
        return True
    return tuple(patches.shape) == (vision["width"], 3, vision["patch_size"], vision["patch_size"])
