"""The region of the command line: a mask file, a box, or the object of a toy scene that the prompt names."""

import math
from pathlib import Path

import numpy as np

from analysis import Region
from dashboard.cli.console import UsageError, usage_errors
from data.geometry import Framing
from data.images import decode_mask
from data.samples import SAMPLES, load_sample

IGNORE = 255


def chosen_region(
    image: str,
    text: str,
    mask: Path | None,
    class_id: int | None,
    box: str | None,
    framing: Framing,
    grid: tuple[int, int],
) -> Region:
    """What should light up, on the grid of patches.

    Args:
        image: as it was given.
        text: the prompt, also the name of the region.
        mask, class_id, box: the options; without them the object of the sample that the prompt names.
        framing: where the image lies on the input.
        grid: rows and columns of patches.

    Raises:
        UsageError: none or more than one is given, or it is no region of this image.
        OSError: the mask cannot be read.
    """
    if mask is not None and box is not None:
        raise UsageError("Expected one region, but got both --mask and --box")
    if class_id is not None and mask is None:
        raise UsageError(f"Expected --class together with --mask, but got --class {class_id} alone")
    if mask is None and box is None:
        pixels = _object_of_sample(image, text)
    with usage_errors():
        if box is not None:
            return Region.from_box(parse_box(box), framing.image_px, grid, name=text, framing=framing)
        if mask is not None:
            pixels = read_mask(mask, class_id)
        return Region.from_mask(pixels, grid, image_size=framing.image_px, name=text, framing=framing)


def _object_of_sample(image: str, text: str) -> np.ndarray:
    masks = load_sample(image).masks if image in SAMPLES and not Path(image).exists() else {}
    if text in masks:
        return masks[text]
    objects = f", or --text to be one of {', '.join(masks)}" if masks else ""
    raise UsageError(f"Expected --mask FILE or --box x0,y0,x1,y1{objects}, but got neither")


def read_mask(path: Path, class_id: int | None) -> np.ndarray:
    """Pixels (H, W) as `Region.from_mask` takes them.

    Raises:
        ValueError: not a mask, a class that is absent, or several classes and none chosen.
        OSError: the file cannot be read.
    """
    labels = decode_mask(path)
    present = np.unique(labels).tolist()
    if class_id is not None:
        if class_id not in present:
            raise ValueError(f"Expected --class to be in {path.name} ({_listed(present)}), but got {class_id}")
        ignored = np.where(labels == IGNORE, IGNORE, 0)
        return np.where(labels == class_id, 1, ignored).astype(np.uint8)
    classes = [label for label in present if label != 0 and (label != IGNORE or len(present) == 2)]
    if len(classes) > 1:
        raise ValueError(f"Expected --class N for a mask of several classes ({_listed(classes)}), but got none")
    return labels if classes == [IGNORE] else np.where(labels == IGNORE, IGNORE, labels != 0).astype(np.uint8)


def _listed(labels: list[int]) -> str:
    return ", ".join(map(str, labels[:20])) + (", ..." if len(labels) > 20 else "")


def parse_box(text: str) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in pixels.

    Raises:
        ValueError: not four numbers.

    >>> parse_box("10,20, 110,90")
    (10.0, 20.0, 110.0, 90.0)
    """
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            raise ValueError("not finite")
    except ValueError as error:
        raise ValueError(f"Expected --box to be x0,y0,x1,y1 in pixels, but got {text!r}") from error
    return x0, y0, x1, y1
