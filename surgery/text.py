"""Text features: prompt ensembles, batched and cut to what counts, and the features of every token."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from surgery.prompts import fill_template, resolve_templates
from surgery.targets import combine, parse_target
from surgery.text_cache import TextCache, open_text_cache
from surgery.text_tower import TextModel, TextTower, find_text_tower
from surgery.words import tokenize, warn_if_cut

TOKENS_A_BATCH = 4096
PROMPTS_A_GROUP = 2048
"""Prompts that are sorted by length, and kept in memory, together."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenFeatures:
    """Features of every token of some texts.

    Attributes:
        texts: the t texts.
        ids: (t, L) token ids, on the CPU.
        end: (t,) position of the token that stands for the text (the end token in CLIP), on the CPU; what follows is
            padding.
        features: (t, L, d) ln_final of every position times the text projection, not normalised.
        pooled: (t, d) the row of `features` at `end`: CLIP's own text feature, not normalised.
        model: name of the model.
    """

    texts: tuple[str, ...]
    ids: Tensor
    end: Tensor
    features: Tensor
    pooled: Tensor
    model: str

    @property
    def valid(self) -> Tensor:
        """(t, L) bool: whether a position is no padding, on the CPU."""
        return torch.arange(self.ids.shape[1]) <= self.end[:, None]


def encode_text(
    model: TextModel,
    texts: Sequence[str],
    templates: str | Sequence[str] = "none",
    *,
    cache: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Text features of prompt ensembles: encode every prompt, normalise, mean over templates, normalise.

    Each text's feature is kept on disk, so that it is computed once per model; see `surgery.text_cache`.

    Args:
        model: a `surgery.models.Model`.
        texts: t texts; the empty string is legal. "a ++ b" and "a -- b" are the sum and the difference of two, see
            `surgery.targets`.
        templates: a name in `surgery.prompts.TEMPLATE_SETS`, or a list of strings with one "{}" each.
        cache: whether features on disk are read and written.
        progress: called with the number of texts done and the number of texts.

    Returns:
        (t, d) of unit norm on the model's device; float32, or float64 for a model in that precision.

    Raises:
        ValueError: no text, or templates that are none.
        TypeError: a text that is not a string.

    Warns:
        PromptCutWarning: a prompt has more tokens than the model reads.

    Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 3.1.4.
    """
    texts = _check_texts(texts)
    templates = resolve_templates(templates)
    unique = list(dict.fromkeys(part for text in texts for _, part in parse_target(text)))
    warn_if_cut(model, unique, templates)
    store = open_text_cache(model, templates) if cache else None
    vectors = dict(_load_all(store, unique))
    missing = [text for text in unique if text not in vectors]
    size = max(1, PROMPTS_A_GROUP // len(templates))
    for start in range(0, len(missing), size):
        group = missing[start : start + size]
        computed = dict(zip(group, _compute_ensemble(model, group, templates), strict=True))
        if store is not None:
            store.save(computed)
        vectors |= computed
        if progress is not None:
            progress(len(vectors), len(unique))
    return torch.from_numpy(np.stack([combine(text, vectors) for text in texts])).to(model.device)


def encode_tokens(model: TextModel, texts: Sequence[str], *, cut: bool = False) -> TokenFeatures:
    """Features of every token position: what ln_final and the text projection make of each, not only of the end token.

    Args:
        model: a `surgery.models.Model` whose text tower is open_clip's transformer.
        texts: t texts.
        cut: whether positions after the last end token of all texts are left out; the others keep their values.

    Raises:
        ValueError: no text, or another kind of text tower.
        TypeError: a text that is not a string.

    Warns:
        PromptCutWarning: a text has more tokens than the model reads.

    Source: Li et al. 2023, "CLIP Surgery", arXiv 2304.05653, multimodal visualization.
    """
    texts = _check_texts(texts)
    tower = find_text_tower(model.clip)
    if tower is None:
        kind = type(getattr(model.clip, "text", model.clip)).__name__
        raise ValueError(f"Expected the text tower of {model.name} to be open_clip's transformer, but got {kind}")
    warn_if_cut(model, texts, "none")
    ids = tokenize(model, texts)  # (t, L)
    end = tower.pooled_index(ids)
    if cut and tower.can_cut:
        ids = ids[:, : int(end.max()) + 1]
    # The clone outside of inference mode is an ordinary tensor, which autograd may use later.
    features = _compute_tokens(model, tower, ids).clone()
    pooled = features[torch.arange(len(texts)), end]
    return TokenFeatures(tuple(texts), ids, end, features, pooled, model.name)


def _check_texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"Expected texts to be a list of strings, but got the string {texts!r}; put it in a list")
    texts = list(texts)
    if not texts:
        raise ValueError("Expected texts to hold at least one text, but got none")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"Expected every text to be a string, but got {text!r}")
    return texts


def _load_all(store: TextCache | None, texts: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    for text in texts if store is not None else ():
        vector = store.load(text)
        if vector is not None:
            yield text, vector


@torch.inference_mode()
def _compute_ensemble(model: TextModel, texts: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """Ensemble features (t, d) of unit norm."""
    prompts = [fill_template(template, text) for text in texts for template in templates]
    features = F.normalize(_compute_pooled(model, prompts), dim=-1).unflatten(0, (len(texts), -1))  # (t, k, d)
    return F.normalize(features.mean(dim=1), dim=-1).cpu().numpy()


def _compute_pooled(model: TextModel, prompts: Sequence[str]) -> Tensor:
    """Features (p, d) of prompts, not normalised, in their order; causal towers see them cut after the end token."""
    ids = tokenize(model, prompts)  # (p, L)
    tower = find_text_tower(model.clip)
    if tower is None or not tower.can_cut:
        features = [model.clip.encode_text(ids[rows].to(model.device)) for rows in _batches(_full_lengths(ids))]
        return _exact(torch.cat(features))
    end = tower.pooled_index(ids)
    order = list(_batches(end + 1))
    features = _exact(torch.cat([_pool_cut(tower, ids[rows].to(model.device), end[rows]) for rows in order]))
    return features[torch.cat(order).argsort()]


def _full_lengths(ids: Tensor) -> Tensor:
    return torch.full(ids.shape[:1], ids.shape[1])


def _pool_cut(tower: TextTower, ids: Tensor, end: Tensor) -> Tensor:
    """ids (n, L), end (n,) -> (n, d), the positions after the last end token left out."""
    x = tower.encode(tower.embed(ids[:, : int(end.max()) + 1]))
    return tower.project(x[torch.arange(len(ids)), end])


@torch.inference_mode()
def _compute_tokens(model: TextModel, tower: TextTower, ids: Tensor) -> Tensor:
    """Features (t, L, d) of every position."""
    batches = (ids[rows].to(model.device) for rows in _batches(_full_lengths(ids)))
    return _exact(torch.cat([tower.project(tower.encode(tower.embed(batch))) for batch in batches]))


def _batches(lengths: Tensor) -> Iterator[Tensor]:
    """Row numbers in batches of about `TOKENS_A_BATCH` tokens, longest rows first, so that each batch can be cut."""
    order = lengths.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        stop = start + max(1, TOKENS_A_BATCH // int(lengths[order[start]]))
        yield order[start:stop]
        start = stop


def _exact(features: Tensor) -> Tensor:
    """float64 stays, everything else becomes float32."""
    return features if features.dtype == torch.float64 else features.float()
