"""Patch tokens as points in the plane: which of them the network keeps together, and at which layer.

Tokens of any layers, methods and images are laid out together, so that their positions can be compared. Only the
directions of the tokens count: every one is brought to length 1 first, as cosine similarity does.

    pca     principal components: linear, exact, with the share of variance that the picture shows
    umap    on cosine distance; McInnes et al. 2018, "UMAP: Uniform Manifold Approximation and Projection for Dimension
            Reduction", arXiv 1802.03426
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from analysis.regions import Region, to_array
from surgery.dense import DenseFeatures
from surgery.trace import Trace

PROJECTIONS: tuple[str, ...] = ("umap", "pca")
SPACES: tuple[str, ...] = ("residual", "features")
COLOURS: tuple[str, ...] = ("region", "nearest_text", "class_name")
"""What a token can be coloured by, besides image, source and layer."""

MIN_TOKENS = 5

# Without OpenMP or TBB, numba ends the process when two threads run its parallel functions at once.
_UMAP_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class TokenSet:
    """The patch tokens of one image, from one place.

    Attributes:
        tokens: (gh * gw, d) float32, row by row.
        source: where they come from, such as "clip_surgery" or "layer 7".
        grid: rows and columns of patches.
        image: number of the image, to tell images apart.
        layer: index of the residual stream x_layer; None for features of a method.
        region: (gh * gw,) "foreground", "background" or "neither"; None without a region.
        nearest_text: (gh * gw,) name of the text of highest similarity; None without texts.
        class_name: (gh * gw,) name of the class; None without classes.

    Raises:
        ValueError: a shape that does not fit the grid, or tokens that are not finite.
    """

    tokens: np.ndarray
    source: str
    grid: tuple[int, int]
    image: int = 0
    layer: int | None = None
    region: np.ndarray | None = None
    nearest_text: np.ndarray | None = None
    class_name: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = self.grid[0] * self.grid[1]
        if self.tokens.ndim != 2 or len(self.tokens) != n:
            raise ValueError(
                f"Expected tokens to be of shape ({n}, d) for the grid {self.grid}, but got {self.tokens.shape}"
            )
        if not np.isfinite(self.tokens).all():
            raise ValueError(f"Expected tokens of {self.source!r} to be finite, but got NaN or infinity")
        for name in COLOURS:
            values = getattr(self, name)
            if values is not None and np.shape(values) != (n,):
                raise ValueError(f"Expected {name} to be of shape ({n},), but got {np.shape(values)}")


def token_set_from_features(features: DenseFeatures, source: str, *, batch_index: int = 0, image: int = 0) -> TokenSet:
    """The patch features of one image under one method.

    Args:
        features: from `dense_features`.
        source: name of the method, as it should appear.
        batch_index: which image of the batch.
        image: number that the image gets in the table.

    Raises:
        ValueError: there is no such image in the batch.
    """
    _check_batch_index(batch_index, len(features.patches))
    patches = features.patches[batch_index]
    return TokenSet(to_array(patches.flatten(0, 1).float()), source, tuple(patches.shape[:2]), image)


@torch.inference_mode()
def token_set_from_trace(
    trace: Trace, layer: int, *, space: str = "residual", batch_index: int = 0, image: int = 0
) -> TokenSet:
    """The patch tokens of one image in the residual stream.

    Args:
        trace: from `Model.trace`.
        layer: from 0 (the embedding x_0) to L (the output x_L); x_layer is what enters block `layer`.
        space: "residual" for the tokens as they are, "features" for what the read-out makes of them.
        batch_index: which image of the batch.
        image: number that the image gets in the table.

    Raises:
        ValueError: no such layer, space or image.
    """
    if not 0 <= layer <= trace.depth:
        raise ValueError(f"Expected layer to be from 0 to {trace.depth}, but got {layer}")
    if space not in SPACES:
        raise ValueError(f"Expected space to be one of {', '.join(SPACES)}, but got {space!r}")
    stream = trace.stream(layer)
    _check_batch_index(batch_index, len(stream))
    tokens = stream[batch_index : batch_index + 1, trace.tower.prefix :]  # (1, n, w)
    tokens = trace.tower.readout(tokens) if space == "features" else tokens
    return TokenSet(to_array(tokens[0].float()), f"layer {layer}", trace.grid, image, layer)


def _check_batch_index(index: int, images: int) -> None:
    if not 0 <= index < images:
        raise ValueError(f"Expected batch_index to be from 0 to {images - 1}, but got {index}")


def annotate_tokens(
    tokens: TokenSet,
    *,
    region: Region | None = None,
    similarity: np.ndarray | Tensor | None = None,
    labels: Sequence[str] = (),
    classes: np.ndarray | None = None,
) -> TokenSet:
    """The same tokens with names to colour them by.

    Args:
        tokens: from one of the functions above.
        region: foreground and background of the image.
        similarity: (gh, gw, t) similarity of the patches to texts; the name of the highest is taken.
        labels: t names of the texts.
        classes: (gh, gw) name of the class of every patch.

    Raises:
        ValueError: another grid, or labels that do not match the texts.
    """
    if region is not None:
        names = np.where(region.foreground, "foreground", np.where(region.background, "background", "neither"))
        tokens = replace(tokens, region=_flat(names, tokens.grid, "region"))
    if similarity is not None:
        scores = to_array(similarity)
        if scores.ndim != 3 or scores.shape[2] != len(labels):
            raise ValueError(f"Expected similarity to be of shape (gh, gw, {len(labels)}), but got {scores.shape}")
        nearest = np.asarray(labels, dtype=object)[scores.argmax(axis=2)]
        tokens = replace(tokens, nearest_text=_flat(nearest, tokens.grid, "similarity"))
    if classes is not None:
        tokens = replace(tokens, class_name=_flat(np.asarray(classes), tokens.grid, "classes"))
    return tokens


def _flat(names: np.ndarray, grid: tuple[int, int], what: str) -> np.ndarray:
    if names.shape != tuple(grid):
        raise ValueError(f"Expected {what} to be of the grid {tuple(grid)}, but got {names.shape}")
    return names.ravel().astype(object)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Tokens as points.

    Attributes:
        coordinates: (n, k) float32, k = 2 or 3; tokens in the order of the sets.
        table: one row a token: image, source, layer, row, column, x, y (z), and region, nearest_text and class_name
            where a set has them.
        method: "umap" or "pca".
        seed: of the random numbers of UMAP; PCA has none.
        explained_variance: (k,) share of the variance that each axis shows; None for UMAP.
    """

    coordinates: np.ndarray
    table: pd.DataFrame
    method: str
    seed: int
    explained_variance: np.ndarray | None


