"""The forms of checkpoints that load: each is made from a small source model, and has to give the source's features."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.checkpoints.sources import (
    CLIP_CONFIG,
    CUSTOM,
    PLAIN,
    QUICK,
    RESNET,
    RESNET_QUICK,
    Source,
    clip_model,
    siglip_model,
    source,
)

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Form:
    """A form of checkpoint.

    Attributes:
        title: as in the table of the docs.
        make: (folder) -> what `load_model` takes as name and pretrained; writes the files.
        of: the source model.
        options: further arguments of `load_model`.
        image_only: whether there is no text to compare.
        note: what the table says beside it.
    """

    title: str
    make: Callable[[Path], tuple[str, str | None]]
    of: Callable[[], Source] = source
    options: dict[str, Any] = field(default_factory=lambda: {"activation": "gelu"})
    image_only: bool = False
    note: str = ""


def state_of(of: Callable[[], Source] = source, prefix: str = "") -> State:
    return {prefix + key: tensor.contiguous() for key, tensor in of().module.state_dict().items()}


def torch_file(folder: Path, content: object, name: str = "weights.pt", architecture: str = PLAIN) -> tuple[str, str]:
    torch.save(content, folder / name)
    return architecture, str(folder / name)


def safe_file(folder: Path, state: State, name: str = "weights.safetensors") -> tuple[str, str]:
    save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, folder / name)
    return PLAIN, str(folder / name)


# ---- OpenAI


def quick_half() -> Source:
    return source(QUICK, torch.float16)


def resnet_quick() -> Source:
    return source(RESNET_QUICK, torch.float16)


def openai_state(of: Callable[[], Source]) -> State:
    numbers = {"input_resolution": 32, "context_length": 20, "vocab_size": 49408}
    half = {k: t.half() if t.is_floating_point() else t for k, t in state_of(of).items()}
    return half | {key: torch.tensor(value) for key, value in numbers.items()}


def openai_archive(folder: Path) -> tuple[str, str]:
    """As the `clip` package keeps it: a TorchScript archive in float16 with three numbers among its buffers."""
    import copy

    clip = copy.deepcopy(quick_half().module)
    for key, value in {"input_resolution": 32, "context_length": 20, "vocab_size": 49408}.items():
        if hasattr(clip, key):
            delattr(clip, key)
        clip.register_buffer(key, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(clip).half(), folder / "ViT.pt")
    return PLAIN, str(folder / "ViT.pt")


def openai_dict(folder: Path) -> tuple[str, str]:
    return torch_file(folder, openai_state(quick_half))


# ---- Hugging Face


def hf_folder(of: Callable[[], Source], **options: Any) -> Callable[[Path], tuple[str, None]]:
    def make(folder: Path) -> tuple[str, None]:
        of().module.save_pretrained(folder, **options)
        return f"local-dir:{folder}", None

    return make


def clip_gelu() -> Source:
    return clip_model("gelu")


def long_clip_model() -> Source:
    return clip_model("quick_gelu", 248)


def hf_vision(folder: Path) -> tuple[str, None]:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    whole = clip_model().module
    config = CLIPVisionConfig(**whole.config.vision_config.to_dict() | {"projection_dim": 24})
    vision = CLIPVisionModelWithProjection(config)
    vision.load_state_dict({k: v for k, v in whole.state_dict().items() if k in vision.state_dict()})
    vision.save_pretrained(folder)
    return f"local-dir:{folder}", None


# ---- training


def training(folder: Path) -> tuple[str, str]:
    clip = source().module
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))])
    run = {"epoch": 3, "name": "2024_05_01-model_form-vit-lr_0.001", "optimizer": optimizer.state_dict()}
    return torch_file(folder, run | {"state_dict": {f"module.{k}": v for k, v in clip.state_dict().items()}})


def training_quick(folder: Path) -> tuple[str, str]:
    state = {f"module.{k}": v for k, v in source(QUICK).module.state_dict().items()}
    return torch_file(folder, {"epoch": 1, "name": "model_ViT-B-32-quickgelu-lr_0.1", "state_dict": state})


def lightning(folder: Path) -> tuple[str, str]:
    content = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state_of(prefix="model.") | {"loss.weight": torch.ones(2)},
        "hyper_parameters": {"lr": 0.1, "model_name": "ViT"},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    return torch_file(folder, content, "epoch=1.ckpt")


def wrapped(key: str, prefix: str) -> Callable[[Path], tuple[str, str]]:
    return lambda folder: torch_file(folder, {key: state_of(prefix=prefix), "step": 4}, "weights.pth")


def compiled_inside(folder: Path) -> tuple[str, str]:
    state = {k.replace("visual.", "visual._orig_mod.", 1): v for k, v in state_of().items()}
    return torch_file(folder, state)


def merged_lora(folder: Path) -> tuple[str, str]:
    """As peft leaves it after `merge_and_unload`, and after one that was saved with the wrapper."""
    return safe_file(folder, state_of(prefix="base_model.model."))


# ---- files in parts, towers on their own, other precisions


def sharded(folder: Path) -> tuple[str, str]:
    state = state_of()
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    weight_map = {key: names[i % 3] for i, key in enumerate(state)}
    for name in names:
        safe_file(folder, {key: state[key] for key in state if weight_map[key] == name}, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return PLAIN, str(index)


def image_tower(prefix: str) -> Callable[[Path], tuple[str, str]]:
    def make(folder: Path) -> tuple[str, str]:
        state = {k: v for k, v in state_of().items() if k.startswith("visual.")}
        return safe_file(folder, {prefix + k.removeprefix("visual."): v for k, v in state.items()})

    return make


def rounded(dtype: torch.dtype) -> tuple[Callable[[], Source], Callable[[Path], tuple[str, str]]]:
    def of() -> Source:
        return source(PLAIN, dtype)

    return of, lambda folder: safe_file(folder, {k: v.to(dtype) for k, v in state_of(of).items()})


# ---- other sizes and layouts


def long_text() -> Source:
    return source(context=248)


def fine_tune_48() -> Source:
    return source(size_px=48)


def long_clip(folder: Path) -> tuple[str, str]:
    """Long-CLIP keeps two tables; what is not used of either is noise here."""
    state = state_of(long_text)
    whole = state.pop("positional_embedding")
    first, later = torch.randn_like(whole), torch.randn_like(whole)
    first[:20], later[20:] = whole[:20], whole[20:]
    return torch_file(folder, state | {"positional_embedding": first, "positional_embedding_res": later})


def custom() -> Source:
    return source(CUSTOM)


def more_words(folder: Path) -> tuple[str, str]:
    state = state_of()
    table = state["token_embedding.weight"]
    return safe_file(folder, state | {"token_embedding.weight": torch.cat([table, torch.ones(3, table.shape[1])])})


def with_bias(folder: Path) -> tuple[str, str]:
    return safe_file(folder, state_of() | {"logit_bias": torch.tensor([-10.0])})


def open_clip_folder(folder: Path) -> tuple[str, None]:
    """With an adapter and a `model.safetensors` of something else beside the weights."""
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP_CONFIG}))
    safe_file(folder, {"lora_A.weight": torch.ones(2, 2)}, "adapter_model.safetensors")
    safe_file(folder, {"classifier.weight": torch.ones(2, 2)}, "model.safetensors")
    safe_file(folder, state_of(), "open_clip_model.safetensors")
    return f"local-dir:{folder}", None


HALF, BRAIN = rounded(torch.float16), rounded(torch.bfloat16)
NO_OPTIONS: dict[str, Any] = {}

FORMS = (
    Form("OpenAI's TorchScript `.pt`, fp16", openai_archive, quick_half, NO_OPTIONS, note="its code is not run"),
    Form("`state_dict()` of it, three numbers among the weights", openai_dict, quick_half, NO_OPTIONS),
    Form("Hugging Face `CLIPModel` folder, QuickGELU", hf_folder(clip_model), clip_model, NO_OPTIONS),
    Form("Hugging Face `CLIPModel` folder, GELU", hf_folder(clip_gelu), clip_gelu, NO_OPTIONS),
    Form(
        "Hugging Face `CLIPModel` folder, sharded", hf_folder(clip_model, max_shard_size="2MB"), clip_model, NO_OPTIONS
    ),
    Form("Hugging Face `CLIPModel` of 248 tokens", hf_folder(long_clip_model), long_clip_model, NO_OPTIONS),
    Form("Hugging Face `SiglipModel` folder", hf_folder(siglip_model), siglip_model, NO_OPTIONS),
    Form("Hugging Face `CLIPVisionModelWithProjection` folder", hf_vision, clip_model, NO_OPTIONS, image_only=True),
    Form("open_clip training checkpoint", training),
    Form("open_clip training checkpoint of a `-quickgelu` run", training_quick, lambda: source(QUICK), NO_OPTIONS),
    Form("Lightning `.ckpt`, with a loss beside the model", lightning, note="warns of what is left out"),
    Form("`{'model': ...}`, prefix `module.`", wrapped("model", "module.")),
    Form("`{'model_state_dict': ...}`, prefix `clip.`", wrapped("model_state_dict", "clip.")),
    Form("`{'state_dict': ...}`, prefix `_orig_mod.module.`", wrapped("state_dict", "_orig_mod.module.")),
    Form("`{'state_dict': ...}`, prefix `model.clip_model.`", wrapped("state_dict", "model.clip_model.")),
    Form("`torch.compile`d image tower inside", compiled_inside),
    Form("merged LoRA, prefix `base_model.model.`", merged_lora),
    Form("sharded safetensors with their index", sharded),
    Form("image tower only, `visual.*`", image_tower("visual."), image_only=True),
    Form("image tower only, saved on its own", image_tower(""), image_only=True),
    Form("fp16 safetensors", HALF[1], HALF[0]),
    Form("bf16 safetensors", BRAIN[1], BRAIN[0]),
    Form(
        "text context of 248 positions", lambda f: safe_file(f, state_of(long_text)), long_text, note="at its own size"
    ),
    Form("Long-CLIP's two tables of positions", long_clip, long_text, note="at its own size"),
    Form(
        "image grid of 6 x 6 for 4 x 4",
        lambda f: safe_file(f, state_of(fine_tune_48)),
        fine_tune_48,
        note="at its own size",
    ),
    Form("text tower of its own (`text.*`)", lambda f: safe_file(f, state_of(custom)), custom),
    Form("three more words in the vocabulary", more_words),
    Form("a CLIP trained with a logit bias", with_bias),
    Form(
        "ResNet, OpenAI's `state_dict()`",
        lambda f: torch_file(f, openai_state(resnet_quick), architecture=RESNET),
        resnet_quick,
        NO_OPTIONS,
    ),
    Form("open_clip folder, other files beside the weights", open_clip_folder, options=NO_OPTIONS),
)
