"""Sums and differences of texts as targets."""

import numpy as np
import pytest
import torch

from surgery import dense_features, load_model, similarity
from surgery.targets import combine, parse_target
from tests.tiny import picture


def test_spelling():
    assert parse_target("a well-known c++ book -- grass ++ sky") == (
        (1, "a well-known c++ book"),
        (-1, "grass"),
        (1, "sky"),
    )
    assert parse_target("") == ((1, ""),)
    for text in (" ++ b", "a -- "):
        with pytest.raises(ValueError, match="a text on both sides"):
            parse_target(text)


def test_the_map_of_a_sum_is_the_scaled_sum_of_maps():
    toy = load_model("toy", device="cpu")
    a, b, both, less = toy.encode_text(["a red circle", "grass", "a red circle ++ grass", "a red circle -- grass"])
    assert torch.allclose(both, (a + b) / (a + b).norm(), atol=1e-6)
    assert torch.allclose(less, (a - b) / (a - b).norm(), atol=1e-6)
    features = dense_features(toy.trace(toy.preprocess([picture()])), "clip")
    maps = similarity(features, torch.stack([a, b, both])).patches
    assert torch.allclose(maps[..., 2], (maps[..., 0] + maps[..., 1]) / (a + b).norm(), atol=1e-6)


def test_texts_that_cancel_have_no_direction():
    with pytest.raises(ValueError, match="whose features cancel"):
        combine("a -- a", {"a": np.ones(4, np.float32) / 2})
