"""From text to tokens and back: ids, the characters each token stands for, and where a long prompt is cut."""

import re
import threading
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from surgery.prompts import fill_template, resolve_templates
from surgery.text_tower import TextModel, context_length

Span = tuple[int, int]
"""Characters [start, end) of the original text."""

# Hugging Face's fast tokenizers change themselves for the length of a call, and raise when two threads do it at once.
_TOKENIZER_LOCK = threading.Lock()


class PromptCutWarning(UserWarning):
    """A prompt has more tokens than the model reads; its end was cut off."""


@dataclass(frozen=True, slots=True)
class PromptCut:
    """Where a prompt that is too long is cut.

    Attributes:
        prompt: the whole prompt, template filled in.
        n_tokens: tokens of the whole prompt, start and end included.
        context_length: tokens that the model reads, start and end included.
        kept_text: what the model still sees: the beginning of `prompt`, or, for Hugging Face tokenizers, its wording
            after their cleaning.
    """

    prompt: str
    n_tokens: int
    context_length: int
    kept_text: str

    def __str__(self) -> str:
        return (
            f"Expected every prompt to have at most {self.context_length} tokens, start and end included, but got "
            f'{self.n_tokens} for "{_shorten(self.prompt)}": it was cut, kept up to "...{self.kept_text[-40:]}"'
        )


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text.

    Attributes:
        position: row of `TokenFeatures.features`; the start token has 0.
        id: number in the vocabulary.
        piece: its text after cleaning; "\ufffd" for a part of a character that takes several tokens.
        is_special: whether it is a start or end token.
        span: characters [start, end) of the original text, None for the added start and end tokens. Where cleaning
            (HTML entities, broken encodings) rewrote characters, the whole rewritten stretch.
        word: which word of the text it belongs to, counted from 0; None for the added start and end tokens.
    """

    position: int
    id: int
    piece: str
    is_special: bool
    span: Span | None
    word: int | None


def tokenize(model: TextModel, texts: Sequence[str]) -> Tensor:
    """Ids (t, context length), on the CPU, padded and cut by the model's own tokenizer."""
    with _TOKENIZER_LOCK:
        return model.tokenizer(list(texts), context_length=context_length(model))


def word_spans(model: TextModel, text: str) -> tuple[Token, ...]:
    """The tokens of a text from start to end token, with the characters and the word that each one stands for.

    A word is what CLIP's tokenizer splits off before byte pairs are merged: letters, one digit, punctuation, or an
    English ending such as "'s". What is cut off a text that is too long has no token.

    Args:
        model: with open_clip's own byte-pair tokenizer.
        text: as written; spans refer to it.

    Raises:
        ValueError: the model has another kind of tokenizer.
    """
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, SimpleTokenizer):
        kind = type(tokenizer).__name__
        raise ValueError(f"Expected the tokenizer of {model.name} to be open_clip's SimpleTokenizer, but got {kind}")
    inner = [
        Token(i, id, piece, id in tokenizer.all_special_ids, span, word)
        for i, (id, piece, span, word) in enumerate(_pieces(tokenizer, text), start=1)
    ][: context_length(model) - 2]
    start, end = (
        Token(i, id, tokenizer.decoder[id], True, None, None)
        for i, id in ((0, tokenizer.sot_token_id), (len(inner) + 1, tokenizer.eot_token_id))
    )
    tokens = (start, *inner, end)
    if [token.id for token in tokens] != tokenize(model, [text])[0, : len(tokens)].tolist():
        raise ValueError(f"Expected the tokenizer to cut a long text at its end, but got other tokens for {text!r}")
    return tokens


def prompt_cut(model: TextModel, text: str, templates: str | Sequence[str] = "none") -> PromptCut | None:
    """Where the text is cut because it has too many tokens, None if it is not; with templates, the longest prompt."""
    limit = context_length(model)
    prompts = [fill_template(template, text) for template in resolve_templates(templates)]
    # A token stands for one byte at least, and cleaning adds none to plain ASCII: most prompts need no tokenizing.
    doubtful = [p for p in prompts if len(p) + 3 > limit or not p.isascii() or "&" in p]
    counts = {prompt: _count_tokens(model, prompt) for prompt in doubtful}
    longest = max(counts, key=counts.__getitem__, default="")
    if counts.get(longest, 0) <= limit:
        return None
    return PromptCut(longest, counts[longest], limit, _kept_text(model, longest))


def warn_if_cut(model: TextModel, texts: Sequence[str], templates: str | Sequence[str]) -> None:
    """A `PromptCutWarning` for every text that is cut."""
    for text in texts:
        cut = prompt_cut(model, text, templates)
        if cut is not None:
            warnings.warn(str(cut), PromptCutWarning, stacklevel=4)


