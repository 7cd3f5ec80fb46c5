"""Commands and what nobody meant to give them: names, texts and files, Ctrl-C, and pictures of other shapes."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import Region
from data.geometry import Framing
from data.images import load_image
from data.store import to_csv, write_json, write_table, write_together
from surgery import METHODS, dense_features, load_model, similarity
from tests.dashboard.command import error_of, run, run_maps, visible
from tests.tiny import picture


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture().save(path)
    return path


def test_ctrl_c_while_files_are_written_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dashboard.cli.diagnosis_files.write_table", interrupted)  # after the picture and the page
    arguments = ("diagnose", "toy-3", "--text", "a green ring", "--no-ablate", "--device", "cpu")
    result = run(*arguments, "--out", tmp_path / "o", code=130)
    assert "Interrupted: nothing was written." in result.stderr and visible(tmp_path / "o") == []


def test_a_name_too_long_for_its_files_does_not_stop_the_others(tmp_path: Path, photo: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    photo.rename(folder / f"{'a' * 250}.png")
    picture(1).save(folder / "b.png")
    result = run_maps(folder, "--text", "snow", "--method", "clip", out=tmp_path / "o", code=1)
    assert visible(tmp_path / "o") == ["b_maps.json", "b_maps.npz", "b_maps.png"]
    assert "File name too long" in result.stderr and "1 image done" in result.stderr and "1 failed" in result.stderr


def test_bytes_that_are_no_text_are_a_wrong_command(tmp_path: Path) -> None:
    for command in (["maps", "toy-0"], ["diagnose", "toy-0"]):
        said = error_of(*command, "--text", "a \udcff cat", "--out", tmp_path, code=2)
        assert "Expected --text to be Unicode text, but got 'a \\\\udcff cat'" in said


@pytest.mark.parametrize("name", ["a\x1b[2Jb.png", "two\nlines.png", "no\udcffutf.png"])
def test_names_of_files_are_written_and_never_obeyed(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    picture().save(tmp_path / "plain.png")
    os.rename(tmp_path / "plain.png", os.fsencode(inside / name))
    (inside / os.fsencode(f"bad {name}").decode(errors="surrogateescape")).write_text("no picture")
    result = run_maps(inside, "--text", "snow", "--method", "clip", out=tmp_path / "o", code=1)
    assert "\x1b" not in result.stderr and "\udcff" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 3 and "1 image done" in result.stderr
    (path,) = (tmp_path / "o").glob("*.json")
    assert json.loads(path.read_text())["image"]["name"].isprintable()


def test_of_many_failures_the_first_are_listed(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"{index:02}.png").write_text("none")
    said = run_maps(tmp_path, "--text", "snow", "--method", "clip", out=tmp_path / "o", code=1).stderr
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 21 and errors[-1] == "Error: 10 more" and "30 failed" in said


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "nan,0,9,9", "0,0,inf,9", "0,0,1e999,9"])
def test_boxes_that_are_none_are_wrong_commands(tmp_path: Path, box: str) -> None:
    said = error_of("diagnose", "toy-0", "--text", "x", "--box", box, "--out", tmp_path, code=2)
    assert f"Expected --box to be x0,y0,x1,y1 in pixels, but got '{box}'" in said


def test_a_pipe_is_neither_an_image_nor_a_cached_text(tmp_path: Path) -> None:
    from surgery.text_cache import TextCache

    os.mkfifo(tmp_path / "pipe.png")
    assert "a folder or a device" in run_maps(tmp_path / "pipe.png", "--text", "x", out=tmp_path, code=1).stderr
    cache = TextCache(tmp_path, "", np.dtype("<f4"))
    cache.path("x").parent.mkdir()
    os.mkfifo(cache.path("x"))
    assert cache.load("x") is None


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_spreadsheet_does_not_run_cells(cell: str, tmp_path: Path) -> None:
    table = pd.DataFrame({cell: [cell], "n": [-0.5], "texts": ["-0.5"], "plain": ["a = b"]})
    write_table(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_bytes() == to_csv(table)
    back = pd.read_csv(tmp_path / "a.csv")
    assert back.columns[0] == back.iloc[0, 0] == f"'{cell}".replace("\r", "\n")
    assert back.iloc[0, 1:].tolist() == [-0.5, -0.5, "a = b"]
    assert table.iloc[0, 0] == cell  # the table itself is as it was


def test_signed_numbers_stay_numbers() -> None:
    table = pd.DataFrame({"text": ["-1", "+2.5e-3", "-.5", "-", "-1a"], "value": [-1.0, 2.0, -3.0, 4.0, np.nan]})
    assert to_csv(table).decode().splitlines()[1:] == ["-1,-1.0", "+2.5e-3,2.0", "-.5,-3.0", "'-,4.0", "'-1a,"]


def test_half_a_surrogate_pair_is_an_escape_of_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "a\udcff"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": "a\udcff"}


def test_files_that_belong_together_come_together(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old")
    with pytest.raises(ValueError, match="stop"):
        with write_together(tmp_path) as folder:
            (folder / "a").write_text("new")
            (folder / "b").write_text("new")
            raise ValueError("stop")
    assert visible(tmp_path) == ["b"] and (tmp_path / "b").read_text() == "old"
    with write_together(tmp_path) as folder:
        (folder / "a").write_text("new")
        (folder / "b").write_text("new")
    assert visible(tmp_path) == ["a", "b"] and (tmp_path / "b").read_text() == "new"


@pytest.mark.parametrize(("fit", "grid"), [("crop", (14, 14)), ("letterbox", (10, 14))])
def test_maps_of_other_fits_are_those_of_preprocess(fit: str, grid: tuple[int, int], photo: Path) -> None:
    out = photo.parent / "o"
    run_maps(photo, "--text", "snow", "--method", "clip", "--fit", fit, out=out)
    toy = load_model("toy", device="cpu")
    trace = toy.trace(toy.preprocess([Image.open(photo)], fit=fit))
    expected = similarity(dense_features(trace, METHODS["clip"]), toy.encode_text(["snow"])).patches[0, ..., 0]
    np.testing.assert_allclose(np.load(out / "photo_maps.npz")["maps"][0, 0], expected, atol=1e-6)
    said = json.loads((out / "photo_maps.json").read_text())
    assert said["framing"]["fit"] == fit and tuple(said["model"]["grid"]) == grid


def test_a_mask_follows_the_fit(tmp_path: Path, photo: Path) -> None:
    mask = np.zeros((60, 90), np.uint8)
    mask[:, :30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    drawn = {}
    for fit in ("stretch", "crop", "letterbox"):
        arguments = ("--text", "x", "--mask", tmp_path / "mask.png", "--no-ablate", "--fit", fit, "--device", "cpu")
        run("diagnose", photo, *arguments, "--method", "clip", "--out", tmp_path / fit)
        said = json.loads((tmp_path / fit / "photo_diagnosis.json").read_text())
        drawn[fit] = said["region"]["patches"]
    assert drawn["stretch"] == ["####" + "#" * (row < 0) + drawn["stretch"][row][4:] for row in range(14)]
    assert drawn["crop"][7] == "###" + " " * (drawn["crop"][7][3] == " ") + drawn["crop"][7].lstrip("# ")
    assert len(drawn["letterbox"]) == 10 and drawn["letterbox"][5] == drawn["stretch"][5]
    region = Region.from_mask(mask, (10, 14), framing=Framing.of("letterbox", (60, 90), (80, 112)))
    assert region.foreground[:, :4].all() and not region.foreground[:, 6:].any()


def test_an_unknown_fit_is_a_wrong_command(photo: Path) -> None:
    said = error_of("maps", photo, "--text", "x", "--fit", "pad", "--device", "cpu", code=2)
    assert "Expected fit to be one of stretch, crop, letterbox, but got 'pad'" in said


def test_a_strip_is_drawn_at_its_own_shape(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 2000, 3), (250, 0, 0), np.uint8)).save(tmp_path / "strip.png")
    run_maps(tmp_path / "strip.png", "--text", "snow", "--method", "clip", out=tmp_path / "o")
    pixels = load_image(tmp_path / "o" / "strip_maps.png").rgb.astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 240) & (pixels[..., 1] < 20))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height * 40 < width < height * 60
