"""Texts of visitors: shown as they stand, and prompts read back as they were written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.panels.texts import join_prompts, plain, shorten
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
