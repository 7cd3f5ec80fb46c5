"""Prompts of every script in pictures: with the fonts that are there, and one note where none is."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry

from dashboard import fonts
from dashboard.figure_png import save_png
from dashboard.fonts import BOX, OWN, MissingFontWarning, families_of
from dashboard.overview import overview_png

UNASSIGNED = "\U000e0fff"  # that no font has


@pytest.fixture
def unsearched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_found", {})


def draw(text: str) -> bytes:
    figure = Figure(figsize=(3, 1))
    figure.text(0.1, 0.5, text, fontsize=20)
    return save_png(figure)


def only(*names: str) -> tuple[FontEntry, ...]:
    return tuple(entry for entry in fonts._candidates() if entry.name in names)


@pytest.mark.parametrize(
    "text", ["红色的圆圈", "赤い丸と가나다", "دائرة حمراء", "लाल वृत्त", "วงกลมสีแดง", "a 😀 on grass ❤️"]
)
def test_no_script_gives_a_warning_a_glyph(text: str, unsearched: None) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        draw(text)
        draw(text)
    assert len(said) <= 1 and all(one.category is MissingFontWarning for one in said)


def test_what_latin_needs_is_the_own_font(unsearched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert families_of("a photo") == [OWN]
    assert families_of("größer, ±1, Кот") == [OWN]
    assert all(fonts._found.values())


def test_a_font_of_the_system_is_taken(unsearched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = only(OWN, "STIXGeneral")
    assert len(pair) == 2
    known = {pair[0].fname: frozenset("é"), pair[1].fname: frozenset("é水")}
    monkeypatch.setattr(fonts, "_candidates", lambda: pair)
    monkeypatch.setattr(fonts, "_characters", lambda path: known[path])
    assert families_of("é 水") == [OWN, "STIXGeneral"]


def test_what_no_font_has_is_one_box_and_one_note(unsearched: None) -> None:
    with pytest.warns(MissingFontWarning, match="No font of this machine has") as said:
        boxed = draw(f"a{UNASSIGNED}")
        draw(f"a{UNASSIGNED}")
    assert len(said) == 1 and boxed == draw(f"a{BOX}") != draw("a")


@pytest.mark.skipif(not any("CJK" in entry.name for entry in fonts._candidates()), reason="no font with Chinese here")
def test_chinese_is_drawn_as_chinese(unsearched: None) -> None:
    assert draw("红") != draw("圆") != draw(BOX)
    pictures = [
        overview_png(
            np.zeros((8, 8, 3), np.uint8), np.ones((1, 1, 2, 2)), [text], ["clip"], title="", unit="", settings=""
        )
        for text in ("红", "圆")
    ]
    assert pictures[0] != pictures[1]
