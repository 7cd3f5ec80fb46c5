"""From maps to points to masks: objects apart, the random walker, Segment Anything with tiny random weights, RLE."""

import json

import numpy as np
import pytest

from analysis.masks import (
    box_of,
    coco_rle,
    from_coco_rle,
    mask_iou,
    masks_of_map,
    object_points,
    random_walker_masks,
    write_rle,
)
from analysis.segment_anything import is_here, is_installed, load_segment_anything
from surgery import PromptPoints
from tests.hub import go_online, serve
from tests.tiny_sam import GENERATIONS, save_tiny_sam

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


@pytest.fixture(scope="module", params=GENERATIONS)
def tiny_sam(tmp_path_factory, request):
    return save_tiny_sam(tmp_path_factory.mktemp(request.param), request.param)


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
    objects = masks_of_map(rgb, MAP, segmenter=sam, boxes=True)
    assert [found.points.labels.sum() for found in objects] == [1, 3] and objects[1].box == (10, 10, 30, 30)


def test_from_a_map_to_masks_without_a_model():
    rgb, truth = _square()
    map_ = np.zeros((6, 8))
    map_[2:4, 3:6] = 1
    (found,) = masks_of_map(rgb, map_)
    assert mask_iou(found.best, truth) > 0.9 and found.points.labels.sum() == 6
    assert masks_of_map(rgb, np.ones((6, 8))) == []


def test_weights_come_from_the_hub_on_consent(tmp_path, monkeypatch):
    folder = save_tiny_sam(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    rgb, _ = _square()
    with serve({"org/sam": files, "org/gated": files}) as hub:
        go_online(monkeypatch, hub.address, tmp_path / "cache")
        assert is_installed() and not is_here("org/sam")
        with pytest.raises(FileNotFoundError, match="allow the download"):
            load_segment_anything("org/sam")
        told = []
        found = load_segment_anything("org/sam", download=True, report=lambda *what: told.append(what)).masks(
            rgb, box=(10, 10, 40, 40)
        )
        assert found.masks.shape == (3, 60, 80) and told and is_here("org/sam")
        hub.breaks("gated")
        with pytest.raises(OSError, match="org/gated is gated; ask for access"):
            load_segment_anything("org/gated", download=True, report=lambda *what: None)


def test_a_model_that_is_not_here_and_a_folder_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json is not here; allow the download \(--download\)"):
        load_segment_anything("nobody/sam-that-is-not-there")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="to hold a Segment Anything model"):
        load_segment_anything(str(tmp_path))
