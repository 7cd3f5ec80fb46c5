"""Tokens and the characters they stand for; prompts that are too long."""

import hypothesis
import hypothesis.strategies as st
import pytest

from surgery.prompts import TEMPLATE_SETS
from surgery.words import PromptCut, prompt_cut, tokenize, word_spans
from tests.surgery.text_models import WordTokenizer, text_model

MODEL = text_model()


def pieces(text):
    """What each token covers in the original, and its word."""
    return [(text[slice(*token.span)], token.word) for token in word_spans(MODEL, text)[1:-1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red circle", [("a", 0), ("red", 1), ("circle", 2)]),
        ("  A\tRED \n circle ", [("A", 0), ("RED", 1), ("circle", 2)]),
        ("the dog's 42.", [("the", 0), ("dog", 1), ("'s", 2), ("4", 3), ("2", 4), (".", 5)]),
        ("a flibberdog!", [("a", 0), ("fli", 1), ("b", 1), ("ber", 1), ("dog", 1), ("!", 2)]),
        ("caf\u00e9 \U0001f600", [("caf\u00e9", 0), ("\U0001f600", 1)]),
        ("CAF&Eacute;s &amp; schÃ¶n", [("CAF", 0), ("&Eacute;s", 0), ("&amp;", 1), ("sch", 2), ("Ã¶", 2), ("n", 2)]),
        ("AT&amp;T", [("AT", 0), ("&amp;", 1), ("T", 2)]),
        ("&lt;b&gt; x", [("&lt;b&gt;", 0), ("&lt;b&gt;", 1), ("&lt;b&gt;", 2), ("x", 3)]),
        ("a&nbsp;b  c", [("a&nbsp;b", 0), ("a&nbsp;b", 1), ("c", 2)]),
        ("\u0130stanbul", [("\u0130", 0), ("\u0130", 1), ("stanbul", 2)]),
        ("\ufb01ne", [("\ufb01ne", 0)]),
        ("", []),
        (" \n ", []),
    ],
)
def test_spans_point_into_the_original(text, expected):
    assert pieces(text) == expected


def test_a_token_knows_its_place_and_piece():
    start, dog, end = word_spans(MODEL, "Dog")
    assert (start.position, start.id, start.is_special, start.span, start.word) == (0, 49406, True, None, None)
    assert (dog.position, dog.id, dog.piece, dog.is_special, dog.span, dog.word) == (1, 1929, "dog", False, (0, 3), 0)
    assert (end.position, end.id, end.is_special, end.span, end.word) == (2, 49407, True, None, None)
    assert [start.piece, end.piece] == ["<start_of_text>", "<end_of_text>"]


def test_pieces_are_readable_text():
    assert [token.piece for token in word_spans(MODEL, "NA\u00cfVE")[1:-1]] == ["na", "\u00ef", "ve"]
    assert "\ufffd" in [token.piece for token in word_spans(MODEL, "\u13a0")[1:-1]]


def test_a_special_token_in_the_text_is_marked():
    tokens = word_spans(MODEL, "dog <end_of_text> x")
    assert [(token.is_special, token.span) for token in tokens[1:-1]] == [
        (False, (0, 3)),
        (True, (4, 17)),
        (False, (18, 19)),
    ]


def test_tokens_of_a_long_text_stop_where_the_model_stops():
    tokens = word_spans(MODEL, "red dog " * 50)
    assert len(tokens) == 24
    assert tokens[-2].span == (84, 87)
    assert tokens[-1].is_special


def test_a_rewritten_stretch_is_covered_as_a_whole():
    # The no-break space is the second byte of a letter in a wrong encoding: cleaning word by word misses it.
    assert MODEL.tokenizer.clean_fn("a \u00c3\u00a0 la mode") == "a \u00e0 la mode"
    assert pieces("a \u00c3\u00a0 la mode") == [("a", 0), ("\u00c3\u00a0", 1), ("la", 2), ("mode", 3)]


