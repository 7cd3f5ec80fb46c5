"""What can be loaded: open_clip's architectures with their sizes, and whether weights are on this machine.

Nothing is downloaded. What an architecture is follows from its configuration, see `surgery.shapes`.
"""

import difflib
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import open_clip

from surgery.downloads import is_cached
from surgery.shapes import Config, Shape, shape_of
from surgery.towers import FAMILIES
from surgery.weights import TOY_FOLDER

TOY = "toy"
BYTES_A_PARAMETER = 4  # nearly all published checkpoints are float32
NEEDS_TRANSFORMERS = 'its text side needs the packages transformers and sentencepiece, the extra "siglip"'
LAST_LAYER_ONLY = "no blocks over all tokens: a map of its last layer, no surgery"


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
        family: kind of image tower, see `surgery.towers.FAMILIES`; "" for one that cannot be operated on.
        parameters: of both towers; None for one that cannot be operated on, or whose text tower is Hugging Face's.
        patch_px: side of a patch in pixels; None likewise.
        image_size: side of the native input in pixels.
        tags: its pretrained weights.
        supported: whether `load_model` takes it here.
        reason: why not, what it still needs, or what it lacks; else "".
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
    def has_blocks(self) -> bool:
        """Whether its image tower has blocks to operate on, more than a map of its last layer."""
        return self.family not in ("", "last layer")

    @property
    def ready(self) -> bool:
        """Whether weights are on this machine: the embedded model, or a cached tag."""
        return self.name == TOY or any(tag.cached for tag in self.tags)


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
    shape = shape_of(config)
    supported, reason = _what_stands_in_the_way(shape, config["text_cfg"])
    size = config["vision_cfg"]["image_size"]
    tags = tuple(_tag_info(name, tag, shape.parameters) for tag in open_clip.list_pretrained_tags_by_model(name))
    return ModelInfo(name, shape.family, shape.parameters, shape.patch_px, size, tags, supported, reason)


def _what_stands_in_the_way(shape: Shape, text: Config) -> tuple[bool, str]:
    """Whether a model can be loaded here, and why not, what it still needs, or what it lacks."""
    if shape.refusal:
        return False, shape.refusal
    has_transformers = importlib.util.find_spec("transformers") is not None
    if "hf_model_name" in text:
        return (
            has_transformers,
            f"its text side needs {text['hf_model_name']} of the hub" if has_transformers else NEEDS_TRANSFORMERS,
        )
    if "hf_tokenizer_name" in text and not has_transformers:
        return True, NEEDS_TRANSFORMERS
    return True, LAST_LAYER_ONLY if shape.family == "last layer" else ""


@dataclass(frozen=True, slots=True)
class FamilyCount:
    """How many architectures and pretrained tags of open_clip are of one family.

    Attributes:
        family: see `surgery.towers.FAMILIES`; "" for what is refused.
        reason: why those of this row are refused; "" for the others.
        architectures, tags: how many.
        names: the architectures.
    """

    family: str
    reason: str
    architectures: int
    tags: int
    names: tuple[str, ...]


def count_families(models: Iterable[ModelInfo]) -> tuple[FamilyCount, ...]:
    """Architectures and tags by family, in the order of `FAMILIES`, the refused ones last with their reasons."""
    rows: dict[tuple[str, str], list[ModelInfo]] = {}
    for info in models:
        rows.setdefault((info.family, "" if info.family else info.reason), []).append(info)
    order = {family: index for index, family in enumerate(FAMILIES)}
    return tuple(
        FamilyCount(*key, len(found), sum(len(info.tags) for info in found), tuple(info.name for info in found))
        for key, found in sorted(rows.items(), key=lambda row: (order.get(row[0][0], len(order)), row[0]))
    )


def _toy_config() -> dict[str, Any]:
    return json.loads((TOY_FOLDER / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]


# ---- weights on this machine


def _tag_info(name: str, tag: str, parameters: int | None) -> TagInfo:
    if is_cached(open_clip.get_pretrained_cfg(name, tag)):
        return TagInfo(tag, True, None)
    return TagInfo(tag, False, None if parameters is None else round(parameters * BYTES_A_PARAMETER / 1e6))
