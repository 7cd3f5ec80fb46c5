"""What words are relevant to: one caption, or a sum or difference of captions, read word by word.

The target of "a red circle ++ a blue ring" is (t_1 + t_2) / |t_1 + t_2| of the unit text features, see
`surgery.targets`. A measure that explains one caption explains term i by the weight s_i / |sum|: its sign, over the
length of the sum, which is held. Leaving a word out needs no such rule: the whole target is formed anew.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.text_tokens import Caption, read_caption, remove_span
from surgery.models import Model
from surgery.targets import LEAST_LENGTH, parse_target
from surgery.text import encode_text

START, END = "[start]", "[end]"


@dataclass(frozen=True, slots=True)
class TargetTerm:
    """One caption of a target.

    Attributes:
        caption: the caption and its words.
        weight: its sign over the length of the sum; 1 for a caption alone.
    """

    caption: Caption
    weight: float

    @property
    def shortened(self) -> tuple[str, ...]:
        """The caption without each of its words; what the model does not read is left out too."""
        kept = self.caption.text[: self.caption.words[-1].span[1]]
        return tuple(remove_span(kept, word.span) for word in self.caption.words)


@dataclass(frozen=True, slots=True, eq=False)
class WordTarget:
    """A caption, or a sum or difference of captions.

    Its u units are, term by term, the start token, the words, and the end token.

    Attributes:
        text: as typed.
        terms: its captions.
        feature: (d,) unit feature of the target.
    """

    text: str
    terms: tuple[TargetTerm, ...]
    feature: Tensor

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the units."""
        inner = ((START, *(word.text for word in term.caption.words), END) for term in self.terms)
        return tuple(name for names in inner for name in names)

    @property
    def first_units(self) -> tuple[int, ...]:
        """Position of the start token of every term."""
        starts, at = [], 0
        for term in self.terms:
            starts.append(at)
            at += len(term.caption.words) + 2
        return tuple(starts)

    @property
    def word_units(self) -> tuple[int, ...]:
        """Positions of the units that are words."""
        return tuple(index for index, name in enumerate(self.units) if not self._is_special(index, name))

    def _is_special(self, index: int, name: str) -> bool:
        ends = {first - 1 for first in self.first_units[1:]} | {len(self.units) - 1}
        return index in self.first_units or index in ends


def read_target(model: Model, text: str) -> WordTarget:
    """The captions and words of a text such as "a dog on grass", "a dog ++ grass", "a dog on grass -- grass".

    Raises:
        ValueError: a caption without words, texts that cancel, or another tokenizer than open_clip's byte pairs.

    Warns:
        PromptCutWarning: a caption has more tokens than the model reads.
    """
    parts = parse_target(text)
    captions = [read_caption(model, part) for _, part in parts]
    for caption in captions:
        if not caption.words:
            raise ValueError(f"Expected caption to hold at least one word, but got {caption.text!r}")
    total = signed_sum([sign for sign, _ in parts], encode_text(model, [part for _, part in parts], cache=False))
    length = float(total.norm())
    if length < LEAST_LENGTH:
        raise ValueError(f"Expected the texts of a difference to differ, but got {text!r}, whose features cancel")
    terms = tuple(TargetTerm(caption, sign / length) for (sign, _), caption in zip(parts, captions, strict=True))
    return WordTarget(text, terms, total / length)


def signed_sum(weights: list[float], features: Tensor) -> Tensor:
    """Sum (d,) of text features (t, d) by weights of either sign."""
    return torch.tensor(weights, dtype=features.dtype, device=features.device) @ features
