"""The drawer's pins, their file, and what differs between two of them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import pins
from dashboard.address import from_query, read_pin, to_query, write_pin
from dashboard.case import MAX_NAME, MAX_PINS, Case, case_of_pin, pin_of
from dashboard.settings import View
from surgery import Method

CASE = Case(image="toy-2", prompts=("a red circle", "grass"), region="box:1,2,30,40")
FIRST, SECOND, THIRD = (pin_of(CASE, 0, name) for name in ("clip", "gem", "custom"))
FULL = replace(CASE, pins=tuple(replace(FIRST, image=f"toy-{number}") for number in range(MAX_PINS)))
KEPT = replace(CASE, pins=(FIRST, SECOND, THIRD), pair=("1", "3"))


def test_a_pin_is_kept_once_and_the_drawer_has_an_end() -> None:
    once = pins.add_pin(CASE, FIRST)
    assert once.pins == (FIRST,) and pins.add_pin(once, replace(FIRST, name="again")) == once
    assert pins.add_pin(FULL, SECOND) == FULL


def test_the_pair_follows_its_pins() -> None:
    moved = pins.moved_pin(KEPT, 2, -1)
    assert moved.pins == (FIRST, THIRD, SECOND) and moved.pair == ("1", "2")
    assert pins.moved_pin(KEPT, 0, -1) == KEPT == pins.moved_pin(KEPT, 2, 1)
    assert pins.without_pin(KEPT, 0).pair == ("", "2") and pins.without_pin(KEPT, 0).pins == (SECOND, THIRD)
    assert pins.chosen_for(KEPT, 0, "3").pair == ("3", "1")
    assert pins.chosen_for(KEPT, 1, "clip").pair == ("1", "clip")


def test_what_is_not_chosen_is_the_first_pins_then_the_view_on_the_table() -> None:
    assert pins.slots(replace(KEPT, pair=("", ""))) == ("1", "2")
    assert pins.slots(replace(KEPT, pair=("", "1"))) == ("2", "1")
    assert pins.slots(replace(CASE, pins=(SECOND,), method_a="gem")) == ("1", "clip")
    assert pins.slots(replace(CASE, pair=("9", "x"), method_a="clip")) == ("clip", "clip_surgery")
    live = pins.pin_in(replace(CASE, region="object:a ring", prompt=""), "gem")
    assert live.text == "a ring" and live.method == "gem"
    assert pins.pin_in(KEPT, "3") == THIRD


def test_a_pin_brings_its_case_back() -> None:
    back = pins.opened(replace(KEPT, image="toy-5", prompts=("x",), region="", methods=("clip",)), "2")
    assert (back.image, back.prompts, back.region, back.method_a) == ("toy-2", CASE.prompts, CASE.region, "gem")
    assert back.methods == ("clip", "gem") and back.pins == KEPT.pins
    assert case_of_pin(FIRST).prompt == "a red circle"


def test_names_and_notes_are_bounded_and_in_the_address() -> None:
    named = pins.renamed_pin(pins.renamed_pin(KEPT, 1, name="x" * 99), 1, note="a\x00note\n, “quoted”")
    assert named.pins[1].name == "x" * MAX_NAME and named.pins[1].note == "anote, “quoted”"
    assert from_query(to_query(View(named)), lambda given: Case())[0].case == named
    assert read_pin(write_pin(named.pins[1])) == named.pins[1] and len(write_pin(FIRST)) < len(write_pin(named.pins[1]))


def test_the_file_of_pins_comes_back_behind_what_is_here() -> None:
    named = pins.renamed_pin(KEPT, 0, name="ä", note="=1+1")
    read = pins.read_pins(pins.write_pins(named.pins))
    assert read == named.pins
    assert pins.brought_back(CASE, read).pins == named.pins
    assert pins.brought_back(replace(CASE, pins=(SECOND,)), read).pins == (SECOND, named.pins[0], THIRD)
    with pytest.raises(ValueError, match=f"Expected room for 2 more pins, but got 0 of {MAX_PINS} places left"):
        pins.brought_back(FULL, (SECOND, THIRD))


def file_of(**changes: object) -> bytes:
    return json.dumps(json.loads(pins.write_pins([FIRST])) | changes).encode()


ROW = json.loads(pins.write_pins([FIRST]))["pins"][0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "got no JSON"),
        (b"[" * 100_000, "got no JSON"),
        (b"[]", "got another JSON file"),
        (b'{"type": "FeatureCollection"}', "got another JSON file"),
        (b" " * 1_000_001, "at most 1 MB, but got 1000001 bytes"),
        (file_of(version=2), "Expected pins of version 1, but got '2'"),
        (file_of(pins=[]), f"a file of 1 to {MAX_PINS} pins, but got 0"),
        (file_of(pins=[ROW] * 13), f"a file of 1 to {MAX_PINS} pins, but got 13"),
        (file_of(pins=[1]), "Expected pin 1 of the file to have model, weights"),
        (file_of(pins=[ROW, {**ROW, "size": 10**9}]), "Expected pin 2 of the file to be one that a page made"),
        (file_of(pins=[{**ROW, "prompt": 7}]), "Expected pin 1 of the file to be one that a page made"),
        (file_of(pins=[{**ROW, "custom": "vv,1,nan,1,0,bicubic"}]), "Expected pin 1 of the file to be one"),
        (file_of(pins=[{**ROW, "note": "a\x00b"}]), "Expected pin 1 of the file to be one"),
        (file_of(pins=[{**ROW, "name": ["x"]}]), "Expected pin 1 of the file to be one"),
        (file_of(pins=[{**ROW, "extra": 1}]), "Expected pin 1 of the file to have"),
    ],
)
def test_foreign_and_hostile_files_get_one_clear_line(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=r"^Expected ") as refused:
        pins.read_pins(content)
    assert message in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 300


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*ROW]), json_values, max_size=3))
def test_any_row_is_a_pin_or_refused(changes: dict[str, object]) -> None:
    try:
        (read,) = pins.read_pins(file_of(pins=[ROW | changes]))
    except ValueError as error:
        assert str(error).startswith("Expected ")
    else:
        assert read_pin(write_pin(read)) == read


def test_what_differs_is_one_line() -> None:
    other = replace(FIRST, model="ViT-B-16", weights="openai")
    assert pins.differences(FIRST, other, str) == (
        "Same image and prompt; model toy against ViT-B-16 openai; method CLIP"
    )
    two = replace(FIRST, prompt=1, region="", size=448)
    assert pins.differences(FIRST, two, str) == (
        "Same image and model; prompt “a red circle” against “grass”; region a drawn box against none; "
        "input size native against 448 px; method CLIP"
    )
    custom = replace(THIRD, custom=Method("kk", 2), feature_surgery=True)
    assert "method CLIP against kk · 2 blocks" in pins.differences(FIRST, custom, str)
    assert pins.what_differs(FIRST, other, str) == ("toy", "ViT-B-16 openai")
    assert pins.what_differs(FIRST, FIRST, str) == ("CLIP", "CLIP")
    assert pins.differences(FIRST, replace(FIRST, name="x"), str) == "A and B are the same case"
    assert pins.differences(FIRST, replace(FIRST, image="china"), lambda name: name[:3]).startswith(
        "Same prompt and model; image toy against chi"
    )
