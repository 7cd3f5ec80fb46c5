"""From a map to a mask: points and boxes, a mask without any further model, how good it is, and how it is written.

random walker   seeds are the points, walls are edges of the image; Grady 2006, "Random Walks for Image
                Segmentation", IEEE TPAMI 28(11), as in scikit-image. Nothing is downloaded and nothing was trained;
                it knows no objects, so it stops where colours change.
Segment Anything   see `analysis.segment_anything`
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image
from scipy import ndimage

from surgery import PromptPoints

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


class Segmenter(Protocol):
    """What turns points and a box into masks, such as `analysis.segment_anything.SegmentAnything`."""

    def masks(self, rgb: np.ndarray, points: PromptPoints | None, box: Box | None) -> "MaskCandidates":
        """Candidates of one object."""


WALKER_SIDE_PX = 192
"""Longest side at which the random walker runs; its probabilities are enlarged to the image."""
WALKER_BETA = 130.0
WALKER_BACKGROUND = 0.4
"""Cells of the map in [0, 1] that are sure to be off the object: the walker knows no objects and needs many seeds."""
WALKER_LEVELS = (0.5, 0.3, 0.7)
"""Probabilities at which its candidates are cut."""
CORE = 0.25
"""Half axes, in sides of a box that stands alone, of the ellipse in its middle that is taken for the object."""
POINTS_AN_OBJECT = 3


@dataclass(frozen=True, slots=True, eq=False)
class MaskCandidates:
    """Masks of one object, the best first.

    Attributes:
        masks: (k, H, W) bool.
        scores: (k,) the IoU that the source expects of each: predicted by Segment Anything, by the random walker the
            expected overlap over the expected union under its probabilities.
        source: what made them.
        points: the points they grew from, None for a box alone.
        box: the box, None without.
    """

    masks: np.ndarray
    scores: np.ndarray
    source: str
    points: PromptPoints | None
    box: Box | None

    @property
    def best(self) -> np.ndarray:
        """(H, W) bool, the mask of the highest score."""
        return self.masks[0]


def object_points(
    map_: np.ndarray,
    image_size: tuple[int, int],
    threshold: float = 0.8,
    *,
    floor: float | None = None,
    per_object: int | None = POINTS_AN_OBJECT,
    background: float | None = None,
) -> list[PromptPoints]:
    """Points for every object that a map shows: the cells at or above the threshold, split where they do not touch.

    Args:
        map_: (gh, gw) map of one text.
        image_size: (height, width) in pixels.
        threshold: of the map brought to [0, 1].
        floor: raw values below it become it before the map is brought to [0, 1], so that a map of something absent
            does not reach 1 everywhere; None for none.
        per_object: most positive points an object gets, its highest cells; None for all of them.
        background: cells of the map in [0, 1] at or below it are negative points; None for as many of the lowest cells
            as there are positive ones.

    Returns:
        One set of points an object, the object with the highest cell first. Empty for a map without variation.

    Raises:
        ValueError: a map that is not finite, or a threshold out of range.
    """
    values = np.asarray(map_, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"Expected map_ to be a finite (gh, gw) map, but got shape {values.shape}")
    if not 0 < threshold <= 1:
        raise ValueError(f"Expected threshold to be above 0 and at most 1, but got {threshold}")
    values = values if floor is None else np.maximum(values, floor)
    spread = values.max() - values.min()
    if spread == 0:
        return []
    scaled = (values - values.min()) / spread
    labels, count = ndimage.label(scaled >= threshold, structure=np.ones((3, 3)))
    lowest = np.argsort(scaled, axis=None, kind="stable")
    groups = [np.flatnonzero(labels.ravel() == label) for label in range(1, count + 1)]
    groups = [cells[np.argsort(-scaled.ravel()[cells], kind="stable")][:per_object] for cells in groups]
    groups.sort(key=lambda cells: -scaled.ravel()[cells[0]])
    fixed = None if background is None else np.flatnonzero(scaled.ravel() <= background)
    return [
        _points_at(cells, lowest[: len(cells)] if fixed is None else fixed, values.shape, image_size)
        for cells in groups
    ]


def _points_at(
    positive: np.ndarray, negative: np.ndarray, grid: tuple[int, int], image_size: tuple[int, int]
) -> PromptPoints:
    cells = np.concatenate([positive, negative])
    (rows, columns), (height, width) = grid, image_size
    x, y = (cells % columns + 0.5) * width / columns, (cells // columns + 0.5) * height / rows
    labels = np.repeat(np.array([1, 0]), [len(positive), len(negative)])
    return PromptPoints(np.stack([x, y], axis=1).astype(np.int64), labels)


def masks_of_map(
    rgb: np.ndarray,
    map_: np.ndarray,
    threshold: float = 0.8,
    *,
    floor: float | None = None,
    segmenter: Segmenter | None = None,
    boxes: bool = False,
) -> list[MaskCandidates]:
    """From a map to masks: one set of candidates an object that the map shows, the object of the highest cell first.

    Args:
        rgb: uint8 (H, W, 3).
        map_: (gh, gw) map of one text.
        threshold, floor: as in `object_points`.
        segmenter: gets the highest cells of an object and as many of the lowest of the map, see
            `analysis.segment_anything`; None for the random walker, which gets all cells at or above the threshold, and
            all that are sure to be off the object.
        boxes: whether the segmenter gets the box around an object's cells as well.

    Returns:
        Empty for a map without variation.

    Raises:
        ValueError: as `object_points`.
    """
    size = rgb.shape[:2]
    if segmenter is None:
        seeds = {"per_object": None, "background": WALKER_BACKGROUND}
        return [
            random_walker_masks(rgb, points) for points in object_points(map_, size, threshold, floor=floor, **seeds)
        ]
    found = object_points(map_, size, threshold, floor=floor)
    return [
        segmenter.masks(rgb, points, _box_of_cells(points, map_.shape, size) if boxes else None) for points in found
    ]


def complete_points(
    points: PromptPoints,
    map_: np.ndarray,
    image_size: tuple[int, int],
    threshold: float = 0.8,
    floor: float | None = None,
) -> PromptPoints:
    """Points as they are where they lie on and off the object; else the missing side is taken from a map.

    Args:
        points: set by hand.
        map_, image_size, threshold, floor: as in `object_points`.
    """
    sides = set(points.labels.tolist())
    if len(sides) != 1:
        return points
    missing = 0 if 1 in sides else 1
    found = object_points(map_, image_size, threshold, floor=floor, per_object=None, background=WALKER_BACKGROUND)
    taken = [one.xy[one.labels == missing] for one in found[:1]]
    count = sum(map(len, taken))
    return PromptPoints(np.concatenate([points.xy, *taken]), np.concatenate([points.labels, np.full(count, missing)]))


def _box_of_cells(points: PromptPoints, grid: tuple[int, int], size: tuple[int, int]) -> Box:
    """The box around the cells of the positive points."""
    centres = points.xy[points.labels == 1]
    half = np.array([size[1] / grid[1], size[0] / grid[0]]) / 2
    return (*(centres.min(axis=0) - half).tolist(), *(centres.max(axis=0) + half).tolist())


def box_of(mask: np.ndarray) -> Box:
    """The smallest box around a mask (H, W), right and bottom exclusive.

    Raises:
        ValueError: an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("Expected mask to hold at least 1 pixel, but got none")
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def random_walker_masks(rgb: np.ndarray, points: PromptPoints | None = None, box: Box | None = None) -> MaskCandidates:
    """Masks by a random walker from the points: every pixel goes to the seeds that it reaches first.

    Args:
        rgb: uint8 (H, W, 3).
        points: positive and negative points; None needs a box, whose middle (see `CORE`) is taken for the object.
        box: what lies outside is off the object.

    Raises:
        ValueError: neither points nor box, or seeds of one side only.
    """
    from skimage.segmentation import random_walker

    height, width = rgb.shape[:2]
    factor = min(1.0, WALKER_SIDE_PX / max(height, width))
    size = max(2, round(width * factor)), max(2, round(height * factor))
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR)) / 255
    seeds = _seeds(small.shape[:2], (height, width), points, box)
    if not {1, 2} <= set(np.unique(seeds)):
        raise ValueError("Expected points on the object and points (or a box) off it, but got only one of the two")
    probability = random_walker(
        small, seeds, beta=WALKER_BETA, mode="cg_j", tol=1e-6, channel_axis=-1, return_full_prob=True
    )[0]
    enlarged = np.asarray(
        Image.fromarray(probability.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    )
    masks = np.stack([enlarged >= level for level in WALKER_LEVELS])
    inside = np.array([enlarged[mask].sum() for mask in masks])
    union = np.array([mask.sum() + enlarged[~mask].sum() for mask in masks])
    return sort_candidates(masks, inside / np.maximum(union, 1e-9), "random walker", points, box)


def _seeds(
    shape: tuple[int, int], image_size: tuple[int, int], points: PromptPoints | None, box: Box | None
) -> np.ndarray:
    """1 on the object, 2 off it, 0 unknown; (rows, columns)."""
    if points is None and box is None:
        raise ValueError("Expected points or a box, but got neither")
    seeds = np.zeros(shape, np.int32)
    rows_a_px, columns_a_px = shape[0] / image_size[0], shape[1] / image_size[1]
    if box is not None:
        left, top, right, bottom = box
        first, last = int(top * rows_a_px), max(1, round(bottom * rows_a_px))
        inside = np.zeros(shape, bool)
        inside[first:last, int(left * columns_a_px) : max(1, round(right * columns_a_px))] = True
        seeds[~inside] = 2
        if points is None:
            y, x = (np.arange(side) + 0.5 for side in shape)
            across = ((x / columns_a_px - (left + right) / 2) / ((right - left) * CORE)) ** 2
            down = ((y / rows_a_px - (top + bottom) / 2) / ((bottom - top) * CORE)) ** 2
            seeds[down[:, None] + across <= 1] = 1
            seeds[int((top + bottom) / 2 * rows_a_px), int((left + right) / 2 * columns_a_px)] = 1
    for (x, y), label in zip(points.xy, points.labels, strict=True) if points is not None else ():
        row, column = min(int(y * rows_a_px), shape[0] - 1), min(int(x * columns_a_px), shape[1] - 1)
        seeds[row, column] = 1 if label else 2
    return seeds


def sort_candidates(
    masks: np.ndarray, scores: np.ndarray, source: str, points: PromptPoints | None, box: Box | None
) -> MaskCandidates:
    """Candidates by falling score."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    return MaskCandidates(np.asarray(masks)[order], np.asarray(scores)[order], source, points, box)


def mask_iou(mask: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Intersection over union of two masks (H, W), over the valid pixels; 0 where both are empty.

    Raises:
        ValueError: masks of different sizes.
    """
    if mask.shape != truth.shape:
        raise ValueError(f"Expected masks of one size, but got {mask.shape} and {truth.shape}")
    mask, truth = mask.astype(bool), truth.astype(bool)
    if valid is not None:
        mask, truth = mask & valid, truth & valid
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def coco_rle(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO's compressed run lengths, ready for JSON: {"size": [H, W], "counts": text}."""
    from pycocotools.mask import encode

    found = encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def from_coco_rle(rle: dict[str, Any]) -> np.ndarray:
    """The mask (H, W) bool of `coco_rle`."""
    from pycocotools.mask import decode

    return decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")}).astype(bool)


def write_rle(found: Sequence[tuple[str, np.ndarray, float]]) -> str:
    """JSON of many masks: text, score, area, box as [x, y, width, height], and run lengths."""
    rows = []
    for text, mask, score in found:
        left, top, right, bottom = box_of(mask) if mask.any() else (0.0, 0.0, 0.0, 0.0)
        rows.append(
            {
                "text": text,
                "score": round(float(score), 6),
                "area": int(mask.sum()),
                "bbox": [left, top, right - left, bottom - top],
                "segmentation": coco_rle(mask),
            }
        )
    return json.dumps(rows, indent=1)
