"""What a block is: one view on the image towers of open_clip that can be operated on.

    VitTower, CocaTower   open_clip's own VisionTransformer, and with CoCa's attentional pooler
    ResnetTower           ModifiedResNet: the attention pool is the only block
    TimmTower, MapTower   timm's VisionTransformer, Eva and NaFlexVit; with an attention pool (SigLIP, PE-Core)
    LastLayerTower        ConvNeXt, FastViT, Swin: no blocks over all tokens, the last feature map alone

Every tower is a list of `Block`s between `embed` and `readout`. Nothing of the model is changed or copied: the towers
hold references to its modules and call them. Knowledge of open_clip's and timm's attributes stays in this package and
in `surgery.blocks`.
"""

import open_clip.transformer as oct
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import nn

from surgery.blocks import unsupported, unwrap
from surgery.towers.base import Reading, Tower, check_kind
from surgery.towers.last_layer import LastLayerTower
from surgery.towers.openai import CocaTower, ResnetTower, VitTower
from surgery.towers.positions import interpolate_positions
from surgery.towers.timm_vit import TRUNKS, MapTower, TimmTower

__all__ = [
    "FAMILIES",
    "CocaTower",
    "LastLayerTower",
    "MapTower",
    "Reading",
    "ResnetTower",
    "TimmTower",
    "Tower",
    "VitTower",
    "build_tower",
    "check_kind",
    "interpolate_positions",
]

FAMILIES: dict[str, str] = {
    "vit": "ViT",
    "coca": "CoCa",
    "resnet": "ResNet",
    "map": "SigLIP",
    "naflex": "NaFlex",
    "eva": "EVA",
    "pe": "PE",
    "hybrid": "ViT on convolutions",
    "timm": "ViT of timm",
    "last layer": "last layer only",
}
"""Kinds of towers and how pages and tables write them."""


def build_tower(visual: nn.Module) -> Tower:
    """The tower that operates on an open_clip image encoder (`clip.visual`).

    Raises:
        ValueError: the encoder cannot be operated on; the message says why and what is supported.
    """
    visual = unwrap(visual)
    if isinstance(visual, oct.VisionTransformer):
        return VitTower(visual) if visual.attn_pool is None else CocaTower(visual)
    if isinstance(visual, ModifiedResNet):
        return ResnetTower(visual)
    if not isinstance(visual, TimmModel):
        raise unsupported(f"an image tower of type {type(visual).__name__}")
    if type(visual.trunk) in TRUNKS:
        return (TimmTower if visual.trunk.attn_pool is None else MapTower)(visual)
    return LastLayerTower(visual)