def _count_tokens(model: TextModel, prompt: str) -> int:
    """Tokens of the whole prompt, start and end included."""
    tokenizer = model.tokenizer
    if isinstance(tokenizer, SimpleTokenizer):
        return len(tokenizer.encode(prompt)) + 2
    # In open_clip's "clips" mode, the wrapper adds start, end and class token itself.
    added = 3 if tokenizer.tokenizer_mode == "clips" else 0
    with _TOKENIZER_LOCK:
        ids = tokenizer.tokenizer(tokenizer.clean_fn(prompt), add_special_tokens=not added, verbose=False).input_ids
    return len(ids) + added


def _kept_text(model: TextModel, prompt: str) -> str:
    if isinstance(model.tokenizer, SimpleTokenizer):
        spans = [token.span for token in word_spans(model, prompt) if token.span is not None]
        return prompt[: spans[-1][1]] if spans else ""
    return model.tokenizer.tokenizer.decode(tokenize(model, [prompt])[0], skip_special_tokens=True)


def _shorten(text: str, length: int = 40) -> str:
    return text if len(text) <= length else text[:length] + "..."


def _pieces(tokenizer: SimpleTokenizer, text: str) -> Iterator[tuple[int, str, Span, int]]:
    """Id, piece, characters of `text`, and word number of every token, uncut. Follows `SimpleTokenizer.encode`."""
    origins = _character_origins(tokenizer.clean_fn, text)
    for word, match in enumerate(tokenizer.pat.finditer(tokenizer.clean_fn(text))):
        ends = list(accumulate(len(character.encode()) for character in match[0]))  # in bytes, one a character
        start = 0
        for piece in tokenizer.bpe("".join(tokenizer.byte_encoder[byte] for byte in match[0].encode())).split(" "):
            bare = piece.removesuffix("</w>")
            first, last = bisect_right(ends, start), bisect_left(ends, start + len(bare))
            span = origins[match.start() + first][0], origins[match.start() + last][1]
            readable = bytes(tokenizer.byte_decoder[character] for character in bare).decode(errors="replace")
            yield tokenizer.encoder[piece], readable, span, word
            start += len(bare)


def _character_origins(clean: Callable[[str], str], text: str) -> list[Span]:
    """For every character of the cleaned text, the characters of the original that it was made from.

    Every word between spaces is cleaned on its own. From the front and from the back, as far as these agree with the
    whole text cleaned at once, their origin is certain; what lies between belongs to the stretch between.
    """
    parts = [part for match in re.finditer(r"\S+", text) for part in _clean_word(clean, match[0], match.start())]
    words = clean(text).split()
    front = _count_equal(words, [word for word, _ in parts])
    back = _count_equal(words[front:][::-1], [word for word, _ in parts[front:]][::-1])
    known = [spans for _, spans in parts]
    head, tail = known[:front], known[len(known) - back :]
    stretch = _trim(text, head[-1][-1][1] if head else 0, tail[0][0][0] if tail else len(text))
    rewritten = [[stretch] * len(word) for word in words[front : len(words) - back]]
    origins: list[Span] = []
    for spans in (*head, *rewritten, *tail):
        origins += [*spans, (spans[-1][1], spans[-1][1])]  # the last one for the space after the word
    return origins


def _trim(text: str, start: int, end: int) -> Span:
    """The stretch without the plain spaces around it, or as it is where there is nothing else."""
    between = text[start:end]
    plain = " \t\n\r\f\v"
    inner = between.strip(plain)
    left = len(between) - len(between.lstrip(plain))
    return (start + left, start + left + len(inner)) if inner else (start, end)


def _clean_word(clean: Callable[[str], str], source: str, offset: int) -> list[tuple[str, list[Span]]]:
    """The cleaned words that one word of the original turns into, with the origin of every character."""
    whole = (offset, offset + len(source))
    words = clean(source).split()
    if len(words) != 1:
        return [(word, [whole] * len(word)) for word in words]
    word = words[0]
    single = [(i, i + 1) for i in range(*whole)]
    if len(word) == len(source) and all(a == b.lower() for a, b in zip(word, source, strict=True)):
        return [(word, single)]
    # Rewritten: plain ASCII at both ends is certain to be itself, unless it is part of an HTML entity.
    certain = [character.lower() if character.isascii() else None for character in source]
    front = _count_equal(word, [None if c == "&" else c for c in certain])
    back = _count_equal(word[front:][::-1], [None if c == ";" else c for c in certain[front:]][::-1])
    inner = (offset + front, whole[1] - back)
    if front + back in (len(word), len(source)):
        return [(word, [whole] * len(word))]
    spans = [*single[:front], *[inner] * (len(word) - front - back), *single[len(source) - back :]]
    return [(word, spans)]


def _count_equal(a: Sequence[str], b: Sequence[str | None]) -> int:
    """How many leading elements are equal."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
