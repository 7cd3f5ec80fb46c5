"""The toy's captions and its share of CLIP's merges."""

import gzip
from pathlib import Path

import numpy as np
import open_clip
import pytest
from open_clip.tokenizer import default_bpe

from data.toy.captions import Caption, draw_caption, select_merges, toy_words

PHRASES = ("a red circle", "an orange ring")


@pytest.fixture(scope="module")
def clip_merges() -> list[tuple[str, str]]:
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().splitlines()
    return [tuple(line.split()) for line in lines[1:48895]]


def test_captions_claim_what_they_say() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        caption = draw_caption(rng, PHRASES, "grass")
        for phrase in PHRASES:
            assert (phrase in caption.objects) == (phrase.split(maxsplit=1)[1] in caption.text)
        assert (caption.background == "grass") == ("grass" in caption.text)
        assert caption.is_true_of(frozenset(PHRASES), "grass")


def test_captions_use_the_words_of_the_vocabulary_only() -> None:
    rng = np.random.default_rng(1)
    words = {word for _ in range(500) for word in draw_caption(rng, PHRASES, "sand").text.replace(",", "").split()}
    assert words <= set(toy_words())


def test_captions_cover_full_and_bare_prompts() -> None:
    rng = np.random.default_rng(2)
    texts = {draw_caption(rng, PHRASES, "grass").text for _ in range(3000)}
    full = {"a red circle and an orange ring on grass", "an orange ring and a red circle on grass"}
    assert full | {"a red circle", "red circle", "grass", "a photo of a red circle"} <= texts


@pytest.mark.parametrize(
    ("objects", "background", "true"),
    [
        ({"a red circle"}, None, True),
        ({"a red circle"}, "grass", True),
        ({"a red circle"}, "sand", False),
        ({"a blue circle"}, None, False),
        ({"a red circle", "a blue circle"}, None, False),
        (set(), "grass", True),
    ],
)
def test_truth_of_a_caption(objects: set[str], background: str | None, true: bool) -> None:
    assert Caption("", frozenset(objects), background).is_true_of(frozenset(PHRASES), "grass") is true


def test_selected_merges_keep_rank_order_and_the_common_ones(clip_merges: list[tuple[str, str]]) -> None:
    kept = select_merges(clip_merges, ["crescent"], common=50)
    ranks = [clip_merges.index(merge) for merge in kept]
    assert ranks == sorted(ranks)
    assert kept[:50] == clip_merges[:50]


def test_fewer_merges_build_the_chosen_words_as_clip_does(clip_merges: list[tuple[str, str]], tmp_path: Path) -> None:
    chosen = ["crescent", "photograph", "zebra", "unbelievableness"]
    path = tmp_path / "merges.gz"
    lines = ["header", *map(" ".join, select_merges(clip_merges, chosen))]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    small, full = open_clip.SimpleTokenizer(str(path)), open_clip.SimpleTokenizer()
    for word in chosen:
        assert small.bpe(word) == full.bpe(word)
    assert small.bpe("elephant") != full.bpe("elephant")


def test_a_word_that_no_merge_fits_needs_none() -> None:
    assert select_merges([("a", "b")], ["xyz"], common=0) == []
