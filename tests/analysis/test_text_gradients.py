"""Integrated gradients over the tokens of a caption: completeness, an independent integral, and an untouched model."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.regions import Region
from analysis.text_gradients import integrated_gradients
from surgery import METHODS, DenseFeatures, Model, load_model
from surgery.words import PromptCutWarning
from tests.analysis.test_text_tokens import siglip_like

CAPTION = "a red circle and a zebra"


@pytest.fixture(scope="module")
def toy() -> Model:
    return load_model("toy", device="cpu", precision="fp64")


@pytest.fixture(scope="module")
def features(toy: Model) -> DenseFeatures:
    rng = torch.Generator().manual_seed(0)
    width = toy.encode_text(["a"]).shape[1]
    cls, patches = (torch.randn(shape, generator=rng).double() for shape in ((2, width), (2, 3, 4, width)))
    return DenseFeatures(cls, patches, METHODS["clip"], "random")


@pytest.fixture(scope="module")
def region() -> Region:
    return Region(np.eye(3, 4, dtype=bool), ~np.eye(3, 4, dtype=bool))


def reference_integral(toy: Model, direction: Tensor, caption: str, steps: int = 96) -> np.ndarray:
    """Midpoint rule through open_clip's own modules, over the whole padded context; (context length,)."""
    clip, ids = toy.clip, toy.tokenizer([caption])
    end = int(ids.argmax())
    padded = torch.where((torch.arange(ids.shape[1]) > 0) & (torch.arange(ids.shape[1]) < end), 0, ids)
    whole, baseline = clip.token_embedding(ids).detach(), clip.token_embedding(padded).detach()
    along = ((torch.arange(steps) + 0.5) / steps).double()[:, None, None]
    points = (baseline + along * (whole - baseline)).requires_grad_()  # (steps, context length, w)
    x = clip.ln_final(clip.transformer(points + clip.positional_embedding, attn_mask=clip.attn_mask))[:, end]
    cosines = F.normalize(x @ clip.text_projection, dim=-1) @ direction
    gradient = torch.autograd.grad(cosines.sum(), points)[0].mean(dim=0)
    return ((whole - baseline)[0] * gradient).sum(-1).numpy()


def test_relevances_are_the_integral_and_add_up(toy: Model, features: DenseFeatures) -> None:
    result = integrated_gradients(toy, features, CAPTION, image=1)
    direction = F.normalize(features.cls[1], dim=-1).clone()
    expected = reference_integral(toy, direction, CAPTION)
    k = len(result.caption.tokens)
    np.testing.assert_allclose(result.tokens, expected[:k], atol=1e-5)
    assert np.abs(expected[k:]).max() == 0 and np.abs(result.tokens).max() > 1e-3
    assert abs(result.gap) < 1e-5
    assert result.tokens.sum() == pytest.approx(result.value - result.baseline, abs=1e-5)
    assert result.value == pytest.approx(float(toy.encode_text([CAPTION])[0] @ direction), abs=1e-6)
    assert result.tokens[0] == result.tokens[-1] == 0
    sums = [result.tokens[list(word.tokens)].sum() for word in result.caption.words]
    np.testing.assert_allclose(result.words, sums, atol=1e-7)
    assert (result.target, result.steps, result.tokens.dtype) == ("cosine", 32, np.float32)


def test_the_contrast_over_a_region(toy: Model, features: DenseFeatures, region: Region) -> None:
    result = integrated_gradients(toy, features, CAPTION, region=region)
    unit = F.normalize(features.patches[0], dim=-1)
    direction = unit[region.foreground].mean(0) - unit[region.background].mean(0)
    k = len(result.caption.tokens)
    np.testing.assert_allclose(result.tokens, reference_integral(toy, direction, CAPTION)[:k], atol=1e-5)
    assert result.value == pytest.approx(float(toy.encode_text([CAPTION])[0] @ direction), abs=1e-6)
    assert result.target == "contrast"


def test_the_gap_shrinks_with_the_steps(toy: Model, features: DenseFeatures) -> None:
    few, many = (integrated_gradients(toy, features, CAPTION, steps=steps) for steps in (2, 40))
    assert abs(many.gap) < 1e-6 < abs(few.gap)


def test_the_mean_embedding_is_another_baseline_and_completes_as_well(toy: Model, features: DenseFeatures) -> None:
    mean = integrated_gradients(toy, features, CAPTION, baseline="mean", steps=40)
    padding = integrated_gradients(toy, features, CAPTION, steps=40)
    assert abs(mean.gap) < 1e-6 and mean.value == pytest.approx(padding.value, abs=1e-6)
    assert abs(mean.baseline - padding.baseline) > 1e-4
    with pytest.raises(ValueError, match="Expected baseline to be one of padding, empty, mean, but got 'zero'"):
        integrated_gradients(toy, features, CAPTION, baseline="zero")


def test_the_baseline_itself_and_the_empty_caption_have_no_relevance(toy: Model, features: DenseFeatures) -> None:
    empty = integrated_gradients(toy, features, "")
    assert empty.tokens.tolist() == [0, 0] and empty.words.shape == (0,)
    assert empty.value == pytest.approx(empty.baseline, abs=1e-7)


def test_the_model_is_left_as_it_is(toy: Model, features: DenseFeatures) -> None:
    state = {name: value.clone() for name, value in toy.clip.state_dict().items()}
    with torch.inference_mode():
        inside = integrated_gradients(toy, features, CAPTION)
    np.testing.assert_array_equal(inside.tokens, integrated_gradients(toy, features, CAPTION).tokens)
    assert all(torch.equal(state[name], value) for name, value in toy.clip.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in toy.clip.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in toy.clip.modules())


def test_features_of_inference_mode_and_half_precision(features: DenseFeatures) -> None:
    half = load_model("toy", device="cpu", precision="bf16")
    with torch.inference_mode():
        made = DenseFeatures(features.cls.float(), features.patches.float(), features.method, features.model)
    exact = integrated_gradients(load_model("toy", device="cpu"), made, CAPTION)
    np.testing.assert_allclose(integrated_gradients(half, made, CAPTION).tokens, exact.tokens, atol=0.02)


def test_threads_give_the_serial_answer(toy: Model, features: DenseFeatures) -> None:
    captions = ["a red circle", "a blue ring", "a zebra on grass", "grass"]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: integrated_gradients(toy, features, text).tokens, captions))
    for text, tokens in zip(captions, together, strict=True):
        np.testing.assert_allclose(tokens, integrated_gradients(toy, features, text).tokens, atol=1e-7)


def test_a_long_caption_is_cut_with_one_warning(toy: Model, features: DenseFeatures) -> None:
    with pytest.warns(PromptCutWarning, match="kept up to") as caught:
        result = integrated_gradients(toy, features, "a red circle on grass and " * 8, steps=4)
    assert len(caught) == 1 and len(result.tokens) == toy.clip.positional_embedding.shape[0]


def test_errors(toy: Model, features: DenseFeatures) -> None:
    with pytest.raises(ValueError, match="Expected steps to be at least 2, but got 1"):
        integrated_gradients(toy, features, CAPTION, steps=1)
    with pytest.raises(ValueError, match="Expected image to be from 0 to 1, but got 2"):
        integrated_gradients(toy, features, CAPTION, image=2)
    with pytest.raises(ValueError, match="text tower of ViT-like-SigLIP to be causal"):
        integrated_gradients(siglip_like(), features, CAPTION)
    with pytest.raises(ValueError, match="Expected region to be of the grid"):
        region = Region(np.eye(2, dtype=bool), ~np.eye(2, dtype=bool))
        integrated_gradients(toy, features, CAPTION, region=region)
