"""A model of a checkpoint's own sizes, and the strict load into it: nothing is resampled, left over or missing."""

from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import torch
from open_clip.convert import convert_state_dict
from torch import Tensor, nn

from surgery.checkpoints.contents import IMAGE_TOWER, QUICK_GELU, Checkpoint, CheckpointError, Tensors
from surgery.checkpoints.naming import fitting_architectures
from surgery.checkpoints.recipe import Recipe, build
from surgery.towers import build_tower

IMAGE_POSITIONS = ("visual.positional_embedding", "visual.attnpool.positional_embedding", "visual.trunk.pos_embed")
TEXT_POSITIONS = "positional_embedding"
MAX_NAMES = 3


@dataclass(frozen=True, slots=True)
class OwnSizes:
    """Where a checkpoint differs from the configuration; None where it does not.

    Attributes:
        image_size: of the input, in pixels, one side or (height, width).
        context_length: token positions.
        vocabulary: rows of the token embedding.
    """

    image_size: int | tuple[int, int] | None = None
    context_length: int | None = None
    vocabulary: int | None = None


def load_into_own_sizes(recipe: Recipe, checkpoint: Checkpoint, shapes: nn.Module) -> nn.Module:
    """The model of the recipe with the checkpoint's weights, at the checkpoint's own sizes.

    Args:
        recipe: activation already decided.
        checkpoint: of both towers, or of the image tower, with which only `visual` is filled.
        shapes: the same model without memory.

    Raises:
        CheckpointError: it does not fit; the message says what the file holds and what it would fit.
    """
    sizes = own_sizes(shapes, checkpoint)
    clip = build(with_sizes(recipe, sizes, checkpoint), image_size=sizes.image_size)
    fill(clip, checkpoint, recipe.name)
    return clip


def own_sizes(shapes: nn.Module, checkpoint: Checkpoint) -> OwnSizes:
    """Compares the tables of positions and of tokens with those of a model without memory.

    Raises:
        CheckpointError: a grid of image positions that is not square and so has no one shape.
    """
    ours, theirs = shapes.state_dict(), checkpoint.tensors
    text = "text." if hasattr(shapes, "text") else ""
    context = _rows_if_other(ours.get(text + TEXT_POSITIONS), theirs.get(TEXT_POSITIONS))
    tokens = _rows_if_other(ours.get(f"{text}token_embedding.weight"), theirs.get("token_embedding.weight"))
    return OwnSizes(_image_size(shapes, ours, checkpoint), context, tokens)


def _rows_if_other(ours: Tensor | None, theirs: Tensor | None) -> int | None:
    """Rows of their table, where it has others than ours and is as wide."""
    if ours is None or theirs is None or theirs.ndim != 2 or ours.shape[1] != theirs.shape[1]:
        return None
    return len(theirs) if len(ours) != len(theirs) else None


def _image_size(shapes: nn.Module, ours: Tensors, checkpoint: Checkpoint) -> int | tuple[int, int] | None:
    key = next((key for key in IMAGE_POSITIONS if key in ours and key in checkpoint.tensors), None)
    if key is None:
        return None
    have, want = (table.shape[-2] for table in (ours[key], checkpoint.tensors[key]))
    if have == want or ours[key].shape[-1] != checkpoint.tensors[key].shape[-1]:
        return None
    tower = build_tower(shapes.visual)
    rows, columns = tower.native_grid
    patches = want - (have - rows * columns)
    side = isqrt(patches) if patches > 0 else 0
    if side**2 != patches:
        raise CheckpointError(
            f"Expected the image positions of {checkpoint.name} to be a square grid, but got {patches} of them; "
            "put the model into a folder with open_clip_config.json whose image_size is [height, width], and load it "
            "with local-dir:"
        )
    height, width = (side * patch for patch in tower.patch_px)
    return height if height == width else (height, width)


def with_sizes(recipe: Recipe, sizes: OwnSizes, checkpoint: Checkpoint) -> Recipe:
    """The recipe with the checkpoint's context length and vocabulary, and a logit bias where it has one."""
    text = {"context_length": sizes.context_length, "vocab_size": sizes.vocabulary}
    text_cfg = recipe.model_cfg["text_cfg"] | {key: value for key, value in text.items() if value is not None}
    model_cfg: dict[str, Any] = recipe.model_cfg | {"text_cfg": text_cfg}
    if "logit_bias" in checkpoint.tensors:
        model_cfg.setdefault("init_logit_bias", 0.0)
    return replace(recipe, model_cfg=model_cfg)


