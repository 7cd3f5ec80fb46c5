"""Addresses, regions and pins that nobody's page has written: read or refused, never a stack."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.address import FIELDS, from_query, to_query
from dashboard.case import Case
from dashboard.pages import PAGES
from dashboard.regions import region_mask, unknown_pixels
from dashboard.settings import View

NAMES = [field.name for field in FIELDS.values()] + [
    f"{page.settings.PAGE}.{field.name}" for page in PAGES for field in page.settings.FIELDS.values()
]
NUMBERS = ["nan", "inf", "-inf", "1e999", "3e38", "-0", "1_0", "٣", "²", "9" * 5000, "0x10", "1e-400", "-1", "2", " 1 "]
NESTED = ["[" * 990, "[" * 100_000, '{"a":' * 500, "]", "[[[]]]", "null", "true", '"x"', "[1]" * 99]

texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from([*NUMBERS, *NESTED, "", ",", "-", ":", "=cmd", "<script>", "../../etc/passwd", "\ud800", "a\x00b"]),
    st.lists(st.sampled_from(NUMBERS), max_size=8).map(",".join),
    st.lists(st.sampled_from(NUMBERS), min_size=4, max_size=4).map(lambda n: f"vv,{n[0]},{n[1]},{n[2]},{n[3]},bicubic"),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just("toy")),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
pins = st.lists(json_values, min_size=10, max_size=10).map(json.dumps) | texts


def bare(given_fields: object) -> Case:
    return Case()


@given(st.dictionaries(st.sampled_from([*NAMES, "unknown"]), st.lists(texts, min_size=1, max_size=3), max_size=8))
def test_any_address_is_a_view_that_can_be_written(query: dict[str, list[str]]) -> None:
    view, ignored = from_query(query, bare)
    assert set(ignored) <= set(query)
    assert from_query(to_query(view), bare) == (view, [])


@given(st.lists(pins, max_size=8))
def test_any_pin_is_read_or_refused(values: list[str]) -> None:
    view, ignored = from_query({"pin": values}, bare)
    assert ignored in ([], ["pin"])
    assert from_query(to_query(view), bare)[0] == view


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pin", "[" * 990),
        ("pin", json.dumps(["toy", "", "toy-0", float("inf"), "none", ["a"], 0, "clip", "vv,1,1,1,0,bicubic", False])),
        ("pin", json.dumps(["toy", "", "toy-0", None, "none", ["a"], 1e999, "clip", "vv,1,1,1,0,bicubic", False])),
        ("custom", "vv,5,3e38,1,0,bicubic"),
        ("custom", "vv,5,1,-1,0,bicubic"),
        ("custom", "vv,5,2,1,0,bicubic"),
        ("block", "9" * 5000),
        ("space.lit", "0-65535," * 2000 + "1"),
        ("maps.threshold", "3e38"),
    ],
)
def test_what_broke_pages_is_named(name: str, value: str) -> None:
    assert from_query({name: [value]}, bare) == (View(), [name])


def test_too_many_values_are_refused() -> None:
    assert from_query({"space.overlay": ["1"] * 101}, bare)[1] == ["space.overlay"]


regions = st.one_of(
    st.builds("{}:{}".format, st.sampled_from(["box", "polygon", "mask", "object", "x", ""]), texts),
    st.builds(
        "box:{}".format, st.lists(st.floats(-1e7, 1e7), min_size=3, max_size=5).map(lambda n: ",".join(map(str, n)))
    ),
    st.builds("mask:ab#{}".format, texts),
)


@given(regions)
def test_any_region_is_pixels_or_a_sentence(region: str) -> None:
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    try:
        found = region_mask(region, (20, 30), {"ring": np.ones((20, 30), bool)}, lambda sha256: labels)
        unknown_pixels(region, lambda sha256: labels)
    except ValueError as error:
        assert str(error).startswith("Expected ")
    else:
        assert found is None or found.dtype == bool


def test_boxes_are_those_that_were_drawn() -> None:
    mask = region_mask("box:5,2,1,4", (6, 8), {}, lambda sha256: None)
    assert mask.sum() == 8 and mask[2:4, 1:5].all()
    with pytest.raises(ValueError, match="Expected box to be at least a pixel wide and high, but got '3,3,3,9'"):
        region_mask("box:3,3,3,9", (20, 30), {}, lambda sha256: None)
    with pytest.raises(ValueError, match="Expected box to be x0,y0,x1,y1 in pixels, but got 'a,b,c,d'"):
        region_mask("box:a,b,c,d", (20, 30), {}, lambda sha256: None)
