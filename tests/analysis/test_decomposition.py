"""Blame adds up: exactly, per head, per block, folded over a region, on every kind of tower and for every method."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.decomposition import Component, decompose
from analysis.regions import Region
from surgery import METHODS, Method, dense_features, load_model, similarity, usable_methods
from surgery.attention import attend
from surgery.trace import rerun
from tests.tiny import TOWERS, picture, tiny_model

FREE = Method("kk", blocks=3, residual=0.3, alpha=2.0)
MIXTURE = Method("0.7*kk+gaussian + 0.5*mean(qk@-3..-2) + 0.2*identity", blocks=2, residual=0.5, alpha=1.5)
STEPS = Method(
    "0.4*sim@-3 + 0.6*kk+gaussian + 0.2*qk@-2",
    residual=0.0,
    alpha=1.5,
    mlp=False,
    steps="repair + before@-2 + levels@-3..-1 + cls*0.3 + after@-3",
)


def _case(model, images=2, texts=3):
    trace = model.trace(model.preprocess([picture(seed) for seed in range(images)]))
    width = dense_features(trace, METHODS["clip"]).cls.shape[1]
    return trace, torch.randn(texts, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def _methods(model):
    shallow = {name: replace(m, blocks=min(m.blocks, len(model.tower.blocks))) for name, m in METHODS.items()}
    fitting = {name: m for name, m in shallow.items() if model.tower.kinds is None or m.attention in model.tower.kinds}
    fitting = {name: m for name, m in fitting.items() if m.reach <= len(model.tower.blocks)}
    steps = STEPS if model.tower.has_cls else replace(STEPS, steps="repair + before@-2 + levels@-3 + after@-3")
    own = {"free": FREE, "mixture": MIXTURE, "steps": steps}
    return {**fitting, **own} if model.tower.has_residual else fitting


@pytest.mark.parametrize("heads", [True, False])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp64", 1e-10)])
@pytest.mark.parametrize("name", TOWERS)
def test_terms_sum_to_the_similarity(name, precision, tolerance, heads):
    model = tiny_model(name, precision)
    trace, text = _case(model)
    for method in _methods(model).values():
        blame = decompose(trace, text, method, heads=heads)
        expected = similarity(dense_features(trace, method), text).patches.numpy()
        assert blame.terms.shape == (2, len(blame.labels), *trace.grid, 3)
        np.testing.assert_array_equal(blame.similarity, expected)
        np.testing.assert_allclose(blame.terms.sum(axis=1), expected, atol=tolerance)


@pytest.mark.parametrize("heads", [True, False])
def test_every_preset_has_exact_blame(heads):
    model = tiny_model("tiny-vit-deep", "fp64")
    trace, text = _case(model)
    for name, method in METHODS.items():
        blame = decompose(trace, text, name, heads=heads)
        expected = similarity(dense_features(trace, method), text).patches.numpy()
        np.testing.assert_allclose(blame.terms.sum(axis=1), expected, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(("name", "precision"), [("toy", "fp32"), ("toy", "fp64"), ("ViT-B-16", "fp32")])
def test_terms_sum_on_whole_models(name, precision):
    model = load_model(name, None if name == "toy" else "random", device="cpu", precision=precision)
    trace, text = _case(model, images=1)
    for method in usable_methods(model.tower).values():
        blame = decompose(trace, text, method)
        expected = similarity(dense_features(trace, method), text).patches.numpy()
        np.testing.assert_allclose(blame.terms.sum(axis=1), expected, atol=1e-10 if precision == "fp64" else 1e-4)


def test_heads_and_bias_sum_to_their_blocks_attention():
    model = tiny_model("tiny-vit-scaled", "fp64")
    trace, text = _case(model)
    fine, coarse = decompose(trace, text, FREE), decompose(trace, text, FREE, heads=False)
    assert fine.merged().components == coarse.components
    np.testing.assert_allclose(fine.merged().terms, coarse.terms, atol=1e-12)
    assert coarse.labels[0] == "embedding" and coarse.labels[-1] == "read-out"
    assert [label for label in fine.labels if label.startswith("a2")] == [*(f"a2.h{h}" for h in range(4)), "a2.bias"]


def test_one_term_by_hand():
    """The term of one head, from its definition: push its output through the frozen read-out."""
    model = tiny_model("tiny-vit", "fp64")
    trace, text = _case(model, images=1, texts=1)
    visual, record = model.clip.visual, trace.block(1)
    heads_out = attend("qk", record.projections)
    weight = visual.transformer.resblocks[1].attn.out_proj.weight[:, 8:16]  # columns of head 1
    written = (heads_out[:, 1] @ weight.T)[:, 1:]
    final = trace.output[:, 1:]
    std = (final.var(-1, correction=0, keepdim=True) + visual.ln_post.eps).sqrt()
    centred = written - written.mean(-1, keepdim=True)
    through = (centred / std * visual.ln_post.weight) @ visual.proj
    length = (visual.ln_post(final) @ visual.proj).norm(dim=-1)
    expected = (through @ (text[0] / text[0].norm())) / length
    blame = decompose(trace, text, METHODS["clip"])
    row = blame.components.index(Component("head", 1, 1))
    np.testing.assert_allclose(blame.terms[0, row, :, :, 0].ravel(), expected[0].numpy(), atol=1e-12)


def test_terms_fold_into_the_contrast():
    model = tiny_model("tiny-vit", "fp64")
    trace, text = _case(model)
    region = Region.from_patches([(0, 0), (2, 3), (5, 5)], trace.grid)
    blame = decompose(trace, text, METHODS["maskclip"])
    sim = blame.similarity
    expected = sim[:, region.foreground].mean(axis=1) - sim[:, region.background].mean(axis=1)
    np.testing.assert_allclose(blame.contrast(region).sum(axis=1), expected, atol=1e-12)


def test_an_edited_trace_still_adds_up():
    model = tiny_model("tiny-vit", "fp64")
    trace, text = _case(model)
    edited = rerun(trace, 2, attn_out=0.5 * trace.block(2).attn_out)
    blame = decompose(edited, text, METHODS["clip"])
    assert "a2" in blame.labels and "a2.h0" not in blame.labels
    np.testing.assert_allclose(blame.terms.sum(axis=1), blame.similarity, atol=1e-10)


def test_half_precision_names_what_rounding_loses():
    model = load_model("toy", device="cpu", precision="bf16")
    trace, text = _case(model, images=1)
    blame = decompose(trace, text, METHODS["clip"])
    assert blame.labels[-1] == "rounding"
    np.testing.assert_allclose(blame.terms.sum(axis=1), blame.similarity, atol=1e-4)
    assert 0 < np.abs(blame.terms[:, -1]).max() < 0.02
    assert "rounding" not in decompose(*_case(tiny_model("tiny-vit")), METHODS["clip"]).labels


def test_a_preset_is_known_by_its_name_too():
    trace, text = _case(tiny_model("tiny-vit"))
    named = decompose(trace, text, "clearclip")
    assert named.method == METHODS["clearclip"]
    np.testing.assert_array_equal(named.terms, decompose(trace, text, METHODS["clearclip"]).terms)
    with pytest.raises(ValueError, match=r"Expected method to be one of clip, .*, but got 'grad_cam'"):
        decompose(trace, text, "grad_cam")


def test_what_has_no_meaning_is_refused():
    model = tiny_model("tiny-rn")
    trace, text = _case(model)
    with pytest.raises(ValueError, match="attention pool of a ResNet, but got 'gem'"):
        decompose(trace, text, METHODS["gem"])
    model = tiny_model("tiny-vit")
    partial = model.trace(model.preprocess([picture()]), keep=1)
    with pytest.raises(ValueError, match="to be kept by this trace"):
        decompose(partial, torch.zeros(1, 24), METHODS["clip"])
    with pytest.raises(ValueError, match=r"text to be of shape \(t, 24\)"):
        decompose(_case(model)[0], torch.ones(2, 7), METHODS["clip"])
