"""Which word met which patch: relevance of the tokens of a caption to an image, and captions with one word left out.

CLIP's text tower gives every token of a caption a feature, though only that of the end token is trained against images.
The multimodal visualisation of CLIP Surgery takes all of them, start and end token included, in place of the features
of classes; what feature surgery removes is then what all tokens have in common. A token sees those before it only.

Source: Li et al. 2023, "CLIP Surgery", arXiv 2304.05653, multimodal visualization, and the authors' answer on it in
github.com/xmed-lab/CLIP_Surgery/issues/5: the features of the text before the end token is picked.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.metrics import flip_auc, pointing_game
from analysis.redundancy import mean_contrast
from analysis.regions import Region
from surgery.dense import DenseFeatures
from surgery.features import feature_surgery, similarity
from surgery.methods import Method
from surgery.models import Model
from surgery.text import encode_text, encode_tokens
from surgery.text_tower import TextTower, find_text_tower
from surgery.words import Token, word_spans


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a caption, rebuilt from its byte-pair tokens.

    Attributes:
        text: as it stands in the caption.
        span: characters [start, end) of the caption.
        tokens: positions of its tokens in `Caption.tokens`.
    """

    text: str
    span: tuple[int, int]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as the text tower reads it.

    Attributes:
        text: as written.
        tokens: k tokens from start to end token; `is_special` marks these two, `span` gives characters of `text`.
        words: what the tokens between them make up; words cut off a caption that is too long are missing.
    """

    text: str
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]

    def find(self, phrase: str) -> tuple[int, ...]:
        """Indices in `words` of the first occurrence of a phrase, upper and lower case being the same.

        Raises:
            ValueError: the phrase is not in the caption as whole words, or was cut off.
        """
        pattern = r"\s+".join(map(re.escape, phrase.split()))
        found = re.search(rf"(?<!\w){pattern}(?!\w)", self.text, re.IGNORECASE)
        start, end = found.span() if found and pattern else (0, 0)
        inside = tuple(i for i, word in enumerate(self.words) if start <= word.span[0] and word.span[1] <= end)
        if not inside:
            raise ValueError(f"Expected phrase to be words of the caption {self.text!r}, but got {phrase!r}")
        return inside

    def per_word(self, values: np.ndarray) -> np.ndarray:
        """Mean over the tokens of each word: (..., k) -> (..., words)."""
        means = [values[..., list(word.tokens)].mean(axis=-1, keepdims=True) for word in self.words]
        return np.concatenate([values[..., :0], *means], axis=-1)


def read_caption(model: Model, caption: str) -> Caption:
    """Tokens and words of a caption.

    Raises:
        ValueError: the model has another tokenizer than open_clip's byte pairs, or the caption spells a special token.
    """
    tokens = word_spans(model, caption)
    special = [token.piece for token in tokens[1:-1] if token.is_special]
    if special:
        raise ValueError(f"Expected caption to hold words only, but got the special tokens {special}")
    members: dict[int, list[Token]] = {}
    for token in tokens:
        if token.word is not None:
            members.setdefault(token.word, []).append(token)
    spans = [(pieces[0].span[0], pieces[-1].span[1]) for pieces in members.values()]
    words = tuple(
        Word(caption[slice(*span)], span, tuple(token.position for token in pieces))
        for span, pieces in zip(spans, members.values(), strict=True)
    )
    return Caption(caption, tokens, words)


def token_tower(model: Model) -> TextTower:
    """The text tower of a model whose tokens have features of their own.

    Raises:
        ValueError: the tower is not causal, not read at its end token (SigLIP), or not open_clip's (Hugging Face).
    """
    tower = find_text_tower(model.clip)
    if tower is None or not tower.can_cut or tower.pool_type not in ("argmax", "eos"):
        kind = type(getattr(model.clip, "text", model.clip)).__name__
        how = "" if tower is None else f' that pools "{tower.pool_type}"'
        raise ValueError(
            f"Expected the text tower of {model.name} to be causal and read at its end token, as CLIP's is, "
            f"so that tokens have features of their own, but got {kind}{how}"
        )
    return tower


@dataclass(frozen=True, slots=True, eq=False)
class TokenRelevance:
    """How much every token of a caption has to do with an image and its patches; float32 arrays.

    Attributes:
        caption: the k tokens and their words.
        cls: (b, k) relevance to the whole image.
        patches: (b, gh, gw, k) relevance to every patch, each token's own map.
        kind: "feature surgery" (sums to 0 over the tokens) or "cosine".
        method: the method of the image features.
        model: name of the model.
    """

    caption: Caption
    cls: np.ndarray
    patches: np.ndarray
    kind: str
    method: Method
    model: str

    @property
    def matrix(self) -> np.ndarray:
        """(b, gh * gw, k): patches, row by row, against tokens."""
        return self.patches.reshape(len(self.patches), -1, len(self.caption.tokens))

    def phrase_map(self, phrase: str, image: int = 0) -> np.ndarray:
        """Mean map (gh, gw) over the words of a phrase of the caption."""
        words = self.caption.find(phrase)
        return self.caption.per_word(self.patches[image])[..., list(words)].mean(axis=-1)


def compute_token_relevance(
    model: Model, features: DenseFeatures, caption: str, *, remove_redundancy: bool = True
) -> TokenRelevance:
    """Relevance of every token of a caption to an image.

    Args:
        model: the model of the features.
        features: from `dense_features`.
        caption: one text.
        remove_redundancy: feature surgery over the tokens, as published; else the plain cosines.

    Raises:
        ValueError: the text tower gives its tokens no feature of their own.

    Warns:
        PromptCutWarning: the caption has more tokens than the model reads; what is cut off has no token.

    Source: Li et al. 2023, arXiv 2304.05653, as the module docstring says.
    """
    token_tower(model)
    read = read_caption(model, caption)
    encoded = encode_tokens(model, [caption], cut=True)
    text = encoded.features[0, : len(read.tokens)]  # (k, d)
    sim = feature_surgery(features, text) if remove_redundancy else similarity(features, text)
    cls, patches = (z.float().cpu().numpy() for z in (sim.cls, sim.patches))
    return TokenRelevance(read, cls, patches, sim.kind, features.method, features.model)


@dataclass(frozen=True, slots=True, eq=False)
class WordAblation:
    """What the similarity loses with each word; float32 arrays.

    A drop is the value for the whole caption minus the value for the caption without the word: positive for a word that
    holds the similarity up.

    Attributes:
        caption: the caption and its w words.
        shortened: w captions, each without one word.
        cls: (b,) cosine of the image with the whole caption.
        cls_drop: (b, w).
        patches: (b, gh, gw) cosine of every patch with the whole caption.
        patch_drop: (b, gh, gw, w).
        contrast: (b,) mean cosine over the foreground minus over the background; None without region.
        contrast_drop: (b, w); None without region.
        method: the method of the image features.
        model: name of the model.
    """

    caption: Caption
    shortened: tuple[str, ...]
    cls: np.ndarray
    cls_drop: np.ndarray
    patches: np.ndarray
    patch_drop: np.ndarray
    contrast: np.ndarray | None
    contrast_drop: np.ndarray | None
    method: Method
    model: str

    def phrase_map(self, phrase: str, image: int = 0) -> np.ndarray:
        """Mean of `patch_drop` (gh, gw) over the words of a phrase of the caption."""
        return self.patch_drop[image][..., list(self.caption.find(phrase))].mean(axis=-1)


def leave_one_word_out(
    model: Model, features: DenseFeatures, caption: str, region: Region | Sequence[Region] | None = None
) -> WordAblation:
    """Removes each word of a caption in turn; all captions are encoded in one call.

    Of a caption that is too long, the words that the model reads are removed; those cut off do not move up.

    Args:
        model: the model of the features.
        features: from `dense_features`.
        caption: one text, without a template.
        region: one for all images, or one each, for the contrast.

    Raises:
        ValueError: a caption without words, another tokenizer than open_clip's, or regions that do not fit.

    Warns:
        PromptCutWarning: the caption has more tokens than the model reads.
    """
    read = read_caption(model, caption)
    if not read.words:
        raise ValueError(f"Expected caption to hold at least one word, but got {caption!r}")
    kept = caption[: read.words[-1].span[1]]
    shortened = tuple(remove_span(kept, word.span) for word in read.words)
    text = encode_text(model, [caption, *shortened], cache=False)  # (1 + w, d)
    sim = similarity(features, text)
    contrast = None if region is None else mean_contrast(sim.patches, region)
    whole, drops = [], []
    for values in (sim.cls, sim.patches, contrast):
        whole.append(None if values is None else values[..., 0].float().cpu().numpy())
        drops.append(None if values is None else (values[..., :1] - values[..., 1:]).float().cpu().numpy())
    return WordAblation(
        caption=read,
        shortened=shortened,
        cls=whole[0],
        cls_drop=drops[0],
        patches=whole[1],
        patch_drop=drops[1],
        contrast=whole[2],
        contrast_drop=drops[2],
        method=features.method,
        model=features.model,
    )


def remove_span(text: str, span: tuple[int, int]) -> str:
    """A text without some of its characters; what stood on either side stays apart, so that no new word arises.

    >>> remove_span("a red-hot circle", (5, 6))
    'a red hot circle'
    """
    return " ".join(f"{text[: span[0]]} {text[span[1] :]}".split())


@dataclass(frozen=True, slots=True)
class WordHit:
    """Whether a phrase of the caption points at what it names.

    Attributes:
        phrase: words of the caption.
        hit: 1 if the highest patch of its map is foreground, 0 if not; the share among equal maxima.
        chance: share of foreground among foreground and background patches, the hit of a random patch.
        auc: flip AUC of its map, 0.5 by chance.
    """

    phrase: str
    hit: float
    chance: float
    auc: float


def word_region_hits(
    maps: TokenRelevance | WordAblation, targets: Mapping[str, Region], image: int = 0
) -> tuple[WordHit, ...]:
    """Compares where phrases point with where the things they name are.

    In a causal text tower the feature of a word carries all words before it, so its own map tells where the caption up
    to there points. What the word itself adds shows when it is left out.

    Args:
        maps: of one caption: the words' own, or what leaving them out takes away.
        targets: phrases of the caption and the region of what each names; for the word of the background, the region
            whose foreground is the background of the scene.
        image: which image of the batch.

    Raises:
        ValueError: a phrase that is not in the caption, or a region of another grid.
    """
    hits = []
    for phrase, region in targets.items():
        map_ = maps.phrase_map(phrase, image)
        foreground, background = region.foreground.sum(), region.background.sum()
        chance = float(foreground / (foreground + background))
        hits.append(WordHit(phrase, pointing_game(map_, region), chance, flip_auc(map_, region)))
    return tuple(hits)
