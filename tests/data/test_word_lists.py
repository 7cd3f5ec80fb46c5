"""Word lists: those that come along, and a user's own."""

from pathlib import Path

import pytest

from data.toy.captions import toy_words
from data.word_lists import MAX_CHARACTERS, WORD_LISTS, read_word_list


def test_the_lists_that_come_along():
    assert WORD_LISTS == ("general", "toy")
    assert 1000 < len(read_word_list("general")) < 3000
    toy = read_word_list("toy")
    assert {word for text in toy for word in text.split()} <= set(toy_words())
    assert "a red circle" in toy and "grass" in toy


def test_a_list_of_ones_own_is_read_without_blanks_and_repetitions(tmp_path: Path):
    path = tmp_path / "own.txt"
    path.write_bytes("\ufeffa  cat\r\n\r\ngrass\na cat\n".encode())
    assert read_word_list(path) == ("a cat", "grass")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n \n", "own.txt to hold 1 to 20000 words, a line each, but got 0"),
        (b"\xff\xfe\x00", "own.txt to be a text in UTF-8"),
        (b"x" * (MAX_CHARACTERS + 1), "at most 500 characters, but got 501"),
    ],
)
def test_what_is_no_word_list_is_refused(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "own.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_word_list(path)
    with pytest.raises(FileNotFoundError, match="one of general, toy, or an existing file, but got 'gone'"):
        read_word_list("gone")
