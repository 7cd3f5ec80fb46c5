"""Tiny random Segment Anything models of all three generations, saved as transformers saves them."""

from pathlib import Path

import pytest
import torch

GENERATIONS = ("sam", "sam2", "sam3_tracker")
SIDE = 64


def save_tiny_sam(folder: Path, generation: str = "sam") -> Path:
    """Saves one into a folder; skips the test where transformers does not have it."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(
        transformers, {"sam": "SamModel", "sam2": "Sam2Model", "sam3_tracker": "Sam3TrackerModel"}[generation]
    ):
        pytest.skip(f"the installed transformers has no {generation}")
    torch.manual_seed(0)
    model, processor = {"sam": _sam, "sam2": _sam2, "sam3_tracker": _sam3}[generation](transformers)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _parts(patch: int) -> tuple[dict, dict]:
    prompt = {"hidden_size": 16, "image_size": SIDE, "patch_size": patch, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 16,
        "mlp_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    }
    return prompt, decoder


def _sam(transformers):
    prompt, decoder = _parts(8)
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "output_channels": 16,
        "num_pos_feats": 8,
        "global_attn_indexes": [0],
        "window_size": 4,
        "mlp_dim": 16,
    }
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    sizes = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}}
    masks = {"mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    processor = transformers.SamProcessor(transformers.SamImageProcessor(**sizes, **masks))
    return transformers.SamModel(config), processor


def _sam2(transformers):
    prompt, decoder = _parts(16)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 1, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [2, 2, 2, 2],
        "global_attention_blocks": [],
        "window_positional_embedding_background_size": [2, 2],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 16,
    }
    config = transformers.Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return transformers.Sam2Model(config), transformers.Sam2Processor(_processor(transformers.Sam2ImageProcessor))


def _sam3(transformers):
    prompt, decoder = _parts(16)
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 16,
        "window_size": 2,
        "global_attn_indexes": [0],
        "pretrain_image_size": SIDE,
    }
    vision = {
        "backbone_config": backbone,
        "fpn_hidden_size": 16,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }
    config = transformers.Sam3TrackerConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    kind = getattr(transformers, "Sam3ImageProcessor", None) or transformers.Sam2ImageProcessor
    return transformers.Sam3TrackerModel(config), transformers.Sam3TrackerProcessor(_processor(kind))


def _processor(kind):
    return kind(size={"height": SIDE, "width": SIDE}, mask_size={"height": 16, "width": 16})