def project_tokens(
    items: Sequence[TokenSet],
    method: str = "umap",
    seed: int = 0,
    *,
    dimensions: int = 2,
    neighbors: int = 15,
    min_distance: float = 0.1,
    epochs: int = 200,
) -> Projection:
    """Lays out the tokens of all sets together.

    The first UMAP of a process imports numba and compiles for some ten seconds; above 4096 tokens the neighbours are
    searched approximately, which compiles once more.

    Args:
        items: one or more token sets of the same width.
        method: "umap" or "pca".
        seed: same seed, same picture.
        dimensions: 2 or 3.
        neighbors: size of UMAP's neighbourhoods, >= 2; at most the number of tokens less 1 is used.
        min_distance: how close UMAP may put two points, in [0, 1].
        epochs: rounds of UMAP's optimisation, >= 1.

    Raises:
        ValueError: unknown method, sets of different widths, fewer than 5 tokens, or a parameter out of range.
    """
    _check_parameters(method, dimensions, neighbors, min_distance, epochs)
    tokens = _unit_tokens(items, dimensions)
    variance = None
    if method == "pca":
        pca = PCA(n_components=dimensions, svd_solver="full").fit(tokens)
        coordinates, variance = pca.transform(tokens), pca.explained_variance_ratio_.astype(np.float32)
    else:
        coordinates = _umap(tokens, seed, dimensions, neighbors, min_distance, epochs)
    coordinates = np.asarray(coordinates, dtype=np.float32)
    return Projection(coordinates, _table(items, coordinates), method, seed, variance)


def _umap(
    tokens: np.ndarray, seed: int, dimensions: int, neighbors: int, min_distance: float, epochs: int
) -> np.ndarray:
    """UMAP of unit tokens (n, d) -> (n, dimensions)."""
    from umap import UMAP  # imported here: numba takes seconds, and only this picture needs it

    umap = UMAP(
        n_components=dimensions,
        n_neighbors=min(neighbors, len(tokens) - 1),
        min_dist=min_distance,
        n_epochs=epochs,
        metric="cosine",
        init="pca",  # spectral, the default, is slower and fails on disconnected neighbourhoods
        random_state=seed,
        n_jobs=1,  # the only choice that a seed allows
    )
    with _UMAP_LOCK:
        return umap.fit_transform(tokens)


def _unit_tokens(items: Sequence[TokenSet], dimensions: int) -> np.ndarray:
    """All tokens (n, d), each of length 1; a token of length 0 stays 0."""
    widths = sorted({item.tokens.shape[1] for item in items})
    if len(widths) != 1:
        raise ValueError(f"Expected items to be token sets of one width, but got the widths {widths}")
    tokens = np.concatenate([item.tokens for item in items]).astype(np.float32)
    if len(tokens) < MIN_TOKENS or widths[0] < dimensions:
        raise ValueError(
            f"Expected items to be at least {MIN_TOKENS} tokens, at least {dimensions} wide, but got {tokens.shape}"
        )
    length = np.linalg.norm(tokens, axis=1, keepdims=True)
    return tokens / np.where(length > 0, length, 1)


def _table(items: Sequence[TokenSet], coordinates: np.ndarray) -> pd.DataFrame:
    tables = []
    for item in items:
        rows, columns = np.indices(item.grid).reshape(2, -1)
        place = {"image": item.image, "source": item.source, "layer": item.layer, "row": rows, "column": columns}
        tables.append(pd.DataFrame(place | {name: getattr(item, name) for name in COLOURS}))
    table = pd.concat(tables, ignore_index=True)
    for axis, values in zip("xyz", coordinates.T, strict=False):
        table.insert(table.columns.get_loc("column") + 1 + "xyz".index(axis), axis, values)
    return table.astype({"layer": "Int64"}).drop(columns=[c for c in COLOURS if table[c].isna().all()])


def _check_parameters(method: str, dimensions: int, neighbors: int, min_distance: float, epochs: int) -> None:
    if method not in PROJECTIONS:
        raise ValueError(f"Expected method to be one of {', '.join(PROJECTIONS)}, but got {method!r}")
    if dimensions not in (2, 3):
        raise ValueError(f"Expected dimensions to be 2 or 3, but got {dimensions!r}")
    if neighbors < 2:
        raise ValueError(f"Expected neighbors to be at least 2, but got {neighbors!r}")
    if not 0 <= min_distance <= 1:
        raise ValueError(f"Expected min_distance to be from 0 to 1, but got {min_distance!r}")
    if epochs < 1:
        raise ValueError(f"Expected epochs to be at least 1, but got {epochs!r}")
