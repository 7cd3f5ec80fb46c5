"""`clip-theatre maps` with explainers and refinement, and `clip-theatre judge`: their files, their errors."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.explainers import explain
from analysis.refinement import refine_maps
from data.samples import load_sample
from surgery import dense_features, load_model, similarity
from tests.dashboard.command import error_of, run


def test_explainers_beside_methods_and_alone(tmp_path):
    run("maps", "toy-3", "--text", "a green ring, snow", "--method", "clip", "--method", "grad_eclip",
              "--explainer", "legrad", "--out", str(tmp_path))  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {
        f"toy-3_{name}" for name in ("maps.png", "explained.png", "maps.npz", "maps.json")
    }
    arrays = np.load(tmp_path / "toy-3_maps.npz")
    assert arrays["methods"].tolist() == ["clip"] and arrays["explainers"].tolist() == ["grad_eclip", "legrad"]
    toy = load_model("toy", device="cpu")
    pixels = toy.preprocess([load_sample("toy-3").image.to_pil()])
    expected = explain(toy, pixels, toy.encode_text(["a green ring", "snow"]), "legrad").patches[0]
    np.testing.assert_allclose(arrays["explained"][1], expected.transpose(2, 0, 1), atol=1e-6)
    described = json.loads((tmp_path / "toy-3_maps.json").read_text())["explainers"]
    assert [(e["explainer"], e["prompt"], e["empty"]) for e in described][:2] == [
        ("grad_eclip", "a green ring", False),
        ("grad_eclip", "snow", False),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--explainer", "grad-cam"], "Expected explainer to be one of chefer"),
        (["--explainer", "legrad", "--model", "RN50", "--random-weights"], "a tower of residual blocks"),
        (["--method", "grad"], "Expected method to be one of clip"),
        (["--refine", "crf"], "Expected refinement to be one of pamr, affinity, clusters, but got 'crf'"),
        (["--refine", "pamr:steps=x"], "Expected a number of the refinement"),
        (
            ["--refine", "affinity", "--method", "clip", "--model", "RN50", "--random-weights"],
            "at least 2 blocks for the refinement",
        ),
    ],
)
def test_what_is_no_explainer_is_a_wrong_command(tmp_path, arguments, words):
    assert words in error_of("maps", "toy-3", "--text", "snow", *arguments, "--out", tmp_path, code=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("refine", "cell"), [("pamr:steps=2", "strongest_pixel"), ("affinity", "strongest_patch")])
def test_refined_maps(tmp_path, refine, cell):
    run("maps", "toy-3", "--text", "snow", "--method", "maskclip", "--refine", refine, "--out", tmp_path)
    toy = load_model("toy", device="cpu")
    pixels = toy.preprocess([load_sample("toy-3").image.to_pil()])
    trace = toy.trace(pixels)
    maps = similarity(dense_features(trace, "maskclip"), toy.encode_text(["snow"])).patches
    expected = refine_maps(maps, refine, trace, pixels)[0].movedim(-1, 0)
    found = json.loads((tmp_path / "toy-3_maps.json").read_text())
    np.testing.assert_allclose(np.load(tmp_path / "toy-3_maps.npz")["maps"][0], expected, atol=1e-5)
    assert found["refinement"]["kind"] == refine.partition(":")[0] and cell in found["measures"][0]


def test_a_relevance_that_is_zero_everywhere_is_said(tmp_path, monkeypatch):
    from analysis.explainers import EXPLAINERS

    zero = replace(
        EXPLAINERS["gradcam"], compute=lambda run: 0 * run.text.sum() + run.fold(run.text.new_zeros(1, 1, 196))
    )
    monkeypatch.setitem(EXPLAINERS, "gradcam", zero)
    said = run("maps", "toy-3", "--text", "snow", "--method", "gradcam", "--out", tmp_path).stderr
    assert "Note: Grad-CAM finds no relevance at all for 1 of the prompts" in said


def test_judging_by_command(tmp_path):
    arguments = ("judge", "toy-3", "--method", "clip", "--explainer", "legrad", "--steps", "2", "--out", tmp_path)
    found = run(*arguments, "--text", "a green ring")
    table = pd.read_csv(tmp_path / "toy-3_explanations.csv")
    assert list(table["name"]) == ["clip", "legrad", "random", "centre"] and table.notna().all(axis=None)
    assert "LeGrad, last two blocks" in found.stdout and "Nearness to the centre" in found.stdout
    curves = json.loads((tmp_path / "toy-3_explanations.json").read_text())["curves"]
    assert set(curves) == set(table["name"]) and curves["clip"]["fractions"] == [0, 0.5, 1]
    assert "nobody says where" in run(*arguments, "--text", "a lamp", "--steps", "0").stderr
    assert pd.read_csv(tmp_path / "toy-3_explanations.csv")["flip_auc"].isna().all()
    assert "Expected explainer to be one of" in error_of(*arguments, "--text", "x", "--explainer", "grad-cam", code=2)
