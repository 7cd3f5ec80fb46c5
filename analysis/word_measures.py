"""Which word matters? Every measure for one image and one caption, for the image and for every patch, side by side.

    found = word_relevance(model, features, read_target(model, "a red circle ++ a blue ring"), "chefer")
    found.image     # (u,) relevance of every unit to the image
    found.patches   # (gh, gw, u) the map of every unit

Each measure explains the cosine of a vector with the target: the image's feature, or a patch's. What it cannot say is
NaN: the start token that cannot be left out, or shares of a relevance that is zero everywhere, where published code
divides 0 by 0.

left_out       the cosine minus that with the target without the word
tokens         feature surgery over all tokens of a caption (CLIP Surgery, arXiv 2304.05653)
cosine         cosine with each token's own feature
chefer, chefer_all, grad_eclip, grad_eclip_own_heads    see `analysis.explainers`; shares of the words, sum 1
exclip         sums of second-order pairs over the patches, and the pairs (arXiv 2408.14153); of the model itself
gradients      integrated gradients, see `analysis.text_paths`; they add up to the change from their baseline
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.explainers import CAPTION_EXPLAINERS, caption_relevance, explain_caption
from analysis.text_gradients import integrated_gradients
from analysis.text_paths import integrate_vectors, token_path
from analysis.text_tokens import compute_token_relevance
from analysis.word_targets import TargetTerm, WordTarget, signed_sum
from surgery.dense import DenseFeatures
from surgery.models import Model
from surgery.text import encode_text

STEPS = 32
"""Points of integrated gradients."""
OnStep = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class WordRelevance:
    """Relevance of the units of a target under one measure; NaN where the measure says nothing.

    Attributes:
        measure: name in `WORD_MEASURES`.
        target: the captions and their u units.
        image: (u,) float32, to the whole image.
        patches: (gh, gw, u) float32, to every patch; None where they were not asked for.
        unit: what the numbers are.
        signed: whether negative values have a meaning.
        gap: of integrated gradients, their sum minus the change of the cosine with the image; else None.
    """

    measure: str
    target: WordTarget
    image: np.ndarray
    patches: np.ndarray | None
    unit: str
    signed: bool
    gap: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no word is relevant to the image at all, so that shares would be 0 / 0."""
        return not np.isfinite(self.image).any()

    @property
    def empty_patches(self) -> int:
        """Number of patches to which no word is relevant at all."""
        return 0 if self.patches is None else int((~np.isfinite(self.patches).any(axis=-1)).sum())


@dataclass(frozen=True, slots=True)
class WordPass:
    """What measures are computed from.

    Attributes:
        model, features, target: of the call.
        vectors: (n, d) unit features in at least float32: of the image, then of all patches where they are asked for.
        pixels: (1, 3, H, W) for exclip.
        baseline, steps: of integrated gradients.
        on_step: called with the number of steps done so far.
    """

    model: Model
    features: DenseFeatures
    target: WordTarget
    vectors: Tensor
    pixels: Tensor | None
    baseline: str
    steps: int
    on_step: OnStep


def _left_out(run: WordPass) -> Tensor:
    terms = run.target.terms
    texts = [term.caption.text for term in terms]
    shortened = [short for term in terms for short in term.shortened]
    features = encode_text(run.model, [*texts, *shortened], cache=False).to(run.vectors)
    weights, rows, at = [term.weight for term in terms], [], len(texts)
    for index, term in enumerate(terms):
        for _ in term.caption.words:
            rows.append(
                signed_sum(weights, torch.stack([*features[:index], features[at], *features[index + 1 : len(texts)]]))
            )
            at += 1
    whole = F.normalize(signed_sum(weights, features[: len(texts)]), dim=-1)
    drops = whole - F.normalize(torch.stack(rows), dim=-1)  # (words, d)
    return _spread(run.target, run.vectors @ drops.mT)


def _spread(target: WordTarget, words: Tensor) -> Tensor:
    """(n, words of all terms) -> (n, u), NaN for start and end tokens."""
    found = torch.full((len(words), len(target.units)), torch.nan, dtype=words.dtype, device=words.device)
    found[:, list(target.word_units)] = words
    return found


def _tokens(run: WordPass, *, surgery: bool) -> Tensor:
    columns = []
    for term in run.target.terms:
        found = compute_token_relevance(run.model, run.features, term.caption.text, remove_redundancy=surgery)
        values = np.concatenate([found.cls[:1], found.patches[0].reshape(-1, found.cls.shape[1])])[: len(run.vectors)]
        columns.append(term.weight * _units_of(term, torch.from_numpy(values), np.mean))
    return torch.cat(columns, dim=1)


def _units_of(term: TargetTerm, tokens: Tensor, reduce: Callable) -> Tensor:
    """(n, k) tokens -> (n, words + 2): start, words by `reduce` over their tokens, end."""
    values = tokens.cpu().numpy()
    words = [reduce(values[:, list(word.tokens)], axis=1, keepdims=True) for word in term.caption.words]
    return torch.from_numpy(np.concatenate([values[:, :1], *words, values[:, -1:]], axis=1))


def _shares(run: WordPass, *, explainer: str) -> Tensor:
    """Shares of all words of the target together."""
    columns = []
    for term in run.target.terms:
        raw = caption_relevance(run.model, term.caption.text, term.weight * run.vectors, explainer, run.on_step)
        columns.append(_units_of(term, raw, np.sum)[:, 1:-1])
    words = torch.cat(columns, dim=1)
    return _spread(run.target, words / words.sum(dim=1, keepdim=True))  # 0 / 0 is NaN


