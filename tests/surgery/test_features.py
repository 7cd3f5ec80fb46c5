"""Similarity and feature surgery against the published 4-D formula and hand-computed numbers."""

import pytest
import torch

from surgery import METHODS, class_probabilities, feature_surgery, similarity
from surgery.dense import DenseFeatures


def _features(b=2, grid=(3, 4), d=16, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    cls = torch.randn(b, d, generator=generator, dtype=dtype)
    return DenseFeatures(cls, torch.randn(b, *grid, d, generator=generator, dtype=dtype), METHODS["clip"], "random")


def _texts(t=5, d=16, dtype=torch.float64):
    return torch.randn(t, d, generator=torch.Generator().manual_seed(2), dtype=dtype)


def _unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def _published(features, text):
    """The authors' formula, through the (b, n, t, d) tensor."""
    tokens = _unit(torch.cat([features.cls[:, None], features.patches.flatten(1, 2)], dim=1))
    text = _unit(text)
    weights = (tokens[:, :1] @ text.T * 2).softmax(-1)
    weights = weights / weights.mean(-1, keepdim=True)
    products = tokens[:, :, None] * text[None, None] * weights.reshape(len(tokens), 1, -1, 1)
    return (products - products.mean(2, keepdim=True)).sum(-1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_feature_surgery_equals_the_published_formula(dtype, tolerance):
    features, text = _features(dtype=dtype), _texts(dtype=dtype)
    sim = feature_surgery(features, text)
    ours = torch.cat([sim.cls[:, None], sim.patches.flatten(1, 2)], dim=1)
    assert torch.allclose(ours, _published(features, text), atol=tolerance, rtol=0)
    assert sim.kind == "feature surgery"


def test_what_feature_surgery_leaves_sums_to_zero_over_the_texts():
    sim = feature_surgery(_features(), _texts())
    assert sim.patches.sum(-1).abs().max() < 1e-12


def test_a_single_text_is_read_against_the_redundant_one():
    features, text = _features(), _texts(2)
    expected = _unit(features.patches) @ (_unit(text[:1]) - _unit(text[1:])).T
    for redundant in (text[1], text[1:]):
        assert torch.allclose(feature_surgery(features, text[:1], redundant=redundant).patches, expected)


def test_similarity_is_the_cosine_whatever_the_lengths():
    features, text = _features(), _texts()
    sim = similarity(features, 7 * text)
    expected = torch.nn.functional.cosine_similarity(features.patches[..., None, :], text, dim=-1)
    assert torch.allclose(sim.patches, expected)
    assert sim.patches.shape == (2, 3, 4, 5) and sim.cls.shape == (2, 5)


def test_probabilities_by_hand():
    cosines = torch.tensor([[0.3, 0.1]], dtype=torch.float64)
    e = torch.tensor([3.0, 1.0]).double().exp()
    assert torch.allclose(class_probabilities(cosines, 10.0)[0], e / e.sum())
    each = class_probabilities(cosines, 10.0, logit_bias=-2.0)[0]
    assert torch.allclose(each, 1 / (1 + torch.tensor([-1.0, 1.0]).double().exp()))


def test_wrong_texts_are_refused():
    features = _features()
    with pytest.raises(ValueError, match=r"text to be of shape \(t, 16\), but got \(5, 8\)"):
        similarity(features, _texts(d=8))
    with pytest.raises(ValueError, match=r"text to be of shape \(t, 16\), but got \(0, 16\)"):
        similarity(features, _texts(0))
    with pytest.raises(ValueError, match="at least 2 features, or redundant"):
        feature_surgery(features, _texts(1))
    with pytest.raises(ValueError, match=r"redundant to be one feature \(d,\), but got shape \(3, 16\)"):
        feature_surgery(features, _texts(1), redundant=_texts(3))
