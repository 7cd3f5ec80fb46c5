"""The free method: mixtures that are typed."""

import pytest

from dashboard import state
from dashboard.case import Case
from dashboard.panels import custom
from surgery import load_model

MIXTURE = "0.5*qq + 0.5*qq@-6..-3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.5*zz + qq", "no mixture such as"),
        ("loud", "No kind of attention"),
        ("0.5*qq + 0.5*qq@-9", "the last 9 blocks, and this model has 6"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_visitors_words_and_not_taken(monkeypatch, text: str, said: str) -> None:
    problems: dict = {}
    monkeypatch.setattr(state, "case", Case)
    monkeypatch.setattr(state, "set_problem", lambda name, entered, why: problems.update({name: (entered, why)}))
    custom._set_kind(load_model("toy"), text)
    assert problems[custom.FIELD][0] == text and said in problems[custom.FIELD][1]
    assert "Expected" not in problems[custom.FIELD][1]


def test_a_mixture_becomes_the_custom_method(monkeypatch) -> None:
    changes: dict = {}
    monkeypatch.setattr(state, "case", Case)
    monkeypatch.setattr(state, "clear_problem", lambda name: None)
    monkeypatch.setattr(state, "update", lambda **new: changes.update(new))
    custom._set_kind(load_model("toy"), f" {MIXTURE.replace(' + ', '  + ')} ")
    assert changes["custom"].attention == MIXTURE


def test_the_page_shows_a_mixture_of_the_address(open_app) -> None:
    app = open_app(query={"image": ["toy-2"], "custom": [f"{MIXTURE},1,1,1,0,bicubic"], "methods": ["custom"]})
    assert not app.exception and not app.error
    assert MIXTURE in next(box for box in app.selectbox if "attention kind" in box.label).options
