"""The language of the toy model: its training captions and its share of CLIP's byte-pair merges."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.toy.scenes import COLOURS, make_caption
from data.toy.shapes import SHAPES
from data.toy.textures import TEXTURES

COMMON_MERGES = 1000  # first merges of CLIP, so that words outside the toy's language break into pieces of some length

TEMPLATES = (
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a photo of the {}",
    "there is {} in the scene",
    "this is {}",
)

Merge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Caption:
    """A training caption and what it claims.

    Attributes:
        text: the words.
        objects: phrases that the text names.
        background: word for the texture, or None where the text does not name it.
    """

    text: str
    objects: frozenset[str]
    background: str | None

    def is_true_of(self, phrases: frozenset[str], background: str) -> bool:
        """Whether a scene with these objects and background is described correctly."""
        return self.objects <= phrases and self.background in (None, background)


def draw_caption(rng: np.random.Generator, phrases: Sequence[str], background: str) -> Caption:
    """Describe a scene at random: half the time in full, else in part, so that bare prompts have a meaning too."""
    order = list(rng.permutation(phrases))
    if rng.random() < 0.04:
        return Caption(_decorate(rng, background), frozenset(), background)
    named, place = order, background
    if rng.random() < 0.25:
        named = order[: rng.integers(1, len(order) + 1)]
        place = background if rng.random() < 0.5 else None
    return Caption(_decorate(rng, make_caption(named, place)), frozenset(named), place)


def _decorate(rng: np.random.Generator, text: str) -> str:
    choice = rng.random()
    if choice < 0.15:
        return TEMPLATES[rng.integers(len(TEMPLATES))].format(text)
    if choice < 0.25:
        return " ".join(word for word in text.split() if word not in ("a", "an"))
    return text


def toy_words() -> list[str]:
    """Every word of the training captions, each once."""
    grammar = ["a", "an", "and", "on", *" ".join(TEMPLATES).replace("{}", "").split()]
    return list(dict.fromkeys([*grammar, *COLOURS, *SHAPES, *TEXTURES]))


def select_merges(merges: Sequence[Merge], words: Sequence[str], common: int = COMMON_MERGES) -> list[Merge]:
    """Keep the merges that build the words whole, and the most common ones, in their order.

    Leaving merges out never changes how a word is built whose own merges are all kept.

    Args:
        merges: all merges, by rank.
        words: lower-case words.
        common: how many of the first merges to keep besides.

    Returns:
        A subset of `merges`, by rank.

    Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016, algorithm 1.
    """
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    kept = set(merges[:common])
    for word in words:
        kept.update(_merges_of(word, ranks))
    return sorted(kept, key=ranks.__getitem__)


def _merges_of(word: str, ranks: dict[Merge, int]) -> list[Merge]:
    pieces, used = [*word[:-1], word[-1] + "</w>"], []
    while len(pieces) > 1:
        pair = min(pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if pair not in ranks:
            break
        used.append(pair)
        pieces = _join(pieces, pair)
    return used


def _join(pieces: list[str], pair: Merge) -> list[str]:
    joined, i = [], 0
    while i < len(pieces):
        matches = tuple(pieces[i : i + 2]) == pair
        joined.append("".join(pair) if matches else pieces[i])
        i += 2 if matches else 1
    return joined
