"""What Flip sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import switch
from dashboard.settings import Settings


@dataclass(frozen=True, slots=True)
class FlipSettings(Settings):
    """Settings of the page Flip.

    Attributes:
        beside: whether the map of the case's method stands beside that of CLIP.
    """

    PAGE: ClassVar = "flip"
    FIELDS: ClassVar = {"beside": switch("beside")}

    beside: bool = False
