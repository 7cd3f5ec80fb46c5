"""The address bar: every case survives the way there and back, and nonsense is named and left out."""

from dataclasses import fields
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.address import FIELDS, from_query, read_method, to_link, to_query, write_method
from dashboard.case import (
    COLOURS,
    CUSTOM,
    MAX_PINS,
    MEASURES,
    PROJECTIONS,
    RAMPS,
    SCALES,
    TEMPLATES,
    TOKENS_OF,
    Case,
    Pin,
)
from surgery import METHODS, Method
from surgery.attention import KINDS
from surgery.methods import POSITION_INTERPOLATIONS

texts = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30).filter(str.isprintable)
naturals = st.integers(0, 40)
numbers = st.floats(-9, 9, width=16)
names = st.sampled_from((*METHODS, CUSTOM))
methods = st.builds(
    Method,
    attention=st.sampled_from(KINDS),
    blocks=st.integers(1, 24),
    residual=numbers,
    alpha=numbers,
    mlp=st.booleans(),
    position_interpolation=st.sampled_from(POSITION_INTERPOLATIONS),
)
prompts = st.lists(texts, min_size=1, max_size=4, unique=True).map(tuple)
templates = st.sampled_from(TEMPLATES)
sizes = st.none() | st.integers(1, 2048)
pins = st.builds(
    lambda prompts, **rest: Pin(prompts=prompts, prompt=len(prompts) - 1, **rest),
    prompts,
    model=texts,
    weights=texts,
    image=texts,
    size=sizes,
    templates=templates,
    method=names,
    custom=methods,
    feature_surgery=st.booleans(),
)
cases = st.builds(
    Case,
    model=texts,
    weights=texts,
    image=texts,
    prompts=prompts,
    templates=templates,
    caption=texts,
    region=texts,
    patch=st.none() | st.tuples(naturals, naturals),
    layer=st.none() | naturals,
    head=st.none() | naturals,
    word=st.none() | naturals,
    measure=st.sampled_from(MEASURES),
    gradients=st.booleans(),
    tokens_of=st.sampled_from(TOKENS_OF),
    overlay=st.lists(naturals.map(str) | names, unique=True).map(tuple),
    projection=st.sampled_from(PROJECTIONS),
    colour=st.sampled_from(COLOURS),
    lit=st.sets(st.integers(0, 2500)).map(lambda lit: tuple(sorted(lit))),
    prompt=texts,
    component=texts,
    ablate=st.booleans(),
    kinds=st.lists(st.sampled_from(KINDS), unique=True).map(tuple),
    ramp=st.sampled_from(RAMPS),
    struck=texts,
    methods=st.lists(names, unique=True).map(tuple),
    custom=methods,
    method_a=names,
    method_b=names,
    difference=st.booleans(),
    feature_surgery=st.booleans(),
    scale=st.sampled_from(SCALES),
    threshold=st.none() | numbers,
    points=st.booleans(),
    size=sizes,
    pins=st.lists(pins, max_size=2).map(tuple),
)


def test_every_field_of_the_case_has_its_own_parameter() -> None:
    assert set(FIELDS) == {field.name for field in fields(Case)}
    assert len({field.name for field in FIELDS.values()}) == len(FIELDS)


@given(cases)
def test_a_case_survives_the_query(case: Case) -> None:
    assert from_query(to_query(case), Case()) == (case, [])


@given(cases)
def test_a_case_survives_the_link(case: Case) -> None:
    query = parse_qs(urlsplit(to_link("http://127.0.0.1:8501/maps", case)).query, keep_blank_values=True)
    assert from_query(query, Case())[0] == case


def test_defaults_are_left_out_of_the_link() -> None:
    assert to_link("http://127.0.0.1:8501", Case()) == "http://127.0.0.1:8501"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patch", "7"),
        ("patch", "-1,3"),
        ("lit", "3-"),
        ("lit", "0-999999999999"),
        ("overlay", "unknown"),
        ("measure", "loud"),
        ("block", "two"),
        ("custom", "vv,0,1,1,0,bicubic"),
        ("custom", "vv,1,nan,1,0,bicubic"),
        ("custom", "vv"),
        ("methods", "clip,unknown"),
        ("scale", "loud"),
        ("size", "100000"),
        ("threshold", "inf"),
        ("surgery", "yes"),
        ("templates", "../../etc"),
        ("p", "a\x00b"),
        ("pin", "[1, 2]"),
        ("pin", "{"),
        ("image", "x" * 3000),
    ],
)
def test_nonsense_is_named_and_the_default_stays(name: str, value: str) -> None:
    assert from_query({name: [value]}, Case()) == (Case(), [name])


def test_no_more_pins_than_the_shelf_holds() -> None:
    pin = Pin("toy", "", "toy-0", None, "none", ("grass",), 0, "clip", Method(), False)
    one = to_query(Case(pins=(pin,)))["pin"]
    assert from_query({"pin": one * 9}, Case())[0].pins == (pin,) * MAX_PINS


def test_a_method_is_written_in_the_order_of_its_fields() -> None:
    method = Method("qq+kk", 3, 0.5, 1.25, True, "bilinear")
    assert write_method(method) == "qq+kk,3,0.5,1.25,1,bilinear"
    assert read_method(write_method(method)) == method
