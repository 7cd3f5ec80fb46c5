"""What is drawn on the CLIP map: a box or a lasso becomes the region."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dashboard import events, services, state
from dashboard.panels.page import EXPECTED

FIELD = "drawn region"
MAX_CORNERS = 60
"""Corners of a drawn outline that are kept; the address has to hold them."""


def take_drawing(event: Mapping[str, Any], size: tuple[int, int]) -> None:
    """Puts a drawn region into the case, or clears it; a region without a patch is refused with the reason."""
    drawing = events.picked_drawing(event)
    if drawing is None:
        return
    state.clear_problem(FIELD)
    corner = services.framing(state.case()).box_px[:2]
    region = written_region(*drawing, size, corner)
    try:
        services.region(replace(state.case(), region=region))
    except EXPECTED as error:
        state.set_problem(FIELD, region, str(error))
    else:
        state.update(region=region)


def written_region(
    shape: str, points: list[tuple[float, float]], size: tuple[int, int], corner: tuple[int, int] = (0, 0)
) -> str:
    """A drawing as `Case.region`. Pure.

    Args:
        shape: "box", "lasso" or "none".
        points: x and y in pixels of the picture that was drawn on.
        size: height and width of that picture.
        corner: x and y in the image of its upper left corner, where only a part of the image is shown, or more than it.

    >>> written_region("box", [(10.4, 5), (-3, 300)], (200, 100))
    'box:0,5,10,200'
    """
    if shape == "none":
        return ""
    inside = [_inside(point, size, corner) for point in points]
    if shape == "lasso":
        step = -(-len(inside) // MAX_CORNERS)
        return "polygon:" + ",".join(str(number) for point in inside[::step] for number in point)
    (x0, y0), (x1, y1) = inside
    return f"box:{min(x0, x1)},{min(y0, y1)},{max(x0, x1)},{max(y0, y1)}"


def _inside(point: tuple[float, float], size: tuple[int, int], corner: tuple[int, int]) -> tuple[int, int]:
    """x and y of a point inside the picture, as whole pixels of the image."""
    x, y = np.clip(np.round(point), 0, (size[1], size[0]))
    return int(x) + corner[0], int(y) + corner[1]
