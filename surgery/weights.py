"""From a name and a source of weights to an open_clip module: what to build, which file, and how the two fit.

architecture, config  ->  a recipe  ->  its image tower is checked without memory
                                     ->  the weights are found, or fetched (`surgery.hub`)
                                     ->  read by what they hold (`surgery.checkpoints`), loaded at their own sizes
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
from torch import nn

from surgery import downloads
from surgery.checkpoints import Checkpoint, CheckpointError
from surgery.checkpoints.contents import ACTIVATIONS, GELU, IMAGE_TOWER, QUICK_GELU
from surgery.checkpoints.fitting import load_into_own_sizes, with_activation
from surgery.checkpoints.folders import INDEX_SUFFIX, WEIGHT_SUFFIXES, read_checkpoint
from surgery.checkpoints.hf_config import recipe_of as recipe_of_transformers
from surgery.checkpoints.recipe import Recipe, build
from surgery.towers import build_tower

TOY_FOLDER = Path(__file__).resolve().parent.parent / "data" / "toy" / "model"
RANDOM = "random"
"""The value of `pretrained` for an architecture without trained weights."""

CONFIG, TRANSFORMERS_CONFIG, PREPROCESSOR = "open_clip_config.json", "config.json", "preprocessor_config.json"
QUICK_GELU_SUFFIX = "-quickgelu"


class RandomWeightsWarning(UserWarning):
    """An architecture was loaded without a word on weights, so they are random."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A module with its weights.

    Attributes:
        clip: the open_clip module on the CPU in float32.
        source: tag or path of the weights; None for random ones, "local" for a folder's own.
        remarks: what the file does not tell and may be wrong, for a warning.
        image_only: whether the file holds the image tower alone; the text tower of `clip` is random then.
    """

    clip: nn.Module
    source: str | None
    remarks: tuple[str, ...] = ()
    image_only: bool = False


def create_clip(name: str, pretrained: str | None, activation: str | None = None) -> Loaded:
    """Builds and fills a model; see `surgery.load_model` for the arguments and errors."""
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(f"Expected activation to be None or one of {', '.join(ACTIVATIONS)}, but got {activation!r}")
    if name == "toy" or name.startswith(("local-dir:", "hf-hub:")):
        if pretrained is not None:
            raise ValueError(
                f"Expected pretrained to be None for {name!r}, which carries its weights, but got {pretrained!r}"
            )
        return _own_weights(name, activation)
    architecture = name.replace("/", "-")
    recipe = recipe_of(architecture)
    if pretrained in (None, RANDOM):
        return Loaded(build(with_activation(recipe, activation) if activation else recipe), None)
    if is_path(pretrained):
        return _from_file(recipe, Path(pretrained).expanduser(), activation)
    return _from_tag(recipe, pretrained, activation)


def is_path(pretrained: str) -> bool:
    """Whether this names a file or folder and no tag."""
    endings = (*WEIGHT_SUFFIXES, INDEX_SUFFIX)
    return Path(pretrained).expanduser().exists() or pretrained.lower().endswith(endings) or "/" in pretrained


# ---- recipes


def recipe_of(name: str) -> Recipe:
    """How to build a model of this name, from its configuration alone.

    Raises:
        ValueError: unknown architecture, or a configuration that is none of open_clip's or Hugging Face's CLIPs.
        FileNotFoundError: a folder or repository without a configuration.
    """
    if name == "toy" or name.startswith("local-dir:"):
        folder = folder_of(name)
        return _recipe_in(folder, folder.name, str(folder))
    if name.startswith("hf-hub:"):
        repository = name.removeprefix("hf-hub:")
        return _recipe_in(downloads.fetch_config(repository), name, repository)
    _check_architecture(name)
    return Recipe(name, downloads.with_local_text_config(open_clip.get_model_config(name)), _preprocess_of_tags(name))


def folder_of(name: str) -> Path:
    """The folder of "toy" or "local-dir:folder"."""
    return TOY_FOLDER if name == "toy" else Path(name.removeprefix("local-dir:")).expanduser()


def _recipe_in(folder: Path, name: str, origin: str) -> Recipe:
    """From the configuration in a folder: open_clip's, else that of transformers."""
    own = folder / CONFIG
    if own.is_file():
        config = _json(own)
        if "model_cfg" not in config:
            raise ValueError(f"Expected {own} to have the key model_cfg, but got {', '.join(config) or 'none'}")
        activation = QUICK_GELU if config["model_cfg"].get("quick_gelu") else GELU
        model_cfg = downloads.with_local_text_config(config["model_cfg"])
        return Recipe(name, model_cfg, config.get("preprocess_cfg") or {}, activation)
    theirs = folder / TRANSFORMERS_CONFIG
    if theirs.is_file():
        preprocessor = _json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
        return replace(recipe_of_transformers(_json(theirs), preprocessor, origin), name=name)
    raise FileNotFoundError(
        f"Expected {folder} to be a folder with {CONFIG}, or {TRANSFORMERS_CONFIG} of a Hugging Face CLIPModel "
        "or SiglipModel, but found none"
    )


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected {path} to be JSON, but got: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"Expected {path} to be a JSON object, but got {type(content).__name__}")
    return content


