"""What results are kept under: frozen values that name all that a result depends on."""

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class TextKey:
    """Text features in the caches."""

    model: ModelKey
    texts: tuple[str, ...]
    templates: str
