"""What Layers sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import choice, switch, text
from dashboard.settings import Settings

BESIDE = ("turns", "outliers")
"""Where the cosine of a patch turns as alpha grows, or how far its norm stands out."""


@dataclass(frozen=True, slots=True)
class LayersSettings(Settings):
    """Settings of the page Layers.

    Attributes:
        frobenius: whether the norm of a group is the root of its sum of squares, not the mean over its tokens.
        beside: the map beside those of the sweep, one of `BESIDE`.
    """

    PAGE: ClassVar = "layers"
    FIELDS: ClassVar = {"frobenius": switch("frobenius"), "beside": text("beside", choice(*BESIDE))}

    frobenius: bool = False
    beside: str = "turns"
