"""What Maps sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from analysis.explainers import EXPLAINERS
from dashboard.fields import choice, listed, optional, read_method_name, read_number, switch, text
from dashboard.settings import Settings

SCALES = ("signed", "minmax")


@dataclass(frozen=True, slots=True)
class MapsSettings(Settings):
    """Settings of the page Maps.

    Attributes:
        method_b: what the difference takes from the case's method, A - B.
        difference: whether A - B is shown.
        scale: "signed" (one scale for all) or "minmax" (each map on its own).
        threshold: values below it are hidden; None hides nothing.
        points: whether prompt points are drawn.
        explainers: explainers whose relevance is shown under the maps of the methods.
    """

    PAGE: ClassVar = "maps"
    FIELDS: ClassVar = {
        "method_b": text("minus", read_method_name),
        "difference": switch("difference"),
        "scale": text("scale", choice(*SCALES)),
        "threshold": optional("threshold", read_number, repr),
        "points": switch("points"),
        "explainers": listed("explainers", choice(*EXPLAINERS)),
    }

    method_b: str = "clip"
    difference: bool = False
    scale: str = "signed"
    threshold: float | None = None
    points: bool = False
    explainers: tuple[str, ...] = ()
