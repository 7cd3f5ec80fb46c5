"""Word lists: plain text, a word or phrase a line, for saying in words what a part of a network writes.

`general` is ours: some 1,500 common things, materials, places, actions, looks and kinds of pictures. `toy` is all that
the embedded model knows: its colours, shapes, coloured shapes and backgrounds.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "word_lists"
WORD_LISTS: tuple[str, ...] = tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))
"""Names of the lists that come along."""
MAX_WORDS = 20_000
MAX_CHARACTERS = 500
"""Of one line."""


def read_word_list(source: str | Path) -> tuple[str, ...]:
    """Reads a word list; blank lines and repetitions are left out.

    Args:
        source: one of `WORD_LISTS`, or the path of a text file in UTF-8.

    Raises:
        FileNotFoundError: neither a list that comes along nor a file.
        ValueError: no text, no word, more than `MAX_WORDS`, or a line of more than `MAX_CHARACTERS`.

    >>> read_word_list("toy")[:3]
    ('red', 'orange', 'yellow')
    """
    path = FOLDER / f"{source}.txt" if str(source) in WORD_LISTS else Path(source)
    if not path.is_file():
        choices = ", ".join(WORD_LISTS)
        raise FileNotFoundError(
            f"Expected the word list to be one of {choices}, or an existing file, but got {str(source)!r}"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected {path.name} to be a text in UTF-8, but got other bytes") from error
    words = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not 0 < len(words) <= MAX_WORDS:
        raise ValueError(f"Expected {path.name} to hold 1 to {MAX_WORDS} words, a line each, but got {len(words)}")
    longest = max(words, key=len)
    if len(longest) > MAX_CHARACTERS:
        raise ValueError(
            f"Expected every line of {path.name} to have at most {MAX_CHARACTERS} characters, but got {len(longest)}"
        )
    return words
