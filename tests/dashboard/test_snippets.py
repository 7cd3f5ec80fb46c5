"""The Python that pages hand out runs, and gives the numbers that the pages show."""

from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import services
from dashboard.case import Case
from dashboard.snippets import python_maps
from data.samples import load_sample
from surgery import Method

SCENE = load_sample("toy-1")
REGION = f"object:{next(iter(SCENE.masks))}"
CASES = {
    "default": Case(image="toy-1", prompts=SCENE.prompts, region=REGION),
    "custom": Case(image="toy-1", prompts=("grass",), methods=("custom",), custom=Method("kk", 2, 0.5, 1.5, True)),
    "surgery of one text": Case(
        image="toy-1", prompts=("grass",), methods=("gem",), feature_surgery=True, templates="photo"
    ),
    "surgery": Case(image="toy-1", prompts=SCENE.prompts, methods=("clip",), feature_surgery=True, templates="photo"),
    "larger": Case(image="toy-1", prompts=("grass",), methods=("clip_surgery", "gem"), size=168),
    "box": Case(image="toy-1", prompts=("grass",), methods=("clip",), region="box:10,20,120,160"),
    "random weights": Case(model="ViT-S-32-alt", weights="random", image="toy-1", prompts=("grass", "sand")),
    "polygon": Case(image="toy-1", prompts=("grass",), methods=("clip",), region="polygon:10,20,120,20,120,160"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_lines_run_and_give_the_numbers_of_the_page(name: str) -> None:
    case = CASES[name]
    found: dict = {}
    exec(python_maps(case), found)
    for method in case.methods:
        expected = services.maps(case, method).patches
        np.testing.assert_allclose(found["maps"][method].numpy(), expected, atol=1e-5)
    if case.region:
        assert all(0 <= auc <= 1 for aucs in found["aucs"].values() for auc in aucs)


def test_what_was_typed_stays_text() -> None:
    case = replace(CASES["custom"], prompts=("it's \"x\"'); import os  #", "\\n"))
    found: dict = {}
    exec(python_maps(case), found)
    assert tuple(found["prompts"]) == case.prompts


def test_the_page_shows_the_lines(open_app) -> None:
    app: AppTest = open_app(CASES["default"])
    assert python_maps(app.session_state["case"]).strip() in [code.value.strip() for code in app.code]
