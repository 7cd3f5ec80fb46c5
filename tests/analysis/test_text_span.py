"""What heads and channels write in words: TextSpan against an independent loop, effects against the blame."""

import numpy as np
import pytest
import torch

from analysis.channels import channel_direction, channel_terms
from analysis.decomposition import Component, decompose
from analysis.regions import Region
from analysis.text_span import describe_component, direct_effects, nearest_texts, text_span
from data.registry import open_dataset
from data.samples import sample_of
from data.toy import make_scenes
from data.word_lists import read_word_list
from surgery import dense_features, load_model
from tests.tiny import TOWERS, picture, tiny_model

NAMES = [f"text {number}" for number in range(9)]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _reference_text_span(data, texts, count):
    """The authors' loop (algorithm 1), written anew: project the texts, then take and remove, one after the other."""
    data, texts = data.numpy(), (texts / texts.norm(dim=1, keepdim=True)).numpy()
    _, s, vh = np.linalg.svd(data, full_matrices=False)
    vh = vh[s > 1e-9 * s.max()]
    texts = texts @ vh.T @ vh
    data = data - data.mean(axis=0)
    total, order, shares = (data**2).sum(), [], []
    for _ in range(count):
        top = int(np.argmax((data @ texts.T).std(axis=0)))
        direction = texts[top]
        before = (data**2).sum()
        data = data - np.outer(data @ direction, direction) / (direction @ direction)
        texts = texts - np.outer(texts @ direction, direction) / (direction @ direction)
        order.append(top)
        shares.append((before - (data**2).sum()) / total)
    return order, shares


def test_text_span_is_the_authors_algorithm():
    data, texts = numbers(40, 4) @ numbers(4, 12, seed=1) + 3, numbers(9, 12, seed=2)
    found = text_span(data, texts, NAMES, 4)
    order, shares = _reference_text_span(data, texts, 4)
    assert [near.text for near in found] == [NAMES[index] for index in order]
    np.testing.assert_allclose([near.value for near in found], shares, atol=1e-10)
    assert sum(near.value for near in found) <= 1 + 1e-12


def test_orthogonal_texts_are_found_by_their_variance_until_none_is_left():
    texts = torch.eye(6, dtype=torch.float64)
    data = numbers(500, 6) * torch.tensor([1.0, 3.0, 0.0, 2.0, 0.0, 0.0], dtype=torch.float64) + 5
    data = data.where(torch.tensor([1, 1, 0, 1, 0, 0]).bool(), torch.tensor(5.0, dtype=torch.float64))
    found = text_span(data, texts, NAMES[:6], 6)
    assert [near.text for near in found][:3] == ["text 1", "text 3", "text 0"]
    assert sum(near.value for near in found) == pytest.approx(1)
    assert text_span(torch.ones(5, 6), texts, NAMES[:6]) == ()  # nothing varies
    wrong = {"at least two tokens": torch.ones(1, 6), "Expected effects": torch.ones(3, 4)}
    for words, data in (wrong | {"finite": torch.full((3, 6), torch.nan)}).items():
        with pytest.raises(ValueError, match=words):
            text_span(data, texts, NAMES[:6])


def test_nearest_texts_leave_out_what_all_texts_share():
    texts = torch.tensor([[1.0, 0.2, 0.0], [1.0, 0.0, 0.2], [1.0, -0.1, -0.1]])
    found = nearest_texts(torch.tensor([9.0, 0.0, 1.0]), texts, NAMES[:3], 2)
    assert found[0].text == "text 1" and found[0].value < 0.5  # the shared axis counts for nothing
    assert nearest_texts(torch.tensor([0.0, 1.0, 1.0]), texts, NAMES[:3])[-1].text == "text 2"
    with pytest.raises(ValueError, match=r"direction \(d,\)"):
        nearest_texts(torch.ones(2), texts, NAMES[:3])


