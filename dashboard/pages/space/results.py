"""What the Space page lays out: patch tokens of blocks and methods, their projection, and what names them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from analysis.projection import (
    TokenSet,
    annotate_tokens,
    project_tokens,
    token_set_from_features,
    token_set_from_trace,
)
from dashboard import services
from dashboard.case import Case, method_of, method_title
from dashboard.figures.space import Layout
from dashboard.jobs import Job, preload
from dashboard.pages.space.settings import SpaceSettings
from surgery import Method
from surgery.dense import fit_method

MAX_RESULTS = 64
SEED = 0
MAX_OVERLAY = 2
Source = int | Method
"""A residual stream x_l by its number l (after block l - 1), or a method."""


@dataclass(frozen=True, slots=True)
class SpaceKey:
    """A projection in the caches."""

    trace: services.TraceKey
    sources: tuple[Source, ...]
    projection: str


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """A projection without names: (s, n, 2), and the share of variance per axis, empty for UMAP."""

    coordinates: np.ndarray
    explained: tuple[float, ...]


def chosen_block(case: Case, depth: int) -> int:
    """The chosen block; the last one where none is chosen. Pure."""
    return depth - 1 if case.layer is None else case.layer


def source_names(case: Case, own: SpaceSettings, depth: int) -> tuple[str, ...]:
    """What is laid out: numbers of streams x_l for blocks ("0" is the embedding), or names of methods. Pure."""
    if own.tokens_of == "all_blocks":
        return tuple(str(index) for index in range(depth + 1))
    if own.tokens_of == "method":
        others = [name for name in own.overlay if not name.isdecimal()]
        return tuple(dict.fromkeys([case.method_a, *others]))[: 1 + MAX_OVERLAY]
    others = [int(name) + 1 for name in own.overlay if name.isdecimal() and int(name) < depth]
    return tuple(str(index) for index in dict.fromkeys([chosen_block(case, depth) + 1, *others]))[: 1 + MAX_OVERLAY]


def source_title(name: str) -> str:
    """A source in words: "embedding", "after block 3", "CLIP Surgery". Pure."""
    if not name.isdecimal():
        return method_title(name)
    return "embedding" if name == "0" else f"after block {int(name) - 1}"


def space_key(case: Case, own: SpaceSettings) -> SpaceKey:
    """What the projection of the case depends on.

    Raises:
        ValueError: a stream or method that the model does not have.
    """
    projection = "pca" if own.tokens_of == "all_blocks" else own.projection
    sources = tuple(_source(case, name) for name in _names(case, own))
    return SpaceKey(services.trace_key(case), sources, projection)


def projection_of(case: Case, own: SpaceSettings) -> Callable[[Job[Points]], Points]:
    """Work: the points that the case asks for. It cannot say how far it is.

    Raises:
        ValueError: a stream or method that the model does not have.
    """
    sets, projection = [_token_set(case, name) for name in _names(case, own)], space_key(case, own).projection

    def work(_job: Job[Points]) -> Points:
        if projection == "umap":
            preload("umap")
        found = project_tokens(sets, projection, SEED)
        coordinates = found.coordinates.reshape(len(sets), -1, 2)  # (s * n, 2) -> (s, n, 2)
        explained = () if found.explained_variance is None else tuple(map(float, found.explained_variance))
        return Points(coordinates, explained)

    return work


def _names(case: Case, own: SpaceSettings) -> tuple[str, ...]:
    return source_names(case, own, len(services.model(case).tower.blocks))


def layout(case: Case, own: SpaceSettings, points: Points) -> Layout:
    """The points with all that they can be coloured by.

    Args:
        case, own: the case and the settings that the points are of.
        points: what `projection_of` has found.

    Raises:
        ValueError: a region that the image does not have.
    """
    names, region = _names(case, own), services.region(case)
    marked = None
    if region is not None:
        marked = annotate_tokens(_token_set(case, names[0]), region=region).region
    nearest = np.stack([nearest_prompt(case, name) for name in names]) if case.prompts else None
    return Layout(
        coordinates=points.coordinates,
        sources=tuple(source_title(name) for name in names),
        names=tuple(_short(name) for name in names),
        grid=services.grid(case),
        region=marked,
        nearest=nearest,
        prompts=case.prompts,
        method=space_key(case, own).projection,
        explained=points.explained,
    )


def _short(name: str) -> str:
    if not name.isdecimal():
        return name
    return "emb." if name == "0" else str(int(name) - 1)


def _source(case: Case, name: str) -> Source:
    return int(name) if name.isdecimal() else fit_method(services.model(case).tower, method_of(case, name))


def _token_set(case: Case, name: str) -> TokenSet:
    if name.isdecimal():
        return token_set_from_trace(services.trace(case), int(name))
    return token_set_from_features(services.features(case, method_of(case, name)), name)


def nearest_prompt(case: Case, name: str) -> np.ndarray:
    """(n,) the prompt most similar to each patch; a stream is read out as if it were the last (logit lens)."""
    if not name.isdecimal():
        scores = services.maps(case, name, surgery=False).patches
    else:
        texts = services.text_key(case)
        scores = _lens(services.trace_key(case), int(name), texts, case)
    return np.array(case.prompts, dtype=object)[scores.argmax(axis=-1)].ravel()


@services.cached(max_entries=MAX_RESULTS)
def _lens(key: services.TraceKey, layer: int, texts: services.TextKey, _case: Case) -> np.ndarray:
    trace = services.trace(_case)
    with services.turn(_case):
        found = token_set_from_trace(trace, layer, space="features")
    text = services.text(_case).float().cpu()  # (t, d)
    tokens = F.normalize(torch.from_numpy(found.tokens), dim=-1)  # (n, d)
    return (tokens @ text.T).reshape(*found.grid, -1).numpy()  # (gh, gw, t)
