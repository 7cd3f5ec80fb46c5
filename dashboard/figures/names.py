"""Names beside the dots of a scatter, placed so that they cover neither a dot nor each other."""

from collections.abc import Iterable, Sequence

import numpy as np

SIDES = ("top center", "bottom center", "middle right", "middle left")
CORNERS = ("top right", "top left", "bottom right", "bottom left")
LEAST_PX = (250, 190)
"""Width and height of the plotting area in the narrowest column; in a wider one dots are further apart."""

DOT_PX = 8
CHARACTER_PX, LINE_PX = 6.0, 12.0

Box = tuple[float, float, float, float]
"""Left, bottom, right and top in pixels."""


def place_names(x: np.ndarray, y: np.ndarray, names: Sequence[str], order: Iterable[int]) -> dict[int, str]:
    """Which dots can carry their name, and on which side.

    Args:
        x, y: (n,) places of the dots as shares of the plotting area, in [0, 1].
        names: n of them.
        order: dots that are to be named, the most important one first.

    Returns:
        Dot -> plotly's `textposition`; a dot without room for its name is left out.
    """
    width, height = LEAST_PX
    centres = [(float(u) * width, float(v) * height) for u, v in zip(x, y, strict=True)]
    dots = [_around(centre, DOT_PX, DOT_PX) for centre in centres]
    taken: list[Box] = []
    placed = {}
    for dot in order:
        obstacles = [*dots[:dot], *dots[dot + 1 :], *taken]
        for side in SIDES + CORNERS:
            box = _name_box(centres[dot], names[dot], side)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
            if inside and not any(_overlap(box, other) for other in obstacles):
                placed[dot] = side
                taken.append(box)
                break
    return placed


def _around(centre: tuple[float, float], width: float, height: float) -> Box:
    x, y = centre
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _name_box(centre: tuple[float, float], name: str, side: str) -> Box:
    vertical, horizontal = side.split()
    width = CHARACTER_PX * len(name)
    across, along = (DOT_PX + width) / 2, (DOT_PX + LINE_PX) / 2
    x = centre[0] + {"left": -across, "center": 0, "right": across}[horizontal]
    y = centre[1] + {"bottom": -along, "middle": 0, "top": along}[vertical]
    return _around((x, y), width, LINE_PX)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
