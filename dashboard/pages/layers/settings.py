"""What Layers sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import switch
from dashboard.settings import Settings


@dataclass(frozen=True, slots=True)
class LayersSettings(Settings):
    """Settings of the page Layers.

    Attributes:
        frobenius: whether the norm of a group is the root of its sum of squares, not the mean over its tokens.
    """

    PAGE: ClassVar = "layers"
    FIELDS: ClassVar = {"frobenius": switch("frobenius")}

    frobenius: bool = False
