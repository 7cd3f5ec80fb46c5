"""What the embedded model is there to show, over 200 scenes that it was not trained on."""

import pytest

from analysis.evaluation import evaluate_maps, evaluate_retrieval
from data.datasets import ToyScenes
from surgery import METHODS, load_model

SCENES, SEED = 200, 2024


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture(scope="module")
def scenes():
    return list(ToyScenes(SCENES, SEED))


@pytest.fixture(scope="module")
def scores(toy, scenes):
    methods = {name: METHODS[name] for name in ("clip", "clip_surgery")}
    return evaluate_maps(toy, scenes, methods)


def test_raw_clip_maps_are_flipped(scores):
    assert scores["clip"].images == SCENES
    assert scores["clip"].flip_auc < 0.35
    assert scores["clip"].msc <= -20


def test_clip_surgery_turns_them_right(scores):
    assert scores["clip_surgery"].flip_auc > 0.85
    assert scores["clip_surgery"].msc >= 45


def test_the_model_knows_its_captions(toy, scenes):
    retrieval = evaluate_retrieval(toy, scenes, batch=64)
    assert retrieval.image_to_text >= 0.8
    assert retrieval.text_to_image >= 0.8
