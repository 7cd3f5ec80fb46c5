"""The region of a case as pixels, whatever it was given by. Pure."""

from collections.abc import Callable, Mapping

import numpy as np
from contourpy import contour_generator
from PIL import Image, ImageDraw

from analysis.regions import polygon_mask

OUTLINE_SIDE_PX = 224
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
    wanted = [int(identifier)] if identifier else label_ids(labels)
    return np.isin(labels, wanted)


def _drawn(kind: str, value: str, size: tuple[int, int]) -> np.ndarray:
    numbers = [float(part) for part in value.split(",")]
    if len(numbers) % 2 or len(numbers) < (4 if kind == "box" else 6) or not np.isfinite(numbers).all():
        raise ValueError(f"Expected {kind} to be x0,y0,x1,y1{',...' if kind == 'polygon' else ''}, but got {value!r}")
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    if kind == "polygon":
        return polygon_mask(np.array(corners), size)
    canvas = Image.new("1", size[::-1])
    (x0, y0), (x1, y1) = corners[0], corners[1]
    box = (min(x0, x1), min(y0, y1), max(x0, x1) - 1, max(y0, y1) - 1)
    ImageDraw.Draw(canvas).rectangle(box, fill=1)
    return np.asarray(canvas)


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
