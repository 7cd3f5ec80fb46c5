"""`clip-theatre maps` with explainers: their files, their errors."""

import json

import numpy as np
import pytest

from analysis.explainers import explain
from data.samples import load_sample
from surgery import load_model
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
    ],
)
def test_what_is_no_explainer_is_a_wrong_command(tmp_path, arguments, words):
    assert words in error_of("maps", "toy-3", "--text", "snow", *arguments, "--out", tmp_path, code=2)
    assert not list(tmp_path.iterdir())
