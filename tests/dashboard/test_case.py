"""The case: how it is put in words, and what is dropped when it does not fit."""

from dataclasses import replace

import pytest

from dashboard.case import (
    Case,
    case_of_pin,
    describe_method,
    describe_model,
    describe_region,
    fit_case,
    is_judged,
    method_of,
    pin_of,
)
from dashboard.panels.case import case_parts
from surgery import METHODS, Method

SHAPE = {"grid": (4, 6), "depth": 3, "heads": 2, "patch_px": (8, 8), "kinds": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [("patch", (4, 0)), ("patch", (0, 6)), ("layer", 3), ("head", 2), ("size", 20)],
)
def test_what_the_model_does_not_have_is_dropped(field: str, value: object) -> None:
    assert getattr(fit_case(replace(Case(custom=Method()), **{field: value}), **SHAPE), field) is None


def test_what_fits_is_kept() -> None:
    case = Case(patch=(3, 5), layer=2, head=1, size=64, custom=Method(attention="gem", blocks=3))
    assert fit_case(case, **SHAPE) is case


def test_a_free_method_is_cut_to_the_tower() -> None:
    fitted = fit_case(Case(custom=Method(attention="gem", blocks=9)), **{**SHAPE, "kinds": ("qk", "vv")})
    assert fitted.custom == Method(attention="qk", blocks=3)


def test_a_pin_computes_the_same_map() -> None:
    case = Case(prompts=("a", "b"), custom=Method(alpha=2.0), feature_surgery=True, size=112, patch=(1, 1))
    again = case_of_pin(pin_of(case, 1, "custom"))
    assert (again.prompts, again.feature_surgery, again.size) == (case.prompts, True, 112)
    assert method_of(again, again.methods[0]) == Method(alpha=2.0)


def test_methods_are_found_by_name() -> None:
    assert method_of(Case(), "gem") == METHODS["gem"]
    with pytest.raises(ValueError, match=r"Expected method to be one of clip, .*custom, but got 'surgery'"):
        method_of(Case(), "surgery")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (describe_region("object:a red circle"), "a red circle"),
        (describe_region("mask:abc#7"), "mask, id 7"),
        (describe_region("box:0,0,2,2"), "a drawn box"),
        (describe_region(""), ""),
        (describe_model("local:mine", ""), "mine"),
        (describe_model("ViT-B-16", "random"), "ViT-B-16 with random weights"),
        (describe_method(Method("vv", 1, 0, 2.5, False)), "vv · 1 block · residual 0 · alpha 2.5 · no MLP"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert text == expected


def test_the_case_line_names_every_part_and_clears_one_at_a_time() -> None:
    case = Case(prompts=("a", "b"), region="object:a", patch=(7, 5), layer=5, word=0)
    parts = {part.name: part for part in case_parts(case, "scene 12")}
    line = " · ".join(part.text for part in parts.values())
    assert line == "toy · scene 12 · “a” · “b” · region: a · patch row 7, column 5 · block 5 · mean of heads · word 0"
    assert parts["prompt 0"].clear == {"prompts": ("b",)}
    assert replace(case, **parts["patch"].clear).patch is None
    assert parts["model"].clear is None


def test_an_object_judges_its_own_phrase_and_a_drawing_all_prompts() -> None:
    case = Case(prompts=("a red circle", "grass"), region="object:a red circle")
    assert [is_judged(case, prompt) for prompt in case.prompts] == [True, False]
    assert all(is_judged(replace(case, region="box:0,0,9,9"), prompt) for prompt in case.prompts)
    assert is_judged(replace(case, region="object:a blue ring"), "grass")
