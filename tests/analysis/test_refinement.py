"""Refinement of maps as a step of its own, and ResCLIP's feedback, by hand and by slow loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import grey_closing
from torchvision.transforms.functional import gaussian_blur

from analysis.evaluation import PROTOCOLS, ClassTexts, Protocol, query_logits, segment
from analysis.evaluation.feedback import Feedback, feedback_features, relate_patches
from analysis.evaluation.views import average_views
from analysis.refinement import (
    Refinement,
    _means,
    attention_affinity,
    cluster_patches,
    parse_refinement,
    refine_maps,
    self_correlation,
)
from surgery import METHODS, Method
from surgery.attention import attention_pattern
from surgery.dense import Walk
from tests.tiny import picture, tiny_model

TEXTS = ClassTexts((("sky", "wall"), ("cat",), ("dog",)))


@pytest.fixture(scope="module")
def passed():
    model = tiny_model("tiny-vit", "fp64")
    pixels = model.preprocess([picture(0), picture(1)])
    maps = torch.randn(2, 6, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return model.trace(pixels), pixels, maps


def test_affinity_by_a_slow_loop(passed):
    trace, pixels, maps = passed
    patterns = [attention_pattern("qk", trace.block(i).projections)[1].mean(dim=0)[1:, 1:] for i in range(4)]
    expected = torch.zeros(36, 36, dtype=torch.float64)
    for i in range(36):
        for j in range(36):
            votes = sum(bool(p[i, j] > p.mean()) for p in patterns)
            if votes >= 2:  # a third of four blocks
                expected[i, j] = sum(p[i, j] for p in patterns[:3]) / 3
    assert torch.allclose(attention_affinity(trace)[1], expected, atol=1e-14)
    refined = refine_maps(maps, "affinity", trace, pixels)
    assert torch.allclose(refined[1].flatten(0, 1), expected @ maps[1].flatten(0, 1), atol=1e-12)


def test_correlation_and_clusters_by_hand(passed):
    trace, pixels, maps = passed
    p, found = trace.block(-2), self_correlation(trace)
    cosine = [torch.nn.functional.cosine_similarity(z[0, :, 4], z[0, :, 9], dim=-1).mean() for z in (p.q, p.k, p.v)]
    of_cls = [torch.nn.functional.cosine_similarity(z[0, :, 0], z[0, :, 9], dim=-1).mean() for z in (p.q, p.k, p.v)]
    assert torch.allclose(found[0, 3, 8], (sum(cosine) / 3 - sum(of_cls) / 3).clamp(min=0))
    assert _means(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, -1])).flatten().tolist() == [2, 2, 5]
    labels = cluster_patches(trace, eps=1e6, min_patches=3)
    assert labels.tolist() == [[0] * 36] * 2
    whole = refine_maps(maps, "clusters:eps=1000000", trace, pixels)
    assert torch.allclose(whole, maps.mean(dim=(1, 2), keepdim=True).expand_as(maps))
    assert torch.equal(refine_maps(maps, Refinement("clusters", eps=1e-9), trace, pixels), maps)


def test_pamr_keeps_a_constant_and_gives_a_value_a_pixel(passed):
    trace, pixels, maps = passed
    refined = refine_maps(torch.cat([maps[..., :1], 0 * maps[..., :1] + 2], dim=-1), "pamr:steps=2", trace, pixels)
    assert refined.shape == (2, 48, 48, 2) and Refinement("pamr").by_pixel
    assert torch.allclose(refined[..., 1], torch.full_like(refined[..., 1], 2))
    assert refined[..., 0].std() < maps[..., 0].std()


@pytest.mark.parametrize(
    "text", ["blur", "pamr:steps=0", "pamr:dilations=", "pamr:dilations=8|x", "clusters:eps=-1", "affinity:kind=pamr"]
)
def test_what_is_no_refinement_is_named(text):
    with pytest.raises(ValueError, match="Expected"):
        parse_refinement(text)


def test_towers_too_shallow_are_refused():
    model = tiny_model("tiny-rn")
    pixels = model.preprocess([picture()])
    for kind in ("affinity", "clusters"):
        with pytest.raises(ValueError, match=f"at least 2 blocks for the refinement {kind}, but got 1"):
            refine_maps(torch.zeros(1, 2, 2, 1), kind, model.trace(pixels), pixels)


def test_relation_of_patches_by_a_slow_loop():
    labels = torch.tensor([[0, 0, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 2]])
    size, longest = labels.numel(), 4
    expected = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            (a, b), (c, d) = divmod(i, 5), divmod(j, 5)
            apart = max(abs(a - c), abs(b - d))
            steps = [s / longest for s in range(apart + 1)]
            line = [labels[round(a + (c - a) * t), round(b + (d - b) * t)] for t in steps]
            clear = all(label == labels[a, b] for label in line)
            expected[i, j] = (labels[a, b] == labels[c, d]) * (1 if clear else np.exp(-apart / longest))
    kernel = np.exp(-np.square(np.arange(15) - 7) / 50)
    blurred = np.stack([np.convolve(row, kernel / kernel.sum(), mode="same") for row in expected])
    np.testing.assert_allclose(relate_patches(labels), blurred / blurred.sum(axis=1, keepdims=True), atol=1e-6)
    assert torch.allclose(relate_patches(labels).sum(dim=1), torch.ones(size), atol=1e-6)


def test_segmentation_takes_refinement_and_feedback():
    model = tiny_model("tiny-vit")
    rgb = np.asarray(picture(2))
    plain = Protocol("naclip", short_side=60, window=48, stride=24, templates="none")
    logits = query_logits(model, rgb, plain, TEXTS)
    variants = [replace(plain, refine=kind) for kind in ("affinity", "clusters:eps=3")]
    variants.append(replace(plain, feedback=Feedback(weight=0.7)))
    for protocol in variants:
        found = query_logits(model, rgb, protocol, TEXTS)
        assert found.shape == logits.shape == (4, 60, 90) and np.abs(found - logits).max() > 1e-3
        assert str(protocol) != str(plain)
    neutral = replace(plain, feedback=Feedback(temperature=1.0, weight=0.0))
    np.testing.assert_allclose(query_logits(model, rgb, neutral, TEXTS), logits, atol=1e-6)
    with pytest.raises(ValueError, match="Expected pamr_steps for PAMR"):
        replace(plain, refine="pamr")
    with pytest.raises(ValueError, match="Expected weight to be from 0 to 1, but got 2"):
        Feedback(weight=2)


def test_feedback_needs_pairs_in_one_block(passed):
    trace, pixels, _ = passed
    text = torch.zeros(2, 24, dtype=torch.float64)
    for method in (METHODS["maskclip"], Method("vv", blocks=2)):
        with pytest.raises(ValueError, match="for the feedback"):
            feedback_features(Walk(trace), method, text, pixels, Feedback(), 40)


def test_resclip_protocols_have_their_own_numbers():
    found = {data_set: p for (name, data_set), p in PROTOCOLS.items() if name == "resclip"}
    assert {p.feedback.temperature for p in found.values()} == {1.8, 2.1, 2.2}
    assert found["voc21"].method.attention == "1.4*kk+gaussian + 0.6*qk@-7..-4"
    assert found["voc20"].method.attention == "0.8*kk+gaussian + 1.2*qk@-7..-4" and found["voc20"].window == 0
    assert found["cityscapes"].short_side == 560 and found["context60"].threshold == 0.1


def test_five_views_and_closing():
    model = tiny_model("tiny-vit")
    rgb = np.asarray(picture(2))
    plain = Protocol("itaclip", short_side=60, window=48, stride=24, templates="none")
    plain = replace(plain, method=Method("0.5*qq+kk + 0.5*qq+kk@-3", mlp=False))
    logits = query_logits(model, rgb, replace(plain, views=0.7), TEXTS)
    upright, flipped = (query_logits(model, rgb, replace(plain, views=w), TEXTS) for w in (1, 1e-9))
    np.testing.assert_allclose(logits, 0.7 * upright + 0.3 * flipped, atol=1e-5)
    pixels = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    seen = lambda x: x.permute(0, 2, 3, 1)  # noqa: E731  a "model" whose cosines are the pixels themselves
    grey = pixels.mul(torch.tensor([0.2989, 0.587, 0.114]).reshape(3, 1, 1)).sum(dim=1, keepdim=True).expand_as(pixels)
    expected = seen((pixels + grey + gaussian_blur(pixels, 11, 5.0)) / 3)
    assert torch.allclose(average_views(seen, pixels, 1.0), expected, atol=1e-6)
    assert torch.allclose(average_views(seen, pixels, 0.0), seen(pixels), atol=1e-6)  # flips are flipped back
    opened, closed = (segment(model, rgb, replace(plain, closing=c), TEXTS).labels for c in (False, True))
    np.testing.assert_array_equal(closed, grey_closing(opened, size=(3, 3)))
