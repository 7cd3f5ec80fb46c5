"""Explainers against slow independent ones in float64, their invariances and errors, and what they must not touch."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.explainers import CAPTION_EXPLAINERS, EXPLAINERS, explain, explain_caption, usable_explainers
from analysis.explainers import explanation as shared_parts
from analysis.explainers.captions import start_caption
from analysis.explainers.explanation import image_features, start_pass
from analysis.explainers.gradcam import gradcam, parse_layer
from data.toy import make_scenes
from surgery import load_model
from surgery.graph import gradients_of_each
from surgery.text_tower import find_text_tower
from surgery.words import tokenize
from tests.analysis.explainers import slow
from tests.tiny import TOWERS, picture, tiny_model
from tests.towers import tower_model

CAPTION = "a red circle and a blue ring"


def _case(name="tiny-vit", precision="fp64", images=2, size=None):
    model = tiny_model(name, precision)
    pixels = model.preprocess([picture(seed) for seed in range(images)], size=size)
    width = model.tower.pool(model.trace(pixels, keep=0).output).shape[-1]
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(3, width, generator=generator, dtype=torch.float64).to(model.dtype)
    return model, pixels, torch.nn.functional.normalize(text, dim=-1)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_maps_equal_an_independent_slow_version(name):
    model, pixels, text = _case()
    found = explain(model, pixels, text, name)
    assert found.patches.shape == (2, 6, 6, 3) and found.patches.dtype == np.float64
    for image, index in ((0, 0), (1, 2)):
        expected = slow.EXPLAINERS[name](model.clip, pixels[image : image + 1], text[index]).numpy()
        difference = np.abs(found.patches[image, ..., index].ravel() - expected).max()
        assert difference <= 1e-7 * np.abs(expected).max()


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if name != "integrated_gradients"])
@pytest.mark.parametrize("tower", TOWERS)
def test_a_batch_is_its_images_and_texts_one_by_one(tower, name):
    model, pixels, text = _case(tower, size=(64, 96))
    if name not in usable_explainers(model.tower):
        with pytest.raises(ValueError, match=rf"Expected .* for the explainer '{name}'"):
            explain(model, pixels, text, name)
        return
    together = explain(model, pixels, text, name).patches
    alone = explain(model, pixels[1:], text[2:], name).patches
    np.testing.assert_allclose(together[1:, ..., 2:], alone, rtol=1e-9, atol=1e-12)
    if not EXPLAINERS[name].signed:
        assert together.min() >= 0


def test_relevance_depends_on_the_text_alone_up_to_its_length():
    model, pixels, text = _case()
    for name in ("chefer_all", "grad_eclip", "legrad"):
        one, ten = (explain(model, pixels, factor * text, name).patches for factor in (1, 10))
        np.testing.assert_allclose(one, ten, rtol=1e-9)


def test_integrated_gradients_add_up_to_the_change_of_the_cosine():
    model, pixels, text = _case()
    run = start_pass(model, pixels, text, "bicubic")
    sums = explain(model, pixels, text, "integrated_gradients").patches.sum(axis=(1, 2))
    whole, blank = (torch.nn.functional.normalize(run.encode(x), dim=-1) @ text.mT for x in (pixels, 0 * pixels))
    np.testing.assert_allclose(sums, whole - blank, atol=1e-3)


def test_rollout_rows_are_shares():
    model, pixels, text = _case()
    patches = explain(model, pixels, text, "rollout").patches
    assert (patches > 0).all() and (patches.sum(axis=(1, 2)) < 1).all()
    assert (patches[..., :1] == patches).all()


@pytest.mark.parametrize("name", ["chefer", "chefer_all"])
def test_chefer_on_a_caption_equals_a_slow_version(name):
    model, pixels, _ = _case()
    said = explain_caption(model, pixels, CAPTION, name)
    ids, tower = tokenize(model, [CAPTION]), find_text_tower(model.clip)
    images = image_features(start_pass(model, pixels, None, "bicubic"))
    end = len(said.caption.tokens) - 1
    run = start_caption(tower, ids, end, images)
    for image in range(2):
        x, patterns = run.streams[0], []
        for index in range(len(run.blocks.blocks)):
            block = run.blocks.run(index, x)
            patterns.append(block.pattern)
            x = block.output
        score = 100 * slow.cosine(run.finish(x)[0], images[image])
        R = torch.eye(x.shape[1], dtype=x.dtype)
        for A, g in list(zip(patterns, torch.autograd.grad(score, patterns), strict=True))[
            -1 if name == "chefer" else 0 :
        ]:
            R = R + (A * g)[0].clamp(min=0).mean(dim=0) @ R
        words = R[end, 1:end].detach().numpy()
        expected = words / words.sum() if words.any() else words
        np.testing.assert_allclose(said.tokens[image, 1:-1], expected, atol=1e-10)


@pytest.mark.parametrize("name", CAPTION_EXPLAINERS)
def test_captions_have_a_value_a_token(name):
    model, pixels, _ = _case()
    said = explain_caption(model, pixels, CAPTION, name)
    assert said.tokens.shape == (2, len(said.caption.tokens)) and said.words.shape == (2, len(said.caption.words))
    assert (said.pairs is None) == (name != "exclip")
    if name == "exclip":
        assert said.pairs.shape == (2, len(said.caption.tokens), 6, 6)
        alone = explain_caption(model, pixels[1:], CAPTION, name).pairs
        np.testing.assert_allclose(said.pairs[1:], alone, atol=1e-12)
    else:
        sums = said.tokens.sum(axis=1)
        np.testing.assert_allclose(sums, ~said.empty, atol=1e-9)
        assert not said.tokens[:, [0, -1]].any() and said.tokens.min() >= 0


def test_zero_relevance_is_said_and_no_nan():
    model, pixels, text = _case()
    opposite = -image_features(start_pass(model, pixels, None, "bicubic"))[:1]
    found = explain(model, pixels[:1], torch.cat([text, opposite]), "gradcam")
    assert np.isfinite(found.patches).all()
    np.testing.assert_array_equal(found.empty, (found.patches == 0).all(axis=(1, 2)))


def test_the_model_is_left_alone_and_threads_get_the_serial_answer():
    model, pixels, text = _case(precision="fp32", images=1)
    serial = {name: explain(model, pixels, text, name).patches for name in EXPLAINERS}
    with ThreadPoolExecutor(4) as pool:
        threads = {name: pool.submit(explain, model, pixels, text, name) for name in EXPLAINERS}
        for name, future in threads.items():
            np.testing.assert_array_equal(future.result().patches, serial[name])
    assert all(not p.requires_grad and p.grad is None for p in model.clip.parameters())
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in model.clip.modules())


def test_texts_in_parts_give_the_same(monkeypatch):
    model, pixels, text = _case()
    whole = explain(model, pixels, text, "chefer_all").patches
    monkeypatch.setattr(shared_parts, "BUDGET_BYTES", 1)
    np.testing.assert_allclose(explain(model, pixels, text, "chefer_all").patches, whole, rtol=1e-12)


def test_half_precision_is_explained_in_float32():
    scene = make_scenes(1, 3)[0]
    exact, half = (load_model("toy", device="cpu", precision=p) for p in ("fp32", "fp16"))
    text = exact.encode_text(["a red circle"])
    assert half.in_float32 is half.in_float32 and exact.in_float32 is exact
    for name in ("chefer_all", "grad_eclip", "legrad"):
        a, b = (explain(m, m.preprocess([scene.image]), text, name).patches for m in (exact, half))
        assert b.dtype == np.float32 and np.abs(a - b).max() < 0.01 * a.max()


def test_inside_inference_mode():
    model, pixels, text = _case(images=1)
    expected = explain(model, pixels, text, "legrad").patches
    with torch.inference_mode():
        np.testing.assert_array_equal(explain(model, pixels, text, "legrad").patches, expected)


def test_grad_cam_refuses_what_lies_behind_the_last_attention():
    model, pixels, text = _case()
    run = start_pass(model, pixels, text, "bicubic")
    for layer in ("ln_2.3", "block.3"):
        with pytest.raises(ValueError, match=rf"before the last attention.*'{layer}'.*every map is zero"):
            gradcam(run, layer=layer)
    for layer in ("ln_2", "ln_1.4", "mlp.0", "block.-1"):
        with pytest.raises(ValueError, match=r'"ln_1.N", "ln_2.N" or "block.N" with N from 0 to 3'):
            gradcam(run, layer=layer)
    for layer in ("ln_1.0", "ln_2.2", "block.0"):
        assert gradcam(run, layer=layer).any()
    assert parse_layer(tiny_model("tiny-map").tower, "block.2") == ("block", 2)  # its MAP head attends after the blocks


def test_unknown_names_and_shapes():
    model, pixels, text = _case()
    with pytest.raises(ValueError, match=r"one of chefer, .*, but got 'grad-cam'"):
        explain(model, pixels, text, "grad-cam")
    with pytest.raises(ValueError, match=r"one of chefer, .*exclip, but got 'legrad'"):
        explain_caption(model, pixels, CAPTION, "legrad")
    with pytest.raises(ValueError, match="at least one word"):
        explain_caption(model, pixels, " ", "chefer")
    with pytest.raises(ValueError, match="Expected text to be of shape"):
        explain(model, pixels, text[:, :5], "chefer")
    with pytest.raises(ValueError, match="Expected pixels to be of shape"):
        explain(model, pixels[0], text, "chefer")


def test_gradients_of_each_column():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    unused = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    found, none = gradients_of_each(torch.stack([x.square().sum(1), 3 * x[:, 0]], dim=1), [x, unused])
    assert found.tolist() == [[[2, 4]], [[3, 0]]] and none.shape == (2, 1, 3) and not none.any()


def test_a_convolutional_tower_has_grad_cam_and_integrated_gradients_alone():
    model = tower_model("convnext")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, 64, 96, generator=generator, dtype=torch.float64)
    text = torch.randn(2, 24, generator=generator, dtype=torch.float64)
    assert usable_explainers(model.tower) == ("gradcam", "integrated_gradients")
    found = explain(model, pixels, text, "gradcam").patches
    x = model.tower.convolve(pixels).detach().requires_grad_()
    feature = model.tower.pool(model.tower.tokens(x, (2, 3), "bicubic"))[0]
    (gradient,) = torch.autograd.grad(slow.cosine(feature, text[1]), x)
    expected = (gradient.mean(dim=(-2, -1), keepdim=True) * x).sum(dim=1).clamp(min=0)[0].detach()
    np.testing.assert_allclose(found[0, ..., 1], expected, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match=r"layer to be layer4 for a convolutional tower, but got 'ln_1.0'"):
        gradcam(start_pass(model, pixels, text, "bicubic"), layer="ln_1.0")
    with pytest.raises(ValueError, match=r"attention over all tokens for the explainer 'rollout'.*gradcam and integ"):
        explain(model, pixels, text, "rollout")


def test_too_little_memory_is_said_with_what_needs_less(monkeypatch):
    def fail(run):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    model, pixels, text = _case()
    monkeypatch.setitem(EXPLAINERS, "legrad", replace(EXPLAINERS["legrad"], compute=fail))
    with pytest.raises(MemoryError, match=r"'legrad' .* for 2 images of 48 x 48 pixels and 3 texts.*grad_eclip"):
        explain(model, pixels, text, "legrad")