def with_activation(recipe: Recipe, activation: str) -> Recipe:
    """The recipe with one of `contents.ACTIVATIONS`."""
    model_cfg = recipe.model_cfg | {"quick_gelu": activation == QUICK_GELU}
    return replace(recipe, model_cfg=model_cfg, activation=activation)


def fill(clip: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Copies the weights into the model, strictly.

    Raises:
        CheckpointError: names or shapes differ, or numbers are not finite.
    """
    ours = {k: v for k, v in clip.state_dict().items() if checkpoint.holds != IMAGE_TOWER or k.startswith("visual.")}
    theirs = _in_names_of(clip, checkpoint)
    if checkpoint.holds == IMAGE_TOWER:
        theirs = {key: tensor for key, tensor in theirs.items() if key.startswith("visual.")}
    differences = _differences(ours, theirs)
    if differences:
        raise CheckpointError(_misfit(checkpoint, name, differences))
    _refuse_not_finite(theirs, checkpoint.name)
    clip.load_state_dict(theirs, strict=False)


def _in_names_of(clip: nn.Module, checkpoint: Checkpoint) -> Tensors:
    """The checkpoint in the names and scalar shapes of this module."""
    ours = clip.state_dict()
    tensors = convert_state_dict(clip, dict(checkpoint.tensors))  # MobileCLIP's names depend on the model
    if hasattr(clip, "text"):
        tensors = {f"text.{key}" if f"text.{key}" in ours and key not in ours else key: t for key, t in tensors.items()}
    for key in ("logit_scale", "logit_bias"):
        if key in tensors and key in ours and tensors[key].numel() == 1:
            tensors[key] = tensors[key].reshape(ours[key].shape)
    return tensors


def _differences(ours: Tensors, theirs: Tensors) -> list[str]:
    """What is missing, left over or of another shape, in words; empty where all fits."""
    missing = [key for key in ours if key not in theirs]
    extra = [key for key in theirs if key not in ours]
    shapes = [
        f"{key} is {_shape(theirs[key])} instead of {_shape(ours[key])}"
        for key in ours
        if key in theirs and ours[key].shape != theirs[key].shape
    ]
    found = [f"{len(missing)} tensors are missing ({_some(missing)})"] if missing else []
    found += [f"{len(extra)} belong to no part of it ({_some(extra)})"] if extra else []
    return found + ([f"{len(shapes)} have other shapes ({_some(shapes, '; ')})"] if shapes else [])


def _some(names: list[str], comma: str = ", ") -> str:
    return comma.join(names[:MAX_NAMES]) + (f"{comma}..." if len(names) > MAX_NAMES else "")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _misfit(checkpoint: Checkpoint, name: str, differences: list[str]) -> str:
    fits = fitting_architectures(checkpoint)
    if fits:
        advice = f"it fits {' or '.join(fits)}"
    elif "Hugging Face" in checkpoint.origin:
        advice = "load the folder that its config.json is in: load_model('local-dir:folder')"
    else:
        advice = "no architecture of open_clip fits; put open_clip_config.json beside it and load local-dir:folder"
    return (
        f"Expected {checkpoint.name} to be weights of {name}, but got {checkpoint.description}: "
        f"{', '.join(differences)}; {advice}"
    )


def _refuse_not_finite(tensors: Tensors, name: str) -> None:
    bad = [key for key, tensor in tensors.items() if tensor.is_floating_point() and not bool(_all_finite(tensor))]
    if bad:
        raise CheckpointError(
            f"Expected the weights in {name} to be finite, but got NaN or infinity in {len(bad)} tensors "
            f"({_some(bad)}); take an earlier checkpoint of the training"
        )


def _all_finite(tensor: Tensor) -> Tensor:
    """Through the sum, which is several times as fast as looking at every number; doubtful ones are looked at."""
    return torch.isfinite(tensor.double().sum()) if tensor.numel() < 1024 else _finite_sum(tensor)


def _finite_sum(tensor: Tensor) -> Tensor:
    total = tensor.float().sum() if tensor.element_size() < 4 else tensor.sum()
    return torch.isfinite(total) | torch.isfinite(tensor).all()
