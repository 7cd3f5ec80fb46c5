"""A segmented picture as a strip of four: photograph, truth, label map, error."""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image

from analysis.evaluation.confusion import IGNORE
from analysis.evaluation.protocols import MAX_CLASSES
from analysis.studies.label_maps import LabelMap
from dashboard.figures.theme import POSITIVE_RGB
from dashboard.pages.study.grid import as_address

SIDE_PX, GAP_PX = 150, 4
DARK = (58, 62, 66)
ERROR_OPACITY = 0.75


def _colour(number: int) -> tuple[int, int, int]:
    """Hues a golden ratio apart, so that neighbours in a list of classes differ."""
    hue, step = (number * 0.61803398875) % 1, number % 3
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, (0.75, 0.5, 0.95)[step], (0.9, 1.0, 0.7)[step]))


COLOURS = tuple(_colour(number) for number in range(MAX_CLASSES))
"""Of the classes, by their numbers; the same on every picture of a study."""
_PALETTE = np.array([*COLOURS, DARK], np.uint8)  # the last is 255, what does not count


@dataclass(frozen=True, slots=True)
class Strip:
    """A segmented picture: its name, the strip as a data address, and the colours of the classes on it."""

    name: str
    source: str
    colours: dict[str, tuple[int, int, int]]


def draw_strip(label: LabelMap) -> Strip:
    """The strip of a label map. Pure."""
    height, width = label.truth.shape
    scale = SIDE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = Image.fromarray(label.rgb).resize(size, Image.Resampling.LANCZOS)
    labels, truth, wrong = (_shrink(values, size) for values in (label.labels, label.truth, label.wrong))
    grey = np.asarray(photo.convert("L").convert("RGB"), np.float32)
    error = np.where(wrong[..., None], grey * (1 - ERROR_OPACITY) + np.float32(POSITIVE_RGB) * ERROR_OPACITY, grey)
    error[truth == IGNORE] = DARK
    parts = [np.asarray(photo), _PALETTE[truth], _PALETTE[labels], error.astype(np.uint8)]
    sheet = np.full((size[1], 4 * size[0] + 3 * GAP_PX, 3), 255, np.uint8)
    for place, part in enumerate(parts):
        start = place * (size[0] + GAP_PX)
        sheet[:, start : start + size[0]] = part
    there = [number for number in np.union1d(labels, truth) if number != IGNORE]
    colours = {label.names[number]: COLOURS[number] for number in there}
    return Strip(label.name, as_address(Image.fromarray(sheet), quality=85), colours)


def _shrink(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest pixels: classes have no mean."""
    small = Image.fromarray(values.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(small)
