"""Fonts for pictures: whatever script a prompt is in, a font of this machine that has it, or one note that none has.

Matplotlib draws what its own font lacks as boxes, with a warning for each glyph. Here the texts of a figure are looked
through before it is drawn; for characters that are missing, the fonts of the system are searched, and what none has is
drawn as one plain box and told once.
"""

import threading
import unicodedata
import warnings
from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry
from matplotlib.text import Text

OWN = "DejaVu Sans"
"""The font that comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew, and many symbols."""
NO_OUTLINES = ("Color Emoji", "ColorEmoji", "Last Resort")
"""Fonts of coloured pictures, which cannot be drawn, and of boxes."""
BOX = "\u25a1"
NOT_DRAWN = {"\ufe0f", "\ufe0e", "\u200d", "\u200b", "\n"}
"""Choose or join the pictures of other characters; by themselves they are nothing."""

_lock = threading.Lock()
_found: dict[str, str | None] = {}
"""Character -> family that has it; None where none has."""


class MissingFontWarning(UserWarning):
    """No font of this machine has some characters."""


def set_fonts(figure: Figure) -> None:
    """Gives every text of a figure the fonts that have its characters. Call it before the figure is drawn.

    Warns:
        MissingFontWarning: once for each character that no font has.
    """
    texts = figure.findobj(Text)
    families = families_of("".join(text.get_text() for text in texts))
    unknown = {character for character, family in _found.items() if family is None}
    for text in texts:
        shown = text.get_text()
        if shown.isascii():
            continue
        text.set_fontfamily(families)
        if not unknown.isdisjoint(shown):
            text.set_text("".join(BOX if c in unknown else c for c in shown))


def families_of(text: str) -> list[str]:
    """The families to draw a text with, in the order in which they are asked for a character."""
    wanted = {character for character in text if not character.isascii()} - NOT_DRAWN
    with _lock:
        new = wanted - _found.keys()
        if new:
            _search(new)
    others = {family for character in wanted if (family := _found[character]) is not None}
    return [OWN, *sorted(others - {OWN})]


def _search(characters: set[str]) -> None:
    """Finds a family for each character, as few families as it takes."""
    left = set(characters)
    for entry in _candidates():
        if not left:
            break
        for character in left & _characters(entry.fname):
            _found[character] = entry.name
            left.discard(character)
    _found.update(dict.fromkeys(left))
    if left:
        warnings.warn(describe_missing(left), MissingFontWarning, stacklevel=4)


def describe_missing(characters: Iterable[str]) -> str:
    """What pictures lack, and what would mend it."""
    scripts = sorted({unicodedata.name(c, "unnamed").split()[0].capitalize() for c in characters})
    shown = "".join(sorted(characters)[:10])
    return (
        f"No font of this machine has {shown} ({', '.join(scripts)}); pictures show {BOX} instead. "
        "Pages are drawn with the fonts of the browser. On Debian: apt install fonts-noto fonts-symbola"
    )


@cache
def _candidates() -> tuple[FontEntry, ...]:
    """Regular fonts with outlines: the own one first, then Noto's and other sans, then the rest."""
    entries = {entry.name: entry for entry in font_manager.fontManager.ttflist if _is_regular(entry)}
    return tuple(sorted(entries.values(), key=lambda entry: (entry.name != OWN, *_rank(entry.name), entry.name)))


def _is_regular(entry: FontEntry) -> bool:
    return entry.style == "normal" and not any(name in entry.name for name in NO_OUTLINES)


def _rank(family: str) -> tuple[bool, ...]:
    return "Mono" in family, "Sans" not in family, "Noto" not in family, "CJK" in family and "SC" not in family


@cache
def _characters(path: str) -> frozenset[str]:
    """The characters that the fonts of a file have; none of a file that cannot be read."""
    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError, TypeError, ValueError):
        return frozenset()
