"""What is refused: each form with what the error has to say, so that a user knows what to do."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.checkpoints.forms import safe_file, sharded, state_of, torch_file
from tests.checkpoints.sources import PLAIN, clip_model, register


@dataclass(frozen=True, slots=True)
class Refusal:
    """A form that is refused.

    Attributes:
        title: as in the table of the docs.
        make: (folder) -> what `load_model` takes as name and pretrained; writes the files.
        says: regular expression of the error.
        advice: the same in the words of the table.
    """

    title: str
    make: Callable[[Path], tuple[str, str | None]]
    says: str
    advice: str


def raw(content: bytes, name: str = "weights.safetensors") -> Callable[[Path], tuple[str, str]]:
    def make(folder: Path) -> tuple[str, str]:
        (folder / name).write_bytes(content)
        return PLAIN, str(folder / name)

    return make


def cut(make: Callable[[Path], tuple[str, str]], share: float) -> Callable[[Path], tuple[str, str]]:
    def short(folder: Path) -> tuple[str, str]:
        name, path = make(folder)
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: int(share * len(content))])
        return name, path

    return short


def not_finite(value: float) -> Callable[[Path], tuple[str, str]]:
    def make(folder: Path) -> tuple[str, str]:
        state = {key: tensor.clone() for key, tensor in state_of().items()}
        state["visual.proj"][3, 4] = value
        return safe_file(folder, state)

    return make


def two_models(folder: Path) -> tuple[str, str]:
    return safe_file(folder, state_of(prefix="student.") | state_of(prefix="teacher."))


def one_shard(folder: Path) -> tuple[str, str]:
    sharded(folder)
    return PLAIN, str(folder / "model-00001-of-00003.safetensors")


def shard_gone(folder: Path) -> tuple[str, str]:
    name, index = sharded(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()
    return name, index


def hf_config(**config: object) -> Callable[[Path], tuple[str, None]]:
    def make(folder: Path) -> tuple[str, None]:
        (folder / "config.json").write_text(json.dumps(config))
        return f"local-dir:{folder}", None

    return make


def adapter_folder(folder: Path) -> tuple[str, None]:
    (folder / "config.json").write_text(clip_model().module.config.to_json_string())
    (folder / "adapter_config.json").write_text("{}")
    safe_file(folder, {"lora_A.weight": torch.ones(2, 2)}, "adapter_model.safetensors")
    return f"local-dir:{folder}", None


def other_architecture(folder: Path) -> tuple[str, str]:
    register()
    return "ViT-B-32", safe_file(folder, state_of())[1]


def bare_vision(folder: Path) -> tuple[str, str]:
    state = {k.removeprefix("vision_model."): v for k, v in clip_model().module.state_dict().items() if "vision_m" in k}
    return safe_file(folder, state)


def text_tower(folder: Path) -> tuple[str, str]:
    return safe_file(folder, {key: tensor for key, tensor in state_of().items() if not key.startswith("visual.")})


def not_square(folder: Path) -> tuple[str, str]:
    state = state_of()
    positions = state["visual.positional_embedding"]
    return safe_file(folder, state | {"visual.positional_embedding": torch.cat([positions, positions[:3]])})


def without_projection(folder: Path) -> tuple[str, str]:
    return safe_file(folder, {key: tensor for key, tensor in state_of().items() if key != "visual.proj"})


def arrays(folder: Path) -> tuple[str, str]:
    np.savez(folder / "weights.npz", a=np.ones(2))
    (folder / "weights.npz").rename(folder / "weights.pt")
    return PLAIN, str(folder / "weights.pt")


def lora(folder: Path) -> tuple[str, str]:
    return safe_file(
        folder, {"base_model.model.visual.transformer.resblocks.0.attn.out_proj.lora_A.weight": torch.ones(2)}
    )


def blocks(folder: Path) -> tuple[str, str]:
    return safe_file(folder, {"blocks.0.norm1.weight": torch.ones(2), "patch_embed.proj.weight": torch.ones(2)})


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 598641023\n"
OBJECT = pickle.dumps({"a": Image.new})

REFUSALS = (
    Refusal(
        "NaN in the weights",
        not_finite(float("nan")),
        r"finite, but got NaN or infinity in 1 tensors \(visual.proj\)",
        "take an earlier checkpoint",
    ),
    Refusal(
        "infinite weights", not_finite(float("inf")), "finite, but got NaN or infinity", "take an earlier checkpoint"
    ),
    Refusal(
        "objects that need pickle",
        raw(OBJECT, "code.pt"),
        r"code.pt to hold tensors only, but reading it needs pickle(.|\n)*save_file",
        "three lines that convert it",
    ),
    Refusal(
        "an object inside `torch.save`",
        lambda f: torch_file(f, {"a": Image.new("RGB", (2, 2))}, "object.pt"),
        r"object.pt to hold tensors only(.|\n)*weights_only=False(.|\n)*save_file",
        "three lines that convert it",
    ),
    Refusal("LoRA adapter", lora, r"1 tensors of a LoRA adapter .*merge_and_unload", "merge it first"),
    Refusal("folder with an adapter only", adapter_folder, "found none .only a LoRA adapter", "merge it first"),
    Refusal("text tower only", text_tower, "a text tower only; take the whole model", "take the whole model"),
    Refusal(
        "`CLIPVisionModel` without its projection",
        bare_vision,
        "CLIPVisionModelWithProjection",
        "take CLIPVisionModelWithProjection",
    ),
    Refusal("timm image model", blocks, "a timm image model, which has no text space", "take a CLIP"),
    Refusal(
        "weights of another architecture",
        other_architecture,
        r"weights of ViT-B-32, but got a safetensors file with an open_clip model, .* it fits form-vit",
        "names the architectures that fit",
    ),
    Refusal("a tensor is missing", without_projection, r"1 tensors are missing \(visual.proj\)", "names it"),
    Refusal(
        "two models in one file",
        two_models,
        "got 2, with names that begin with 'student.' and 'teacher.'",
        "save the one that is meant",
    ),
    Refusal("image positions that are no square grid", not_square, "a square grid, but got 19", "give a configuration"),
    Refusal("one shard of several", one_shard, r"one of 3 shards; load model.safetensors.index.json", "load the index"),
    Refusal("a missing shard", shard_gone, r"1 are missing: model-00002-of-00003", "names it"),
    Refusal(
        "safetensors, cut short",
        cut(lambda f: safe_file(f, state_of()), 0.6),
        "whole safetensors file, but got a damaged",
        "copy it again",
    ),
    Refusal(
        "PyTorch file, cut short",
        cut(lambda f: torch_file(f, state_of()), 0.6),
        "cut short or damaged",
        "copy it again",
    ),
    Refusal("Git LFS pointer", raw(LFS), "a pointer of Git LFS.*git lfs pull", "git lfs pull"),
    Refusal("web page saved as weights", raw(b"<!DOCTYPE html><html>"), "a web page", "download the file itself"),
    Refusal("empty file", raw(b""), "an empty file", "copy it again"),
    Refusal("zeros", raw(bytes(4096)), "begins with zeros", "copy it again"),
    Refusal("text", raw(b"not tensors at all"), "to be a checkpoint", "says so"),
    Refusal("NumPy arrays (big_vision)", arrays, "NumPy arrays", "take the PyTorch version"),
    Refusal(
        "optimizer state only",
        lambda f: torch_file(f, {"optimizer": {"lr": 0.1}, "epoch": 2}),
        "found no tensors in it, only: optimizer, epoch",
        "names the keys",
    ),
    Refusal("`Siglip2Model` (NaFlex) folder", hf_config(model_type="siglip2"), "NaFlex", "take a fixed-size SigLIP 2"),
    Refusal("`ChineseCLIPModel` folder", hf_config(model_type="chinese_clip"), "a ChineseCLIPModel", "says why"),
    Refusal(
        "a folder without a configuration",
        lambda f: (f"local-dir:{f}", None),
        r"open_clip_config\.json, or",
        "names both files",
    ),
)