def _preprocess_of_tags(architecture: str) -> dict[str, Any]:
    """What all published weights of an architecture agree on, so that a file of them gets the right mean and std."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    settings = [_preprocess_of_tag(open_clip.get_pretrained_cfg(architecture, tag)) for tag in tags]
    shared = dict(settings[0]) if settings else {}
    return {key: value for key, value in shared.items() if all(one.get(key) == value for one in settings)}


def _preprocess_of_tag(source: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {key: source[key] for key in keys if source.get(key) is not None}


def _check_architecture(name: str) -> None:
    known = open_clip.list_models()
    if name in known:
        return
    near = difflib.get_close_matches(name, ["toy", *known], n=5, cutoff=0.3)
    raise ValueError(
        f"Expected name to be an open_clip model, 'hf-hub:org/repo', 'local-dir:folder' or 'toy', but got {name!r}; "
        f"nearest: {', '.join(near) or 'none'}"
    )


def create_random(name: str, device: str = "cpu") -> nn.Module:
    """The architecture with random weights; on "meta" its shapes alone."""
    return build(recipe_of(name), device=device)


def random_weights_message(name: str) -> str:
    """What to say of an architecture that was loaded without a word on weights."""
    tags = open_clip.list_pretrained_tags_by_model(name.replace("/", "-"))
    example = tags[0] if tags else "path/to/weights.safetensors"
    return (
        f"{name} has random weights, since pretrained was not given. Name a tag or a file, such as "
        f"load_model({name!r}, pretrained={example!r}), or say pretrained={RANDOM!r} where random ones are wanted"
    )


# ---- weights


def _own_weights(name: str, activation: str | None) -> Loaded:
    """Of the toy, a folder, or a repository: the configuration decides the activation."""
    recipe = recipe_of(name)
    if activation not in (None, recipe.activation):
        raise ValueError(
            f"Expected activation to be None or {recipe.activation!r}, as the configuration of {name} says, "
            f"but got {activation!r}"
        )
    if name.startswith("hf-hub:"):
        shapes = operable_shapes(recipe)
        path = downloads.fetch_weights_of(name.removeprefix("hf-hub:"), recipe.is_transformers)
        return _filled(recipe, read_checkpoint(path), shapes, "hf-hub")
    return _filled(recipe, read_checkpoint(folder_of(name)), operable_shapes(recipe), "local")


def _from_file(recipe: Recipe, path: Path, activation: str | None) -> Loaded:
    """Of a user's file or folder, loaded into an architecture."""
    shapes = operable_shapes(recipe)
    checkpoint = read_checkpoint(path)
    beside = _transformers_beside(path) if "Hugging Face" in checkpoint.origin else None
    if beside is not None:
        recipe = replace(recipe, preprocess_cfg=recipe.preprocess_cfg | beside.preprocess_cfg)
    known = activation or checkpoint.activation or (beside and beside.activation)
    configured = QUICK_GELU if recipe.model_cfg.get("quick_gelu") else GELU
    if activation == GELU and configured == QUICK_GELU:
        plain = recipe.name.removesuffix(QUICK_GELU_SUFFIX)
        raise ValueError(f"Expected activation to be {QUICK_GELU!r} for {recipe.name}, but got {GELU!r}; use {plain}")
    remarks = () if known or not _may_be_either(recipe) else (_activation_remark(recipe, path, configured),)
    return _filled(with_activation(recipe, known or configured), checkpoint, shapes, str(path), remarks)


def _transformers_beside(path: Path) -> Recipe | None:
    """The configuration of transformers that lies beside a file, or in a folder."""
    folder = path if path.is_dir() else path.parent
    try:
        return None if (folder / CONFIG).is_file() else _recipe_in(folder, folder.name, str(folder))
    except (OSError, CheckpointError):
        return None


def _may_be_either(recipe: Recipe) -> bool:
    """Whether such an architecture was trained with either: not one of timm's, nor one whose activation is set."""
    vision = recipe.model_cfg["vision_cfg"]
    return "timm_model_name" not in vision and not vision.get("act_kwargs")


def _activation_remark(recipe: Recipe, path: Path, chosen: str) -> str:
    return (
        f"{path.name} does not say whether it was trained with GELU or QuickGELU, and its numbers cannot tell: "
        f"{chosen} was taken, as {recipe.name} has it, and a wrong one gives wrong maps. Say activation='gelu' or "
        "activation='quick_gelu' (OpenAI's, DFN's and MetaCLIP's weights and what was trained from them)"
    )


def _from_tag(recipe: Recipe, tag: str, activation: str | None) -> Loaded:
    """Of published weights, from open_clip's cache or fetched into it."""
    known = QUICK_GELU if downloads.needs_quick_gelu(recipe.name, tag) else GELU
    if activation not in (None, known):
        raise ValueError(f"Expected activation to be None or {known!r} for {tag!r} weights, but got {activation!r}")
    shapes = operable_shapes(recipe)
    source = open_clip.get_pretrained_cfg(recipe.name, tag)
    recipe = replace(with_activation(recipe, known), preprocess_cfg=_preprocess_of_tag(source))
    return _filled(recipe, read_checkpoint(downloads.fetch_tag(recipe.name, tag)), shapes, tag)


def _filled(
    recipe: Recipe, checkpoint: Checkpoint, shapes: nn.Module, source: str, remarks: tuple[str, ...] = ()
) -> Loaded:
    if checkpoint.left_out:
        shown = ", ".join(checkpoint.left_out[:3]) + (", ..." if len(checkpoint.left_out) > 3 else "")
        count = len(checkpoint.left_out)
        remarks += (f"{checkpoint.name} holds {count} tensors that are no part of the CLIP and were left out: {shown}",)
    clip = load_into_own_sizes(recipe, checkpoint, shapes)
    return Loaded(clip, source, remarks, checkpoint.holds == IMAGE_TOWER)


def operable_shapes(recipe: Recipe) -> nn.Module:
    """The model without memory, before anything is read or downloaded.

    Raises:
        ValueError: an image tower that cannot be operated on.
    """
    shapes = build(recipe, device="meta")
    build_tower(shapes.visual)
    return shapes


def first_line(error: BaseException) -> str:
    """What an error says first, short enough for a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300].rsplit(" ", 1)[0] + " ..."
