"""What Affinity sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import choice, listed, text
from dashboard.settings import Settings
from surgery.attention import KINDS

RAMPS = ("linear", "root", "log")
"""How the colour of an attention weight follows its size."""


@dataclass(frozen=True, slots=True)
class AffinitySettings(Settings):
    """Settings of the page Affinity.

    Attributes:
        kinds: kinds of attention that are compared, see `surgery.attention.parse_kind`.
        ramp: one of `RAMPS`.
    """

    PAGE: ClassVar = "affinity"
    FIELDS: ClassVar = {
        "kinds": listed("kinds", choice(*KINDS)),
        "ramp": text("ramp", choice(*RAMPS)),
    }

    kinds: tuple[str, ...] = ("qk", "vv", "qq", "kk")
    ramp: str = "root"
