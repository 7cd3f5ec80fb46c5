"""How to build a model: configuration, preprocessing and activation, before any weights are read."""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build a model.

    Attributes:
        name: of the architecture, folder or repository, for messages.
        model_cfg: as in open_clip's `open_clip_config.json`.
        preprocess_cfg: what differs from open_clip's default: mean, std, interpolation, resize_mode.
        activation: "gelu" or "quick_gelu" where the source of the configuration tells, else None.
        trunk: builds the image trunk that takes the place of open_clip's, for sizes that timm has no name for.
        tokenizer_repository: folder or repository of a Hugging Face tokenizer that the model brings.
        is_transformers: whether the configuration is one of Hugging Face's CLIPModel or SiglipModel.
    """

    name: str
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any] = field(default_factory=dict)
    activation: str | None = None
    trunk: Callable[..., nn.Module] | None = None
    tokenizer_repository: str | None = None
    is_transformers: bool = False


def build(recipe: Recipe, *, device: str = "cpu", image_size: int | tuple[int, int] | None = None) -> nn.Module:
    """The open_clip module of a recipe with random weights.

    Args:
        recipe: how to build it.
        device: "cpu", or "meta" for shapes without memory.
        image_size: another size of the input than the configuration's.

    Raises:
        ValueError: open_clip cannot build it; the message says why.
    """
    config = deepcopy(recipe.model_cfg)
    size = {} if image_size is None else {"force_image_size": image_size}
    try:
        where = torch.device(device) if device == "meta" else nullcontext()
        with quiet(), tempfile.TemporaryDirectory() as folder, where:
            (Path(folder) / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}), encoding="utf-8")
            clip = open_clip.create_model(
                f"local-dir:{folder}",
                load_weights=False,
                pretrained_text=False,
                device=device,
                force_preprocess_cfg=recipe.preprocess_cfg or None,
                **size,
            )
            if recipe.trunk is not None:
                _replace_trunk(clip, recipe, image_size)
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Expected {recipe.name} to be an architecture that open_clip can build here, but got: {text}"
        ) from error
    return clip


def _replace_trunk(clip: nn.Module, recipe: Recipe, image_size: int | tuple[int, int] | None) -> None:
    own = {} if image_size is None else {"img_size": image_size}
    clip.visual.trunk = recipe.trunk(**own)
    clip.visual.head = nn.Sequential()


@contextmanager
def quiet() -> Iterator[None]:
    """Silences open_clip's remarks on random weights and QuickGELU: here these are choices and errors."""

    def not_from_open_clip(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root = logging.getLogger()
    root.addFilter(not_from_open_clip)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(not_from_open_clip)