HARD = (
    "&amp;",
    "&lt;",
    "&nbsp;",
    "&",
    ";",
    "\u00c3",
    "\u00b6",
    "\u00a0",
    "\u00e2\u20ac\u2122",
    "e",
    "\u0301",
    "\u0130",
)
HARD += (
    "\ufb01",
    "\u200b",
    "<end_of_text>",
    " ",
    " ",
    "\n",
    "Dog",
    "'s",
    "7",
    "\u72ac",
    "\U0001f600",
    "\x1b[1m",
    "\x00",
)


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.text(max_size=40) | st.lists(st.sampled_from(HARD), max_size=15).map("".join))
def test_any_text_has_true_spans(text):
    tokens = word_spans(MODEL, text)
    assert [token.id for token in tokens] == tokenize(MODEL, [text])[0, : len(tokens)].tolist()
    spans = [token.span for token in tokens[1:-1]]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    words = [token.word for token in tokens[1:-1]]
    assert words == sorted(words) and set(words) == set(range(len(set(words))))
    clean = MODEL.tokenizer.clean_fn
    hypothesis.assume(clean(text) == " ".join(clean(part) for part in text.split() if clean(part)))
    for token in tokens[1:-1]:  # nothing was repaired across words, so each stretch can be checked on its own
        assert token.piece.strip("\ufffd") in clean(text[slice(*token.span)])


def test_another_tokenizer_has_no_words():
    model = text_model("custom")
    model.tokenizer = WordTokenizer()
    with pytest.raises(
        ValueError, match="tokenizer of custom to be open_clip's SimpleTokenizer, but got WordTokenizer"
    ):
        word_spans(model, "dog")


def test_a_tokenizer_that_drops_other_words_is_refused():
    model = text_model()
    model.tokenizer = type(model.tokenizer)(context_length=24, reduction_mask="shuffle")
    with pytest.raises(ValueError, match="Expected the tokenizer to cut a long text at its end, but got other tokens"):
        word_spans(model, " ".join(f"{i}" for i in range(100)))


def test_a_long_prompt_is_cut_where_the_words_end():
    text = "Red  DOG, " * 100 + "cat"
    cut = prompt_cut(MODEL, text)
    assert cut == PromptCut(text, 303, 24, ("Red  DOG, " * 8)[:73])
    assert cut.kept_text == "Red  DOG, " * 7 + "Red"
    kept = tokenize(MODEL, [cut.kept_text])[0]
    assert kept.tolist() == tokenize(MODEL, [text])[0].tolist()
    assert str(cut).endswith('it was cut, kept up to "...  DOG, Red  DOG, Red  DOG, Red  DOG, Red"')


def test_the_longest_prompt_of_an_ensemble_counts():
    text = "dog " * 18 + "dog"
    assert prompt_cut(MODEL, text) is None
    cut = prompt_cut(MODEL, text, "clip_surgery")
    assert cut.prompt == f"a jpeg corrupted photo of a {text}."
    assert cut.n_tokens == max(len(MODEL.tokenizer.encode(t.format(text))) for t in TEMPLATE_SETS["clip_surgery"]) + 2


def test_a_prompt_that_fits_is_not_cut():
    assert prompt_cut(MODEL, "dog " * 22) is None
    assert prompt_cut(MODEL, "dog " * 23).n_tokens == 25
    assert prompt_cut(MODEL, "") is None


def test_hidden_length_is_seen():
    assert prompt_cut(MODEL, "\u72ac" * 20).n_tokens > 24
    assert prompt_cut(MODEL, "&amp;" * 20) is None


@pytest.mark.parametrize(("mode", "fits"), [("", 22), ("clips", 21)])
def test_a_hugging_face_tokenizer_is_cut_too(mode, fits):
    model = text_model("custom")
    model.tokenizer = WordTokenizer()
    model.tokenizer.tokenizer_mode = mode
    assert prompt_cut(model, "dog " * fits) is None
    cut = prompt_cut(model, "dog " * (fits + 1))
    assert (cut.n_tokens, cut.context_length) == (25, 24)
    assert cut.kept_text == " ".join(["dog"] * 22)
