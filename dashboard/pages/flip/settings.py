"""What Flip sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import choice, optional, read_natural, switch, text
from dashboard.settings import Settings

LOOKS = ("why", "heads", "path", "words", "together", "explainers")
"""What stands right of the maps."""
SPLITS = ("writes", "reads")
"""The map of a head: what it adds to every patch, or the places that it brings that from."""
SAMPLES = ("scenes", "patches")
"""What a head's words are over: CLS of made scenes, or the patches of the image."""


@dataclass(frozen=True, slots=True)
class FlipSettings(Settings):
    """Settings of the page Flip.

    Attributes:
        beside: whether the map of the case's method stands beside that of CLIP.
        look: one of `LOOKS`.
        split: one of `SPLITS`.
        samples: one of `SAMPLES`.
        channel: the channel of the residual stream that is said in words; None for the one of largest magnitude.
    """

    PAGE: ClassVar = "flip"
    FIELDS: ClassVar = {
        "beside": switch("beside"),
        "look": text("look", choice(*LOOKS)),
        "split": text("split", choice(*SPLITS)),
        "samples": text("samples", choice(*SAMPLES)),
        "channel": optional("channel", read_natural),
    }

    beside: bool = False
    look: str = "why"
    split: str = "writes"
    samples: str = "scenes"
    channel: int | None = None