def _exclip(run: WordPass) -> Tensor:
    if run.pixels is None:
        raise ValueError("Expected pixels to be given for the measure exclip, but got None")
    columns = []
    for term in run.target.terms:
        found = explain_caption(run.model, run.pixels[:1], term.caption.text, "exclip")
        pairs = torch.from_numpy(found.pairs[0]).flatten(1).mT  # (patches, k)
        values = torch.cat([pairs.sum(dim=0, keepdim=True), pairs])[: len(run.vectors)]
        columns.append(term.weight * _units_of(term, values, np.sum))
    return torch.cat(columns, dim=1)


def _gradients(run: WordPass) -> Tensor:
    columns = []
    for term in run.target.terms:
        values = term.weight * _token_gradients(run, term)
        columns.append(_units_of(term, values, np.sum)[:, 1:-1])
    return _spread(run.target, torch.cat(columns, dim=1))


def _token_gradients(run: WordPass, term: TargetTerm) -> Tensor:
    """(n, k); for the image alone one gradient a point does, where patches need one a token."""
    settings = {"steps": run.steps, "on_step": run.on_step}
    if len(run.vectors) == 1:
        found = integrated_gradients(run.model, run.features, term.caption.text, baseline=run.baseline, **settings)
        return torch.from_numpy(found.tokens)[None].to(run.vectors)
    vectors = integrate_vectors(token_path(run.model, term.caption, run.baseline), **settings)  # (k, d)
    return run.vectors @ vectors.to(run.vectors).mT


@dataclass(frozen=True, slots=True)
class WordMeasure:
    """One way of saying which word matters.

    Attributes:
        title: short, for a row of a table.
        unit: what its numbers are.
        compute: pass -> (n, u).
        signed: whether negative values have a meaning.
        need_tokens: whether the tokens need features of their own, as CLIP's have.
        slow: whether maps of all patches cost far more than the value of the image.
    """

    title: str
    unit: str
    compute: Callable[[WordPass], Tensor]
    signed: bool = True
    need_tokens: bool = True
    slow: bool = False


def _explainer(name: str, title: str, *, slow: bool) -> WordMeasure:
    found = CAPTION_EXPLAINERS[name]
    return WordMeasure(title, found.unit, partial(_shares, explainer=name), found.signed, slow=slow)


WORD_MEASURES: dict[str, WordMeasure] = {
    "left_out": WordMeasure("leave one out", "cosine lost without the word", _left_out, need_tokens=False),
    "tokens": WordMeasure(
        "feature surgery", "cosine of the token after feature surgery", partial(_tokens, surgery=True)
    ),
    "cosine": WordMeasure("token cosine", "cosine of the token", partial(_tokens, surgery=False)),
    "chefer": _explainer("chefer", "Chefer", slow=False),
    "chefer_all": _explainer("chefer_all", "Chefer, all blocks", slow=True),
    "grad_eclip": _explainer("grad_eclip", "Grad-ECLIP", slow=True),
    "grad_eclip_own_heads": _explainer("grad_eclip_own_heads", "Grad-ECLIP, own heads", slow=True),
    "exclip": WordMeasure("exCLIP", "part of the cosine", _exclip),
    "gradients": WordMeasure("integrated gradients", "part of the cosine's change", _gradients, slow=True),
}


@torch.inference_mode(False)
def word_relevance(
    model: Model,
    features: DenseFeatures,
    target: WordTarget,
    measure: str,
    *,
    pixels: Tensor | None = None,
    patches: bool = True,
    baseline: str = "padding",
    steps: int = STEPS,
    on_step: OnStep = lambda done: None,
) -> WordRelevance:
    """Relevance of the words of a target to the first image of the features, and to its patches.

    Args:
        model: the model of the features.
        features: from `dense_features`; exclip explains the model itself instead, whatever the method.
        target: from `read_target`.
        measure: one of `WORD_MEASURES`.
        pixels: (1, 3, H, W), for exclip.
        patches: whether the patches are wanted; without them most measures are far cheaper.
        baseline: of integrated gradients, one of `analysis.text_paths.BASELINES`.
        steps: points of their integral.
        on_step: called now and then with the number of points, or of vectors, done so far; what it raises ends the
            computation.

    Raises:
        ValueError: an unknown measure or baseline, or a text tower that gives its tokens no feature of their own.
    """
    if measure not in WORD_MEASURES:
        raise ValueError(f"Expected measure to be one of {', '.join(WORD_MEASURES)}, but got {measure!r}")
    kind = WORD_MEASURES[measure]
    vectors = features.cls[:1]
    grid = tuple(features.patches.shape[1:3])
    if patches:
        vectors = torch.cat([vectors, features.patches[0].flatten(0, 1)])
    vectors = F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1).clone()
    run = WordPass(model, features, target, vectors, pixels, baseline, steps, on_step)
    values = kind.compute(run).detach().float().cpu().numpy()
    return WordRelevance(
        measure=measure,
        target=target,
        image=values[0],
        patches=values[1:].reshape(*grid, -1) if patches else None,
        unit=kind.unit,
        signed=kind.signed,
        gap=None if measure != "gradients" else _gap(run, values[0]),
    )


def _gap(run: WordPass, image: np.ndarray) -> float:
    """Sum of the integrated gradients minus the change of the cosine along their paths, weighted as the terms are."""
    change = 0.0
    for term in run.target.terms:
        start, whole = token_path(run.model, term.caption, run.baseline).ends().to(run.vectors) @ run.vectors[0]
        change += term.weight * float(whole - start)
    return float(np.nansum(image)) - change
