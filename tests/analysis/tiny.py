"""Traces of tiny towers of every kind with random weights."""

import open_clip.transformer as oct
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from surgery.towers import build_tower
from surgery.trace import Trace, record


def vit() -> nn.Module:
    """4 x 4 patches at 64 px, 3 blocks of 4 heads."""
    return oct.VisionTransformer(
        image_size=64, patch_size=16, width=64, layers=3, heads=4, mlp_ratio=2.0, output_dim=32
    )


def resnet() -> nn.Module:
    """3 x 3 patches at 96 px, and the attention pool of 4 heads as the only block."""
    return ModifiedResNet((1, 1, 1, 1), output_dim=32, heads=4, image_size=96, width=8)


def siglip() -> nn.Module:
    """4 x 4 patches at 64 px, no CLS token, 3 blocks of 4 heads, pooled by a learned query."""
    visual = TimmModel.__new__(TimmModel)  # its constructor builds only the full-size models that timm knows by name
    nn.Module.__init__(visual)
    visual.trunk = VisionTransformer(
        img_size=64, embed_dim=64, depth=3, num_heads=4, class_token=False, global_pool="map", num_classes=0
    )
    visual.head = nn.Sequential()
    return visual


def registers() -> nn.Module:
    """4 x 4 patches at 64 px behind CLS and two registers, 3 blocks of 4 heads."""
    visual = siglip()
    visual.trunk = VisionTransformer(img_size=64, embed_dim=64, depth=3, num_heads=4, reg_tokens=2, num_classes=0)
    return visual


TOWERS = {"vit": (vit, 64), "resnet": (resnet, 96), "siglip": (siglip, 64), "registers": (registers, 64)}
"""Constructor and image side in pixels."""


def trace_of(name: str, images: int = 2, dtype: torch.dtype = torch.float32) -> Trace:
    """A recorded pass of one of `TOWERS` over random images."""
    torch.manual_seed(0)
    build, side = TOWERS[name]
    pixels = torch.randn(images, 3, side, side, dtype=dtype)
    return record(build_tower(build().eval().to(dtype)), pixels, model=name)
