"""What Redundancy sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import text
from dashboard.settings import Settings


@dataclass(frozen=True, slots=True)
class RedundancySettings(Settings):
    """Settings of the page Redundancy.

    Attributes:
        struck: the label that is struck out; it counts while it is one of the prompts, "" for none.
    """

    PAGE: ClassVar = "redundancy"
    FIELDS: ClassVar = {
        "struck": text("struck"),
    }

    struck: str = ""
