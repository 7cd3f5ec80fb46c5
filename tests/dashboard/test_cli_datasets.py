"""`clip-theatre datasets` and `reproduce`."""

import json

from tests.dashboard.command import error_of, run
from tests.data import trees


def test_datasets_lists_every_kind_and_what_it_needs():
    table = run("datasets").stdout
    assert "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt" in table and "coco_panoptic" in table
    assert "gtFine/val/*/*_gtFine_labelTrainIds.png or gtFine/val/*/*_gtFine_labelIds.png" in table


def test_datasets_says_what_is_missing_and_what_makes_it(tmp_path):
    trees.voc(tmp_path)
    assert run("datasets", f"voc21:{tmp_path}", "--read").stdout.splitlines() == [
        "voc21: 2 images, 21 classes, with masks",
        "2 of 2 images are usable",
    ]
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").unlink()
    (line,) = run("datasets", f"voc21:{tmp_path}", code=1).stderr.splitlines()
    assert line.startswith("Missing: ") and line.endswith(f"tar -xf VOCtrainval_11-May-2012.tar -C {tmp_path}")
    assert "KIND:ROOT with a kind of voc20" in error_of("datasets", "nothing", code=1)
    assert "Expected KIND:ROOT with --read" in error_of("datasets", "--read", code=2)
    assert run("datasets", "toy:2").stdout.strip() == "toy: 2 images, 91 classes, with masks, captions"


def test_datasets_reads_all_and_says_what_cannot_be(tmp_path):
    trees.voc(tmp_path)
    home = tmp_path / "VOCdevkit/VOC2012"
    trees.mask(home / "SegmentationClass/2007_000033.png", 1, size=(5, 5))
    (home / "JPEGImages/2007_000042.jpg").write_bytes(b"")
    found = run("datasets", f"voc21:{tmp_path}", "--read", code=1)
    size, empty = found.stderr.splitlines()
    assert "2007_000033: the image is (20, 30) and its mask (5, 5)" in size and "2007_000042.jpg" in empty
    assert found.stdout.splitlines()[-1] == "0 of 2 images are usable"


def test_reproduce_writes_the_table(tmp_path):
    trees.voc(tmp_path)
    common = ("reproduce", "sclip", "--data", tmp_path, "--model", "toy", "--device", "cpu", "--out", tmp_path / "out")
    found = run(*common, "--sets", "voc20", "--limit", 1)
    assert found.stdout.startswith("| method | data set | published | measured")
    folder = tmp_path / "out" / "reproduce_sclip_toy"
    assert (folder / "table.md").read_text() == found.stdout
    (row,) = json.loads((folder / "table.json").read_text())
    assert row["data_set"] == "voc20" and row["measured"]["images"] == 1 and row["measured"]["low"] is None


def test_reproduce_refuses_what_it_does_not_know(tmp_path):
    start = ("reproduce", "sclip", "--data", tmp_path, "--model", "toy", "--out", tmp_path / "out")
    assert "of voc21, " in (line := error_of(*start, code=1)) and "to make it: tar -xf VOCtrainval" in line
    assert "Expected data_set to be one of voc21" in error_of(*start, "--sets", "voc", code=2)
    assert "Expected method to be one of clip, " in error_of("reproduce", "foo", "--data", tmp_path, code=2)
    assert not (tmp_path / "out").exists()
