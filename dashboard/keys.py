"""What results are kept under, frozen values that name all that a result depends on, and the maps of a method."""

from dataclasses import dataclass

import numpy as np

from surgery import Method


@dataclass(frozen=True, slots=True)
class ModelKey:
    """A model in the caches: what was chosen, and where and how it runs."""

    name: str
    weights: str
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class TraceKey:
    """A recorded pass in the caches. `image` is the sha256 of the file; `size` None is the native size."""

    model: ModelKey
    image: str
    size: int | None
    interpolation: str
    fit: str = "stretch"


@dataclass(frozen=True, slots=True)
class TextKey:
    """Text features in the caches."""

    model: ModelKey
    texts: tuple[str, ...]
    templates: str


@dataclass(frozen=True, slots=True)
class Maps:
    """Similarity maps of one method as the pages need them.

    Attributes:
        patches: (gh, gw, t) float32.
        cls: (t,) float32.
        unit: what the numbers are: "cosine" or "feature surgery".
        method: as the tower carried it out.
    """

    patches: np.ndarray
    cls: np.ndarray
    unit: str
    method: Method
