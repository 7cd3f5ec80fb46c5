"""What Flip sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import switch
from dashboard.settings import Settings


@dataclass(frozen=True, slots=True)
class FlipSettings(Settings):
    """Settings of the page Flip.

    Attributes:
        ablate: whether the map without the chosen component is shown.
    """

    PAGE: ClassVar = "flip"
    FIELDS: ClassVar = {
        "ablate": switch("ablate"),
    }

    ablate: bool = False
