"""Mixtures of attention: how they are written, what they compute, and the newer presets against their authors' code."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surgery import METHODS, Method, usable_methods
from surgery.attention import KINDS, attention_pattern
from surgery.calibration import averaging, find_outliers, repair, similarity_pattern
from surgery.dense import Walk, fit_method
from surgery.method_names import parse_method, write_method
from surgery.mixtures import Part, parse_mixture, write_mixture
from surgery.steps import Steps, parse_steps, write_steps
from tests.tiny import picture, tiny_model

weights = st.floats(-10, 10).filter(lambda w: w != 0).map(lambda w: float(f"{w:.6g}"))
blocks = st.sets(st.integers(-12, -1), max_size=5).map(lambda found: tuple(sorted(found)))
parts = st.lists(st.builds(Part, st.sampled_from(KINDS), weights, blocks), min_size=1, max_size=4).map(tuple)


@given(parts)
def test_written_and_read_again(mixture):
    text = write_mixture(mixture)
    assert parse_mixture(text) == mixture
    method = Method(text, blocks=2, residual=0.5)
    assert parse_method(write_method(method)) == method


def test_spellings():
    assert parse_mixture("qq+kk") == (Part("qq+kk"),)
    spelled = (Part("qq", 0.5, (-1,)), Part("qq", 0.5, (-6, -5, -4, -3)))
    assert parse_mixture("0.5*qq@-1 + 0.5*mean(qq@-6..-3)") == parse_mixture("0.5*qq@-1 + 0.5*qq@-6..-3") == spelled
    assert Method("0.5*qq + 0.5*qk@-9|-2").reach == 9 and Method("vv", blocks=3).reach == 3


block = st.none() | st.integers(-12, -1)
factors = st.floats(-2, 2).map(lambda f: float(f"{f:.6g}"))
some_steps = st.builds(Steps, st.booleans(), block, blocks, factors, block).filter(lambda steps: steps != Steps())


@given(some_steps)
def test_steps_written_and_read_again(steps):
    method = Method("0.5*sim@-4 + 0.5*kk", residual=0.0, mlp=False, steps=write_steps(steps))
    assert parse_method(write_method(method)).parsed_steps == steps
    assert method.reach == max(4, steps.reach)


@pytest.mark.parametrize("text", ["repair + repair", "before", "before@-4..-2", "cls*0", "cls*nan", "levels@3", "mend"])
def test_what_is_no_step_is_named(text):
    with pytest.raises(ValueError, match="Expected steps to be some of"):
        Method(residual=0.0, mlp=False, steps=text)
    assert parse_steps("") is None and write_steps(None) == ""


def test_steps_without_meaning_are_refused():
    with pytest.raises(ValueError, match="Expected blocks 1, residual 0 and mlp False for a method with steps"):
        Method("kk", steps="repair")
    plain = Method("vv", residual=0.0, mlp=False, steps="cls*0.3")
    with pytest.raises(ValueError, match="no steps for the attention pool of a ResNet"):
        fit_method(tiny_model("tiny-rn").tower, plain)
    with pytest.raises(ValueError, match="without cls for a tower that has no CLS token"):
        fit_method(tiny_model("tiny-map").tower, plain)
    with pytest.raises(ValueError, match=r"name blocks from -4 to -1 .* with the steps repair"):
        fit_method(tiny_model("tiny-vit").tower, replace(METHODS["sc_clip"], attention="kk"))


def test_outliers_are_found_as_scikit_learn_finds_them_and_repaired_by_their_neighbours():
    from sklearn.neighbors import LocalOutlierFactor

    patches = torch.randn(2, 35, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    patches[0, 7] += 20
    patches[1, [0, 34]] -= 20
    found = find_outliers(patches)
    assert found[0, 7] and found.sum(dim=1).tolist() == [2, 2] and found[1, [0, 34]].all()  # 5 % of 35
    factors = -LocalOutlierFactor(30).fit(patches[0].numpy()).negative_outlier_factor_
    assert factors.argmax() == 7
    mended = repair(patches, found, (5, 7))
    beside = [place for place in (0, 1, 8, 14, 15) if not found[0, place]]  # of patch 7, row 1 and column 0
    assert torch.allclose(mended[0, 7], patches[0, beside].mean(dim=0))
    assert torch.equal(mended[0, ~found[0]], patches[0, ~found[0]])
    assert torch.equal(repair(patches, torch.ones_like(found), (5, 7)), patches)  # no neighbour left to learn from
    assert not find_outliers(patches[:, :1]).any()


def test_similarity_by_hand():
    stream = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]], dtype=torch.float64)
    pattern = similarity_pattern(stream)  # cosines have mean 1/9: only 1 on the diagonal is above
    assert torch.equal(pattern[0, 0], torch.eye(3, dtype=torch.float64))
    assert torch.allclose(averaging(stream)[0], torch.eye(3, dtype=torch.float64), atol=1e-5)
    model = tiny_model("tiny-vit", "fp64")
    trace = model.trace(model.preprocess([picture()]))
    expected = similarity_pattern(trace.stream(3)) @ trace.block(-1).v
    assert torch.allclose(Walk(trace).heads(3, "sim@-2"), expected, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "0.5*",
        "sim",
        "0.5*sim + kk",
        "0.5*qq@",
        "qq@0",
        "qq@-3..-6",
        "qq@1",
        "nan*qq",
        "a*qq + kk",
        "mean(qq",
        "qq@-1..",
        "inf*vv",
    ],
)
def test_what_is_no_mixture_is_named(text):
    with pytest.raises(ValueError, match="Expected"):
        Method(text)


def test_what_a_tower_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"Expected attention to name blocks from -4 to -1 .*, but got '0.5\*qq"):
        fit_method(tiny_model("tiny-vit").tower, "itaclip")
    with pytest.raises(ValueError, match="attention pool of a ResNet"):
        fit_method(tiny_model("tiny-rn").tower, Method("0.5*vv + 0.5*qk@-1"))
    assert set(usable_methods(tiny_model("tiny-rn").tower, METHODS)) == {"clip", "maskclip", "clip_surgery", "tagclip"}


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-vit-scaled", "tiny-map"])
def test_a_mixture_is_its_patterns_times_v(name):
    model = tiny_model(name, "fp64")
    trace = model.trace(model.preprocess([picture()]))
    last = trace.block(-1).projections
    own = attention_pattern("qq+kk", last)
    others = [attention_pattern("qk", trace.block(index).projections) for index in (-3, -2)]
    expected = (1.5 * own + 0.25 * (others[0] + others[1]) / 2) @ last.v
    found = Walk(trace).heads(trace.depth - 1, "1.5*qq+kk + 0.25*qk@-3..-2")
    assert torch.allclose(found, expected, atol=1e-12)
    assert math.isclose(Method("1.5*qq+kk + 0.25*qk@-3..-2").reach, 3)
