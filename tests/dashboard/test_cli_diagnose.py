"""`clip-theatre diagnose`: its files hold the report of the API, and every wrong region is refused in one line."""

import html
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import Region, diagnose
from analysis.numerals import signed
from data.samples import load_sample
from surgery import load_model
from tests.dashboard.command import error_of, run, visible
from tests.tiny import register

RING = ["diagnose", "toy-3", "--text", "a green ring", "--device", "cpu"]
FILES = [f"toy-3_diagnosis{end}" for end in (".html", ".json", ".png", "_components.csv", "_methods.csv")]


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture
def masks(tmp_path):
    """Masks of the size of toy-3: two classes with an unknown edge, one class, and one of another size."""
    ring, cross = (load_sample("toy-3").masks[name] for name in ("a green ring", "a blue cross"))
    labels = np.where(ring, 7, np.where(cross, 3, 0)).astype(np.uint8)
    labels[:16] = 255
    for name, content in {"classes": labels, "ring": 255 * ring, "small": labels[:50], "empty": 0 * labels}.items():
        Image.fromarray(content.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def written(folder, stem="toy-3"):
    return json.loads((folder / f"{stem}_diagnosis.json").read_text())


def test_files_hold_the_report_of_the_api(toy, tmp_path):
    result = run(*RING, "--out", tmp_path)
    assert visible(tmp_path) == sorted(FILES)
    sample = load_sample("toy-3")
    report = diagnose(toy, sample.image.to_pil(), "a green ring", sample.masks["a green ring"], ablate=True)
    content = written(tmp_path)
    assert content["summary"] == report.summary
    assert " ".join(result.stdout.split()).startswith(" ".join(report.summary.split()))
    assert content["turning_layer"] == report.turning_layer
    for name, value in report.contrast.items():
        assert content["methods"][name]["contrast"] == pytest.approx(value)
    np.testing.assert_allclose(content["lens_contrast"], report.lens_contrast, atol=1e-6)
    methods = pd.read_csv(tmp_path / "toy-3_diagnosis_methods.csv").set_index("method")
    assert methods["flip_auc"].to_dict() == pytest.approx(report.flip_auc)
    components = pd.read_csv(tmp_path / "toy-3_diagnosis_components.csv").set_index("component")
    for found in report.interventions:
        assert components.loc[found.component.label, "change"] == pytest.approx(found.change, abs=1e-6)
    assert Image.open(tmp_path / "toy-3_diagnosis.png").format == "PNG"
    assert html.escape(report.summary) in (tmp_path / "toy-3_diagnosis.html").read_text()


def test_the_table_says_what_components_are_and_which_were_not_removed(tmp_path):
    output = " ".join(run(*RING, "--method", "clip", "--out", tmp_path).stdout.split())
    assert "aN is the attention and mN the MLP of block N, counted from 0; aN.hK is head K" in output
    assert "not removed: only whole attentions and MLPs are removed" in output
    rows = {row["component"]: row for row in written(tmp_path)["components"]}
    shown = [signed(rows[c["component"]]["change"]) for c in written(tmp_path)["culprits"] if c["component"][0] == "m"]
    assert shown and all(change in output for change in shown)
    quick = " ".join(run(*RING, "--method", "clip", "--no-ablate", "--out", tmp_path).stdout.split())
    assert "head K" in quick and "removed" not in quick


def test_marked_components_add_up_to_the_contrast(tmp_path):
    run(*RING, "--method", "clip", "--no-ablate", "--out", tmp_path)
    table = pd.read_csv(tmp_path / "toy-3_diagnosis_components.csv")
    contrast = written(tmp_path)["methods"]["clip"]["contrast"]
    assert table.loc[table["in_sum"], "blame"].sum() == pytest.approx(contrast, abs=1e-5)
    assert table["blame"].sum() != pytest.approx(contrast, abs=1e-3)
    assert [row["in_sum"] for row in written(tmp_path)["components"]] == table["in_sum"].tolist()
    assert "rows with in_sum True" in " ".join(run("diagnose", "--help").stdout.replace("│", " ").split())


def notes_of(*arguments):
    """The lines on stderr that start with "Note: "."""
    return [line for line in run(*arguments).stderr.splitlines() if line.startswith("Note: ")]


def test_commas_do_not_split_the_prompt_and_a_note_says_so(tmp_path):
    quick = ["--method", "clip", "--no-ablate", "--out", tmp_path]
    box = ["diagnose", "toy-3", "--box", "0,0,90,90"]
    (note,) = notes_of(*box, "--text", "a green ring, a blue cross", *quick)
    assert "'a green ring, a blue cross' is taken as one prompt, commas included" in note
    assert written(tmp_path)["text"] == "a green ring, a blue cross"
    assert notes_of(*RING, *quick) == []


def test_the_toy_says_what_it_has_not_seen(tmp_path):
    quick = ["--box", "60,90,420,420", "--method", "clip", "--no-ablate", "--out", tmp_path]
    (note,) = notes_of("diagnose", "china", "--text", "a pagoda", *quick)
    assert "its maps mean nothing for the image china and the word pagoda" in note
    register("tiny-vit")
    other = ["--model", "tiny-vit", "--random-weights"]
    assert notes_of("diagnose", "china", "--text", "a pagoda", *quick, *other) == []


def test_masks_of_one_class_and_of_many_give_the_same_region(toy, masks, tmp_path):
    quick = [*RING, "--no-ablate", "--method", "clip"]
    run(*quick, "--mask", masks / "ring.png", "--out", tmp_path / "one")
    run(*quick, "--mask", masks / "classes.png", "--class", "7", "--out", tmp_path / "many")
    one, many = (written(tmp_path / name)["region"]["patches"] for name in ("one", "many"))
    expected = Region.from_mask(load_sample("toy-3").masks["a green ring"], (14, 14)).foreground
    assert [[mark == "#" for mark in row] for row in one] == expected.tolist()
    assert many[1:] == one[1:]
    assert many[0] == " " * 14  # unknown pixels are neither
    assert all(row["change"] is None for row in written(tmp_path / "one")["components"])


def test_box_on_a_photograph_at_another_size(tmp_path):
    run("diagnose", "china", "--text", "a pagoda", "--box", "60,90,420,420", "--size", "168", "--out", tmp_path)
    content = written(tmp_path, "china")
    assert content["model"]["grid"] == [21, 21] and len(content["region"]["patches"]) == 21
    assert content["image"]["name"] == "china"


def test_real_photograph_with_its_mask(tmp_path, shared):
    folder = shared / "data" / "davis60"
    image, mask = folder / "images" / "blackswan_00006.jpg", folder / "masks" / "blackswan_00006.png"
    run("diagnose", image, "--text", "a swan", "--mask", mask, "--class", "1", "--no-ablate", "--out", tmp_path)
    assert written(tmp_path, "blackswan_00006")["summary"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", " "], "Expected --text to be a non-empty prompt"),
        (["--text", "grass"], "Expected --mask FILE or --box x0,y0,x1,y1, or --text to be one of a white crescent"),
        (["--text", "x", "--mask", "ring.png", "--box", "1,2,3,4"], "got both --mask and --box"),
        (["--text", "x", "--class", "1"], "Expected --class together with --mask"),
        (["--text", "x", "--mask", "classes.png"], "Expected --class N for a mask of several classes (3, 7)"),
        (
            ["--text", "x", "--mask", "classes.png", "--class", "9"],
            "Expected --class to be in classes.png (0, 3, 7, 255)",
        ),
        (["--text", "x", "--mask", "small.png", "--class", "3"], "Expected mask to be of the image's size (224, 224)"),
        (["--text", "x", "--mask", "empty.png"], "to hold at least 1 foreground pixel, but got an empty region"),
        (["--text", "x", "--mask", "none.png"], "none.png"),
        (["--text", "x", "--box", "1,2,3"], "Expected --box to be x0,y0,x1,y1 in pixels, but got '1,2,3'"),
        (["--text", "x", "--box", "0,0,500,10"], "inside the image of 224 x 224 pixels"),
        (["--text", "x", "--box", "0,0,224,224"], "but got a region that covers the whole image"),
        (["--text", "x", "--box", "0,0,50,50", "--method", "nothing"], "Expected method to be one of clip"),
        (["--text", "x", "--box", "0,0,50,50", "--size", "99"], "Expected size to be a multiple of the patch"),
    ],
)
def test_wrong_commands_are_one_line(masks, monkeypatch, options, message):
    monkeypatch.chdir(masks)
    code = 1 if "none.png" in options else 2
    assert message in error_of("diagnose", "toy-3", "--device", "cpu", *options, code=code)


def test_folders_and_missing_files_are_no_image(tmp_path):
    options = ["--text", "x", "--box", "0,0,9,9"]
    assert "got the folder" in error_of("diagnose", tmp_path, *options, code=1)
    assert "Expected an image file, a folder or a sample" in error_of("diagnose", "nothing.png", *options, code=1)
