"""What Words sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import choice, switch, text
from dashboard.settings import Settings

MEASURES = ("left_out", "tokens", "cosine")


@dataclass(frozen=True, slots=True)
class WordsSettings(Settings):
    """Settings of the page Words.

    Attributes:
        measure: of relevance: "left_out" (leave one word out), "tokens" (the tokens' own maps after feature surgery)
            or "cosine" (without it).
        gradients: whether integrated gradients are shown.
    """

    PAGE: ClassVar = "words"
    FIELDS: ClassVar = {
        "measure": text("measure", choice(*MEASURES)),
        "gradients": switch("gradients"),
    }

    measure: str = "left_out"
    gradients: bool = True