@pytest.mark.parametrize("name", TOWERS)
def test_effects_along_a_text_are_the_blame(name):
    model = tiny_model(name, "fp64")
    trace = model.trace(model.preprocess([picture(0), picture(1)]))
    width = dense_features(trace, "clip").cls.shape[1]
    text = numbers(1, width)
    blame = decompose(trace, text, "clip")
    length = dense_features(trace, "clip").patches.norm(dim=-1).flatten(1)
    for row, component in enumerate(blame.components):
        if component.kind not in ("head", "mlp"):
            continue
        effects = direct_effects(trace, component, "patches")
        terms = (effects @ (text[0] / text[0].norm())) / length
        np.testing.assert_allclose(terms.unflatten(1, trace.grid), blame.terms[:, row, :, :, 0], atol=1e-10)


def test_effects_of_all_components_on_cls_are_the_image_feature():
    model = tiny_model("tiny-vit", "fp64")
    trace = model.trace(model.preprocess([picture()]))
    kinds = [Component(kind, block) for block in range(4) for kind in ("attention", "mlp")]
    written = sum(direct_effects(trace, part) for part in kinds)[:, 0]
    feature = dense_features(trace, "clip").cls
    visual = model.clip.visual
    final, first = trace.output[:, 0], trace.stream(0)[:, 0]
    deviation = (final.var(-1, correction=0, keepdim=True) + visual.ln_post.eps).sqrt()
    embedding = (first - first.mean(-1, keepdim=True)) / deviation * visual.ln_post.weight + visual.ln_post.bias
    assert torch.allclose(written + embedding @ visual.proj, feature, atol=1e-10)


def test_channels_add_up_to_the_contrast_and_the_massive_one_is_named():
    model = tiny_model("tiny-vit", "fp64")
    trace = model.trace(model.preprocess([picture()]))
    text, region = numbers(1, 24), Region.from_patches([(0, 0), (1, 1)], trace.grid)
    found = channel_terms(trace, text, region)
    blame = decompose(trace, text, "clip")
    assert found.terms.sum() == pytest.approx(blame.contrast(region)[0, :-1, 0].sum(), abs=1e-12)
    assert found.magnitude[found.massive] == found.magnitude.max() and np.sort(found.ratio)[15] == 1
    patches = trace.output[:, 1:]
    back = model.tower.chain.pull_back(patches, torch.eye(24, dtype=torch.float64), torch.ones(1, 36, 1))
    np.testing.assert_allclose(channel_direction(trace, 5), back.directions[:, 5])
    assert channel_terms(trace, text).terms is None
    with pytest.raises(ValueError, match="channel to be from 0 to 31, but got 32"):
        channel_direction(trace, 32)


def test_a_head_of_the_toy_in_words():
    toy, words = load_model("toy", device="cpu"), read_word_list("toy")
    images = [sample_of(found).image.to_pil() for found in open_dataset("toy:24", seed=7)]
    assert np.array_equal(images[3], make_scenes(4, seed=7)[3].image)
    found = describe_component(toy, images, Component("head", 5, 0), words, count=3)
    assert found.samples == 24 and len(found.spanned) == 3 and 0 < found.explained <= 1
    assert set(near.text for near in (*found.spanned, *found.mean)) <= set(words)
    patches = describe_component(toy, images[:2], Component("mlp", 4), words, tokens="patches", count=1)
    assert patches.samples == 2 * 14 * 14
    with pytest.raises(ValueError, match="at least one image"):
        describe_component(toy, [], Component("mlp", 4), words)


@pytest.mark.parametrize(
    ("name", "component", "tokens", "words"),
    [
        ("tiny-vit", Component("head", 1, 9), "image", "a head from 0 to 3, but got 9"),
        ("tiny-vit", Component("embedding"), "image", "of block 0 to 3, but got 'embedding'"),
        ("tiny-vit", Component("mlp", 1), "cls", "tokens to be one of image, patches, but got 'cls'"),
        ("tiny-map", Component("mlp", 1), "image", "patches for a tower that pools by 'attention'"),
        ("tiny-rn", Component("mlp", 0), "patches", "a block with an MLP, but got block 0"),
    ],
)
def test_what_has_no_effect_is_refused(name, component, tokens, words):
    model = tiny_model(name)
    with pytest.raises(ValueError, match=words):
        direct_effects(model.trace(model.preprocess([picture()])), component, tokens)
