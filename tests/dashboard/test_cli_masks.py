"""`clip-theatre masks`: files, scores, and IoU with the object of a sample."""

import json

import numpy as np
from PIL import Image

from analysis.masks import from_coco_rle
from tests.dashboard.command import error_of, run


def test_masks_of_a_scene(tmp_path):
    done = run("masks", "toy-3", "--text", "a green ring, snow", "--device", "cpu", "--out", tmp_path)
    rows = json.loads((tmp_path / "toy-3_masks.json").read_text())
    assert {row["text"] for row in rows} == {"a green ring", "snow"}
    for number, row in enumerate(rows, start=1):
        mask = np.asarray(Image.open(tmp_path / f"toy-3_mask_{number}.png")) > 0
        assert (from_coco_rle(row["segmentation"]) == mask).all() and row["area"] == mask.sum() > 0
    assert (tmp_path / "toy-3_masks.png").stat().st_size > 5000
    assert 'toy-3, "a green ring": IoU 0.' in done.stderr + done.stdout


def test_wrong_commands(tmp_path):
    assert "above 0 and at most 1" in error_of("masks", "toy-3", "--text", "a", "--threshold", 0, code=2)
    line = error_of("masks", "toy-3", "--text", "a", "--sam", "nobody/none", "--out", tmp_path, code=1)
    assert "allow the download (--download)" in line
