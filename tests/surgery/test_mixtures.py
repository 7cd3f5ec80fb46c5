"""Mixtures of attention: how they are written, what they compute, and the newer presets against their authors' code."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surgery import METHODS, Method, encode_dense, usable_methods
from surgery.attention import KINDS, attention_pattern
from surgery.dense import Walk, fit_method
from surgery.method_names import parse_method, write_method
from surgery.mixtures import Part, parse_mixture, write_mixture
from tests.conformance import error, open_explainer
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


@pytest.mark.parametrize(
    "text", ["0.5*", "0.5*qq@", "qq@0", "qq@-3..-6", "qq@1", "nan*qq", "a*qq + kk", "mean(qq", "qq@-1..", "inf*vv"]
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


def _close(model, pixels, method, reference, tolerance=1e-4):
    patches = encode_dense(model, pixels, method).patches[0].flatten(0, 1)
    assert error(patches, reference) < tolerance


@pytest.mark.parametrize("size", ["224x224", "224x336"])
def test_newer_presets_equal_their_authors_code(shared, size):
    arrays, model, pixels = open_explainer(shared, f"cliptrase_conformance-vit12_horses_{size}")
    _close(model, pixels, "cliptrase", arrays["cliptrase"][1:])
    arrays, model, pixels = open_explainer(shared, f"tagclip_conformance-vit12_horses_{size}")
    _close(model, pixels, "tagclip", arrays["tagclip_features"][1:])
    arrays, model, pixels = open_explainer(shared, f"itaclip_conformance-vit12_horses_{size}")
    _close(model, pixels, "itaclip", arrays["itaclip"][1:])
    _close(model, pixels, Method("0.5*qk + 0.5*qk@-6..-5|-3", mlp=False), arrays["itaclip.qk"][1:])
    arrays, model, pixels = open_explainer(shared, f"resclip_conformance-vit12_horses_{size}")
    _close(model, pixels, "resclip", arrays["rcs.resclip.wo_resi"][1:])
    _close(model, pixels, Method("1.4*qq + 0.6*qk@-7..-4", residual=0, mlp=False), arrays["rcs.clearclip.wo_resi"][1:])
    _close(model, pixels, Method("1.4*qq+kk + 0.6*qk@-7..-4"), arrays["rcs.sclip.w_resi"][1:])
    _close(model, pixels, Method("1.4*qk + 0.6*qk@-7..-4"), arrays["rcs.vanilla.w_resi"][1:])
