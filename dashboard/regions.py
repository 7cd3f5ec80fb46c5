"""The region of a case as pixels, whatever it was given by. Pure."""

from collections.abc import Callable, Mapping

import numpy as np
from contourpy import contour_generator
from PIL import Image

from analysis.regions import polygon_mask

OUTLINE_SIDE_PX = 224
MAX_CORNERS = 1000
MAX_COORDINATE_PX = 1_000_000
IGNORE = 255
"""Pixels of an uploaded mask whose label is unknown, beside other ids."""


def region_mask(
    region: str,
    size: tuple[int, int],
    objects: Mapping[str, np.ndarray],
    uploaded: Callable[[str], np.ndarray | None],
) -> np.ndarray | None:
    """The pixels of a region.

    Args:
        region: as in `Case.region`.
        size: height and width of the image.
        objects: phrase -> bool (H, W), of the sample.
        uploaded: sha256 -> integer labels (H, W) of an uploaded mask, or None.

    Returns:
        bool (H, W); None for no region.

    Raises:
        ValueError: the region cannot be read, or the image does not have it.
    """
    kind, _, value = region.partition(":")
    if not region:
        return None
    if kind == "object":
        if value not in objects:
            raise ValueError(f"Expected region to be one of {', '.join(objects) or 'none'}, but got {value!r}")
        return objects[value]
    if kind == "mask":
        return _from_labels(value, uploaded)
    if kind in ("box", "polygon"):
        return _drawn(kind, value, size)
    raise ValueError(f"Expected region to begin with object, mask, box or polygon, but got {region!r}")


def unknown_pixels(region: str, uploaded: Callable[[str], np.ndarray | None]) -> np.ndarray | None:
    """The pixels of an uploaded mask that are neither the object nor its background, bool (H, W).

    Args:
        region, uploaded: as in `region_mask`.

    Returns:
        None for a region that is no uploaded mask.
    """
    kind, _, value = region.partition(":")
    labels = uploaded(value.partition("#")[0]) if kind == "mask" else None
    if labels is None:
        return None
    return (labels == IGNORE) & (label_ids(labels) != [IGNORE])


def label_ids(labels: np.ndarray) -> list[int]:
    """The ids of the objects in a mask: all but 0, and 255 where it means "ignore" (beside other ids)."""
    ids = [int(i) for i in np.unique(labels) if i != 0]
    return ids if ids == [IGNORE] else [i for i in ids if i != IGNORE]


def _from_labels(value: str, uploaded: Callable[[str], np.ndarray | None]) -> np.ndarray:
    sha256, _, identifier = value.partition("#")
    labels = uploaded(sha256)
    if labels is None:
        raise ValueError(f"Expected the mask with SHA-256 {sha256}, but it was not uploaded in this session")
    if identifier and not (identifier.isascii() and identifier.isdecimal() and len(identifier) <= 5):
        raise ValueError(f"Expected the id of a mask to be from 0 to 65535, but got {identifier[:20]!r}")
    wanted = [int(identifier)] if identifier else label_ids(labels)
    return np.isin(labels, wanted)


def _drawn(kind: str, value: str, size: tuple[int, int]) -> np.ndarray:
    numbers = _coordinates(kind, value)
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    if kind == "polygon":
        return polygon_mask(np.array(corners), size)
    (x0, x1), (y0, y1) = (sorted(round(side) for side in sides) for sides in zip(*corners, strict=True))
    if x0 == x1 or y0 == y1:
        raise ValueError(f"Expected box to be at least a pixel wide and high, but got {value!r}")
    pixels = np.zeros(size, bool)
    pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return pixels


def _coordinates(kind: str, value: str) -> list[float]:
    """The numbers of a box or polygon, in pairs.

    Raises:
        ValueError: they are none, too few or too many, or beyond any image.
    """
    few, many = (4, 4) if kind == "box" else (6, 2 * MAX_CORNERS)
    parts = value.split(",", many)
    try:
        numbers = [float(part) for part in parts]
        if len(numbers) % 2 or not few <= len(numbers) <= many or not np.abs(numbers).max() <= MAX_COORDINATE_PX:
            raise ValueError(f"{len(numbers)} numbers")
    except ValueError as error:
        more = ",..." if kind == "polygon" else ""
        raise ValueError(f"Expected {kind} to be x0,y0,x1,y1{more} in pixels, but got {value[:60]!r}") from error
    return numbers


def outline_path(mask: np.ndarray, size: tuple[int, int]) -> str:
    """The outline of a mask as an SVG path.

    Args:
        mask: bool (h, w).
        size: height and width of the coordinates that are wanted.
    """
    scale = min(1.0, OUTLINE_SIDE_PX / max(mask.shape))
    shape = [max(2, round(side * scale)) for side in mask.shape]
    small = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(shape[::-1], Image.Resampling.BOX))
    padded = np.pad(small.astype(np.float32) / 255, 1)  # closes outlines at the border
    unit = np.array([size[1] / shape[1], size[0] / shape[0]])
    pieces = []
    for line in contour_generator(z=padded).lines(0.5):
        points = (line - 0.5) * unit  # (n, 2), x and y
        pieces.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(pieces)
