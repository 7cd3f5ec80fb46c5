"""What fed a head: the terms add up exactly, on every kind of tower, and mean what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.decomposition import Component, decompose
from analysis.head_maps import head_sources
from analysis.head_paths import INPUT_BIAS, SIDES, head_path
from analysis.regions import Region
from surgery import dense_features, load_model
from surgery.trace import rerun
from tests.tiny import TOWERS, picture, tiny_model

HEAD = Component("head", 2, 1)


def case(name="tiny-vit", precision="fp64"):
    model = load_model(name, device="cpu", precision=precision) if name == "toy" else tiny_model(name, precision)
    trace = model.trace(model.preprocess([picture()]))
    width = dense_features(trace, "clip").cls.shape[1]
    text = torch.randn(1, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return trace, text, Region.from_patches([(0, 0), (1, 1)], trace.grid)


def last_head(trace):
    return Component("head", min(2, trace.depth - 1), 1)


@pytest.mark.parametrize("patch", [None, (1, 0)])
@pytest.mark.parametrize("name", TOWERS)
def test_terms_sum_to_score_and_value(name, patch):
    trace, text, region = case(name)
    head = last_head(trace)
    found = head_path(trace, head, text, region, patch)
    for side in SIDES:
        assert found.terms(side).shape == (len(found.components),)
        assert found.terms(side).sum() == pytest.approx(found.total(side), abs=1e-10)
    p = trace.block(head.block).projections
    scores = (p.scale * p.q[0, 1] @ p.k[0, 1].mT)[trace.tower.prefix :, trace.tower.prefix :].unflatten(1, trace.grid)
    per_query = scores[:, region.foreground].mean(1) - scores[:, region.background].mean(1)
    per_query = per_query.unflatten(0, trace.grid)
    expected = per_query[region.foreground].mean() if patch is None else per_query[patch]
    assert found.score == pytest.approx(float(expected), abs=1e-12)
    blame = decompose(trace, text, "clip")
    row = blame.components.index(head)
    term = blame.contrast(region)[0, row, 0] if patch is None else blame.terms[0, row, *patch, 0]
    assert found.written == pytest.approx(term, abs=1e-12)


def test_components_are_those_before_the_head_and_the_biases():
    trace, text, region = case()
    found = head_path(trace, HEAD, text, region)
    labels = [component.label for component in found.components]
    block = [[f"a{l}.h{h}" for h in range(4)] + [f"a{l}.bias", f"m{l}"] for l in range(2)]
    assert labels == ["embedding", *block[0], *block[1], "input bias"]
    assert head_path(trace, Component("head", 0, 0), text, region).components == (Component("embedding"), INPUT_BIAS)


def test_a_term_is_what_the_score_loses_without_the_component_norms_frozen():
    """By definition: take what m1 wrote out of the input, keep deviations and keys, and score again."""
    trace, text, region = case()
    found = head_path(trace, HEAD, text, region)
    block, record = trace.tower.blocks[2], trace.block(2)
    x, less = record.x, record.x - trace.block(1).mlp_out
    deviation = (x.var(-1, correction=0, keepdim=True) + block.ln_1.eps).sqrt()
    y = (less - less.mean(-1, keepdim=True)) / deviation * block.ln_1.weight + block.ln_1.bias
    q = block.in_proj(y)[0].unflatten(-1, (4, -1))[0, 1:, 1]  # (36, d) of head 1
    k = record.k[0, 1, 1:].unflatten(0, trace.grid)
    mean_q = q.unflatten(0, trace.grid)[region.foreground].mean(0)
    score = record.projections.scale * mean_q @ (k[region.foreground].mean(0) - k[region.background].mean(0))
    term = found.query[found.components.index(Component("mlp", 1))]
    assert found.score - float(score) == pytest.approx(term, abs=1e-12) and abs(term) > 1e-4


def test_the_toys_path_adds_up_in_float32_and_names_rounding_in_half():
    trace, text, region = case("toy", "fp32")
    found = head_path(trace, Component("head", 4, 0), text, region)
    assert all(abs(found.terms(side).sum() - found.total(side)) < 1e-4 for side in SIDES)
    half = head_path(*(case("toy", "bf16")[0], Component("head", 4, 0), text, region))
    assert half.components[-1].label == "rounding" and abs(half.value[-1]) < 0.05


def test_an_edited_block_before_is_one_term():
    trace, text, region = case()
    edited = rerun(trace, 1, attn_out=0.5 * trace.block(1).attn_out)
    found = head_path(edited, HEAD, text, region)
    assert Component("attention", 1) in found.components and Component("head", 1, 0) not in found.components
    assert found.query.sum() == pytest.approx(found.score, abs=1e-10)
    with pytest.raises(ValueError, match=r"attention output is its own, but 'a1.h0' was edited"):
        head_path(edited, Component("head", 1, 0), text, region)


@pytest.mark.parametrize(
    ("head", "patch", "words"),
    [
        (Component("mlp", 1), None, "a head of block 0 to 3, but got 'm1'"),
        (Component("head", 9, 0), None, "a head of block 0 to 3, but got 'a9.h0'"),
        (Component("head", 1, 7), None, "a head from 0 to 3, but got 7"),
        (HEAD, (6, 0), r"patch to lie in the grid \(6, 6\), but got \(6, 0\)"),
    ],
)
def test_what_has_no_path_is_refused(head, patch, words):
    trace, text, region = case()
    with pytest.raises(ValueError, match=words):
        head_path(trace, head, text, region, patch)
    with pytest.raises(ValueError, match="one image and one text, but got 1 and 2"):
        head_path(trace, HEAD, text.expand(2, -1), region)
    with pytest.raises(ValueError, match="side to be one of query, key, value, but got 'q'"):
        head_path(trace, HEAD, text, region).terms("q")


@pytest.mark.parametrize("name", TOWERS)
def test_sources_sum_to_the_blame_of_their_head(name):
    trace, text, region = case(name)
    blame = decompose(trace, text, "clip")
    rows = [i for i, component in enumerate(blame.components) if component.kind == "head"]
    for of, terms in ((region, blame.contrast(region)[0, rows, 0]), ((1, 0), blame.terms[0, rows, 1, 0, 0])):
        found = head_sources(trace, text, of)
        assert found.components == tuple(blame.components[i] for i in rows)
        np.testing.assert_allclose(found.maps.sum(axis=(1, 2)) + found.prefix, terms, atol=1e-12)


def test_a_source_is_attention_times_value(monkeypatch):
    monkeypatch.setattr("analysis.head_maps.ROWS", 3)  # several portions of queries
    trace, text, region = case()
    whole = head_sources(trace, text, region)
    parts = [head_sources(trace, text, (int(r), int(c))) for r, c in np.argwhere(region.foreground)]
    rest = [head_sources(trace, text, (int(r), int(c))) for r, c in np.argwhere(region.background)]
    expected = np.mean([found.maps for found in parts], axis=0) - np.mean([found.maps for found in rest], axis=0)
    np.testing.assert_allclose(whole.maps, expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"patch to lie in the grid \(6, 6\), but got \(0, -1\)"):
        head_sources(trace, text, (0, -1))
    with pytest.raises(ValueError, match=r"region to be on the grid \(6, 6\) of the trace, but got \(2, 2\)"):
        head_sources(trace, text, Region.from_patches([(0, 0)], (2, 2)))
    assert replace(HEAD, head=0) in whole.components
