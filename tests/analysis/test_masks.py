"""From maps to points to masks: objects apart, the random walker, Segment Anything with tiny random weights, RLE."""

import json

import numpy as np
import pytest
import torch

from analysis.masks import box_of, coco_rle, from_coco_rle, mask_iou, object_points, random_walker_masks, write_rle
from analysis.segment_anything import load_segment_anything
from surgery import PromptPoints

MAP = np.zeros((6, 8))
MAP[1:3, 1:3], MAP[4, 6], MAP[0, 7] = 0.9, 1.0, -1.0


def test_cells_that_do_not_touch_are_objects_apart():
    small, large = object_points(MAP, (60, 80), 0.8)
    assert small.labels.tolist() == [1, 0] and small.xy.tolist() == [[65, 45], [75, 5]]
    assert large.labels.tolist() == [1, 1, 1, 0, 0, 0] and set(map(tuple, large.xy[:3])) <= {
        (15, 15), (25, 15), (15, 25), (25, 25),
    }  # fmt: skip
    everything = object_points(MAP, (60, 80), 0.8, per_object=None, background=0.4)[1]
    assert everything.labels.sum() == 4 and (everything.labels == 0).sum() == 1
    assert object_points(np.ones((3, 3)), (30, 30)) == []
    assert len(object_points(MAP, (60, 80), 1.0, floor=0.0)) == 1


def test_a_floor_comes_before_the_map_is_brought_to_its_range():
    values = np.array([[0.1, 0.2], [0.28, 0.3]])
    raised = object_points(values, (20, 20), 0.8, floor=0.27, background=0.0)[0]
    assert (raised.labels == 0).sum() == 2  # both lowest cells are at the floor
    with pytest.raises(ValueError, match="above 0 and at most 1, but got 0"):
        object_points(values, (20, 20), 0)
    with pytest.raises(ValueError, match="finite"):
        object_points(np.full((2, 2), np.nan), (20, 20))


def _square():
    rgb = np.full((60, 80, 3), 200, np.uint8)
    rgb[20:40, 30:60] = (200, 20, 20)
    truth = np.zeros((60, 80), bool)
    truth[20:40, 30:60] = True
    return rgb, truth


def test_the_walker_stops_where_colours_change():
    rgb, truth = _square()
    points = PromptPoints(np.array([[45, 30], [5, 5], [75, 55]]), np.array([1, 0, 0]))
    found = random_walker_masks(rgb, points)
    assert found.masks.shape == (3, 60, 80) and (np.diff(found.scores) <= 0).all()
    assert mask_iou(found.best, truth) > 0.9 and found.source == "random walker"
    assert mask_iou(random_walker_masks(rgb, box=box_of(truth)).best, truth) > 0.8
    with pytest.raises(ValueError, match="points on the object and points"):
        random_walker_masks(rgb, PromptPoints(np.array([[45, 30]]), np.array([1])))
    with pytest.raises(ValueError, match="points or a box, but got neither"):
        random_walker_masks(rgb)


def test_run_lengths_and_boxes():
    _, truth = _square()
    assert (from_coco_rle(json.loads(json.dumps(coco_rle(truth)))) == truth).all()
    assert box_of(truth) == (30, 20, 60, 40)
    (row,) = json.loads(write_rle([("a", truth, 0.5)]))
    assert row["area"] == 600 and row["bbox"] == [30, 20, 30, 20]
    assert mask_iou(truth, ~truth) == 0 and mask_iou(truth, truth, valid=truth) == 1
    with pytest.raises(ValueError, match="one size"):
        mask_iou(truth, truth[1:])


@pytest.fixture(scope="module")
def tiny_sam(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("sam")
    vision = transformers.SamVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=8, output_channels=16,
        num_pos_feats=8, global_attn_indexes=[0], window_size=4, mlp_dim=16,
    )  # fmt: skip
    from transformers.models.sam.configuration_sam import SamMaskDecoderConfig, SamPromptEncoderConfig

    prompt = SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=16
    )
    parts = {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": decoder}
    config = transformers.SamConfig(**{name: part.to_dict() for name, part in parts.items()})
    torch.manual_seed(0)
    transformers.SamModel(config).save_pretrained(folder)
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    masks = {"mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    transformers.SamProcessor(transformers.SamImageProcessor(**sizes, **masks)).save_pretrained(folder)
    return folder


def test_segment_anything_takes_points_and_boxes(tiny_sam):
    sam = load_segment_anything(str(tiny_sam))
    rgb, truth = _square()
    points = PromptPoints(np.array([[45, 30], [5, 5]]), np.array([1, 0]))
    for prompts in ({"points": points}, {"box": box_of(truth)}, {"points": points, "box": box_of(truth)}):
        found = sam.masks(rgb, **prompts)
        assert found.masks.shape == (3, 60, 80) and found.masks.dtype == bool
        assert (np.diff(found.scores) <= 0).all() and found.source == str(tiny_sam)
    with pytest.raises(ValueError, match="points or a box, but got neither"):
        sam.masks(rgb)


def test_a_model_that_is_not_here_and_a_folder_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json is not here; allow the download \(--download\)"):
        load_segment_anything("nobody/sam-that-is-not-there")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="to hold a Segment Anything model"):
        load_segment_anything(str(tmp_path))
