"""`clip-theatre sweep`: its table is that of the API; early stops and broken folders lose nothing that is done."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.sweep import COLUMNS, SweepGrid, iterate_sweep, sweep_table
from dashboard.cli import sweep_files
from dashboard.cli.sweep import TOY_SEED, parse_numbers
from data.datasets import ToyScenes
from surgery import load_model
from tests.dashboard.command import error_of, run, visible
from tests.tiny import picture

SMALL = ["--kinds", "qk,vv", "--alphas", "1,2", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path):
    """Three images of which the last has no mask."""
    root = tmp_path / "data"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("0\tbackground\n1\tcat\n")
    for index in range(3):
        picture(index).save(root / "images" / f"{index}.png")
    mask = np.zeros((60, 90), np.uint8)
    mask[10:50, 20:70] = 1
    for index in range(2):
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    return root


def test_table_is_that_of_the_api(tmp_path):
    run("sweep", "toy", "--limit", "3", "--blocks", "1,5", "--mlp", "no,yes", *SMALL, "--out", tmp_path)
    assert visible(tmp_path) == ["toy_sweep.html", "toy_sweep.json", "toy_sweep.parquet", "toy_sweep.png"]
    table = pd.read_parquet(tmp_path / "toy_sweep.parquet")
    grid = SweepGrid(kinds=("qk", "vv"), alpha=(1.0, 2.0), blocks=(1, 5), mlp=(False, True))
    model = load_model("toy", device="cpu")
    expected = sweep_table(iterate_sweep(model, list(ToyScenes(3, TOY_SEED)), grid))
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, atol=1e-6)
    assert Image.open(tmp_path / "toy_sweep.png").format == "PNG"
    settings = json.loads((tmp_path / "toy_sweep.json").read_text())
    assert settings["complete"] and settings["data"]["images"] == 3 and settings["data"]["rows"] == len(table)
    assert settings["grid"]["blocks"] == [1, 5]


def test_a_broken_image_is_skipped_and_ends_with_1(folder, tmp_path):
    result = run("sweep", folder, *SMALL, "--out", tmp_path / "o", code=1)
    assert "Skipped: 2: " in result.stderr
    table = pd.read_parquet(tmp_path / "o" / "data_sweep.parquet")
    assert tuple(table.columns) == COLUMNS and set(table["image"]) == {"0", "1"}
    (skip,) = json.loads((tmp_path / "o" / "data_sweep.json").read_text())["skipped"]
    assert skip["image"] == "2" and skip["text"] is None


def test_the_toy_says_what_of_a_folder_it_has_not_seen(folder, tmp_path):
    result = run("sweep", folder, "--limit", "2", *SMALL, "--out", tmp_path / "o")
    assert "mean nothing for the images 0.png, 1.png and the word cat" in result.stderr
    assert "Note: " not in run("sweep", "toy", "--limit", "1", *SMALL, "--out", tmp_path / "o").stderr


def test_kinds_are_written_as_they_are_given(tmp_path):
    run("sweep", "toy", "--limit", "1", "--kinds", "qk,identity", "--alphas", "1,2", "--out", tmp_path)
    page = (tmp_path / "toy_sweep.html").read_text().rpartition("</script>")[0][-200_000:]
    assert "q-k" in page and "identity" in page  # as on the pages
    for text in ((tmp_path / "toy_sweep.json").read_text(), run("sweep", "--help").stdout):
        assert "qk" in text and "identity" in text
        assert "q-k" not in text and "value only" not in text


def test_interrupt_keeps_the_images_that_are_done(folder, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        rows = iterate_sweep(*arguments, **options)
        for index, row in enumerate(rows):
            if index == 9:  # 6 points an image, so in the middle of the second one
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(sweep_files, "iterate_sweep", interrupted)
    result = run("sweep", folder, *SMALL, "--out", tmp_path / "o", code=130)
    assert "Interrupted: only the first 1 images" in result.stderr
    table = pd.read_parquet(tmp_path / "o" / "data_sweep.parquet")
    assert set(table["image"]) == {"0"} and len(table) == 6
    assert not json.loads((tmp_path / "o" / "data_sweep.json").read_text())["complete"]


def test_interrupt_before_the_first_image_writes_nothing(folder, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_files, "iterate_sweep", interrupted)
    result = run("sweep", folder, *SMALL, "--out", tmp_path / "o", code=130)
    assert "Interrupted: nothing was written" in result.stderr
    assert not (tmp_path / "o").exists()


def test_without_a_line_over_alpha_there_is_no_figure(tmp_path):
    options = ["--kinds", "qk", "--alphas", "1", "--residuals", "0.5", "--limit", "1", "--out", tmp_path]
    run("sweep", "toy", *options)
    assert {"toy_sweep.parquet", "toy_sweep.json"} <= set(visible(tmp_path))


def test_real_data(tmp_path, shared):
    data = shared / "data" / "coco_pan200"
    run("sweep", data, "--limit", "2", *SMALL, "--out", tmp_path)
    assert len(pd.read_parquet(tmp_path / "coco_pan200_sweep.parquet")) > 0


def test_numbers():
    assert parse_numbers("1,6", "--blocks", whole=True) == (1, 6)
    assert parse_numbers("0.1:0.5:0.1", "--alphas") == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert parse_numbers("2:2:1", "--alphas") == (2.0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alphas", "a"], "Expected --alphas to be numbers such as 1,6 or first:last:step, but got 'a'"),
        (["--alphas", "1:2"], "Expected --alphas to be numbers"),
        (["--alphas", "1:2:0"], "Expected --alphas to be numbers"),
        (["--alphas", "2:1:1"], "Expected --alphas to be numbers"),
        (["--alphas", "0:1:0.00001"], "Expected --alphas to be numbers"),
        (["--alphas", "inf"], "Expected alpha to be a finite number"),
        (["--blocks", "1.5"], "Expected --blocks to be whole numbers"),
        (["--blocks", "99"], "Expected blocks to be from 1 to 6"),
        (["--blocks", "0"], "Expected blocks to be a whole number of at least 1"),
        (["--mlp", "maybe"], "Expected --mlp to be no, yes or no,yes"),
        (["--kinds", "xx"], "Expected attention to be one of qk"),
        (["--templates", "poetry"], "Expected templates to be one of none"),
        (["--limit", "0"], "--limit"),
        (["--size", "17"], "Expected size to be a multiple of the patch"),
    ],
)
def test_wrong_commands_are_one_line(options, message):
    assert message in error_of("sweep", "toy", *options, code=2)


def test_folders_that_are_none(tmp_path):
    assert "is missing" in error_of("sweep", tmp_path / "nowhere", code=1)
    assert "Expected masks_dir to start with 'masks'" in error_of("sweep", tmp_path, "--masks", "labels", code=2)
