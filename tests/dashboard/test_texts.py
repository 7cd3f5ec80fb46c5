"""Texts of visitors: shown as they stand, and prompts read back as they were written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.panels.texts import in_visitors_words, join_prompts, plain, shorten, why_not
from surgery import METHODS, Method
from surgery.prompts import split_prompts


@pytest.mark.parametrize("text", ["**bold**", "[x](http://y)", "<b>", ":red[x]", "$x$", "# head", "`code`", "~~x~~"])
def test_nothing_is_left_that_markdown_could_read(text: str) -> None:
    assert not re.search(r"(?<!\\)[*\[\]()<>$#`~_]", plain(text))


def test_a_short_code_does_not_become_an_emoji() -> None:
    assert ":smile:" not in plain(":smile:").replace("\\", "")


def test_words_stay_words() -> None:
    assert plain("a red circle") == "a red circle"


@given(st.lists(st.text("ab ,\"'", min_size=1).map(str.strip).filter(bool), min_size=1, unique=True))
def test_prompts_are_read_back(prompts: list[str]) -> None:
    assert split_prompts(join_prompts(prompts)) == tuple(prompts)


def test_long_texts_are_shortened() -> None:
    assert shorten("a long text", 8) == "a long…"
    assert shorten("short", 8) == "short"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Expected at most 40 prompts, but got 41",
            "At most 40 prompts can be looked at together, and these are 41.",
        ),
        (
            "Expected blocks to be from 1 to 2 (the depth of this tower), but got 6",
            "The blocks have to be from 1 to 2 (the depth of this tower); here they are 6",
        ),
        ("Expected the mask with SHA-256 ab12, but it was not uploaded in this session", "The mask of this view was"),
        ("No such file", "No such file"),
    ],
)
def test_errors_are_told_in_visitors_words(said: str, told: str) -> None:
    assert in_visitors_words(said).startswith(told)
    assert "Expected" not in in_visitors_words(said)


def test_a_method_that_a_model_cannot_run_says_why() -> None:
    assert why_not(METHODS["gem"], 2, None) == "It needs the last 6 blocks, and this model has 2."
    assert why_not(Method("kk", 1), 2, ("qk", "vv")) == "It compares tokens by k-k, and this model only knows q-k, v-v."
    assert why_not(METHODS["clip"], 2, None) == ""
