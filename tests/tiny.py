"""Small random models of every kind of tower, built through the public loader."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import open_clip
import torch
from PIL import Image

from surgery import Model, load_model

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT = {"image_size": 48, "layers": 4, "width": 32, "head_width": 8, "patch_size": 8}

CONFIGS = {
    "tiny-vit": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "tiny-vit-scaled": {
        "embed_dim": 24,
        "vision_cfg": {**VIT, "ls_init_value": 0.3, "qk_norm": True},
        "text_cfg": TEXT,
    },
    "tiny-vit-average": {
        "embed_dim": 24,
        "vision_cfg": {**VIT, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": TEXT,
    },
    "tiny-vit-deep": {"embed_dim": 24, "vision_cfg": {**VIT, "layers": 12}, "text_cfg": TEXT},
    "tiny-rn": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    },
}
TOWERS = ("tiny-vit", "tiny-vit-scaled", "tiny-vit-average", "tiny-rn", "tiny-map")


@cache
def tiny_model(name: str, precision: str = "fp32") -> Model:
    """One of `TOWERS`, filled with random numbers large enough that no part of it is negligible."""
    clip = _tiny_map() if name == "tiny-map" else _registered(name)
    return Model(name, None, clip.to(torch.float64 if precision == "fp64" else torch.float32), torch.device("cpu"))


def picture(seed: int = 0) -> Image.Image:
    """A picture of coarse random colours, the same for the same seed."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((90, 60), Image.Resampling.BICUBIC)


def register(name: str) -> None:
    """Makes the configuration known to open_clip, as a user's own would be."""
    path = Path(mkdtemp()) / f"{name}.json"
    path.write_text(json.dumps(CONFIGS[name]))
    open_clip.add_model_config(path)


def _registered(name: str) -> torch.nn.Module:
    register(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # CLS tokens keep a part of what they were made with
        return shaken(load_model(name, "random", device="cpu").clip)


def _tiny_map() -> torch.nn.Module:
    """A SigLIP of two small blocks: open_clip's timm adapter around a small timm VisionTransformer."""
    from timm.models.vision_transformer import VisionTransformer

    register("tiny-vit")
    clip = load_model("tiny-vit", "random", device="cpu").clip
    adapter = open_clip.timm_model.TimmModel("vit_tiny_patch16_224", 32, 64, pool="avg", proj="none")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 0}
    adapter.trunk = VisionTransformer(**sizes, class_token=False, global_pool="map")
    adapter.head = torch.nn.Sequential()
    clip.visual = adapter
    open_clip.model.set_model_preprocess_cfg(clip, {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 32})
    return shaken(clip)


def shaken(clip: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in clip.named_parameters():
            if parameter.ndim < 2 and "logit" not in name:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        for parameter in clip.parameters():
            if parameter.ndim >= 2:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
    return clip.eval()
