"""What Compare sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.case import Patch
from dashboard.fields import optional, read_natural, text
from dashboard.settings import Settings

WHOLE = 1000

Place = tuple[int, int]
"""Down and across in thousandths of the picture: what patches of different grids have in common."""


def _read_place(value: str) -> Place:
    down, across = (read_natural(part) for part in value.split(","))
    if max(down, across) >= WHOLE:
        raise ValueError(f"Expected a place below {WHOLE}, but got {value!r}")
    return down, across


@dataclass(frozen=True, slots=True)
class CompareSettings(Settings):
    """Settings of the page Compare.

    Attributes:
        place: the chosen place, marked in all maps.
        component: label of the chosen dot.
    """

    PAGE: ClassVar = "compare"
    FIELDS: ClassVar = {
        "place": optional("place", _read_place, lambda place: f"{place[0]},{place[1]}"),
        "component": text("component"),
    }

    place: Place | None = None
    component: str = ""


def place_of(patch: Patch, grid: tuple[int, int]) -> Place:
    """The middle of a patch.

    >>> place_of((0, 1), (2, 2))
    (250, 750)
    """
    return tuple(int(WHOLE * (index + 0.5) / count) for index, count in zip(patch, grid, strict=True))


def patch_at(place: Place | None, grid: tuple[int, int]) -> Patch | None:
    """The patch that lies at a place, the inverse of `place_of` for grids of up to 500 rows or columns."""
    return None if place is None else tuple(share * count // WHOLE for share, count in zip(place, grid, strict=True))
