"""Segmentation mIoU over a data set: label maps by one or more protocols, counted against masks."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from analysis.evaluation.confusion import IGNORE, LabelCounts
from analysis.evaluation.protocols import ClassTexts, Protocol
from analysis.evaluation.segmenter import Segmenter
from data.datasets import Sample, is_background
from surgery import Model

MAX_ID = np.iinfo(np.uint16).max
"""Of classes and of label masks."""
IDS_SHOWN = 10


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Label maps of one protocol over a data set.

    Attributes:
        counts: areas of every class summed over the images, with mean IoU by both rules.
        classes: first name of each class.
        protocol: how; printed whole with the figure.
        images: how many.
        model: name of the model.
    """

    counts: LabelCounts
    classes: tuple[str, ...]
    protocol: Protocol
    images: int
    model: str

    @property
    def miou(self) -> float:
        """Mean IoU in [0, 1] as mmseg counts: a class that is only predicted counts 0."""
        return self.counts.miou

    @property
    def miou_present(self) -> float:
        """Mean IoU in [0, 1] over the classes that occur in the masks."""
        return self.counts.miou_present

    @property
    def iou(self) -> dict[str, float]:
        """Class -> IoU in [0, 1], classes that neither occur nor are predicted left out."""
        iou = self.counts.iou
        return {name: float(value) for name, value in zip(self.classes, iou, strict=True) if not np.isnan(value)}

    def __str__(self) -> str:
        """Figures and protocol in one line."""
        return (
            f"mIoU {100 * self.miou:.2f} (classes present: {100 * self.miou_present:.2f}), {self.images} images, "
            f"{len(self.classes)} classes, {self.model}; {self.protocol}"
        )


class LabelIndex:
    """From the ids in the masks of a data set to the order of the class texts.

    Args:
        names: id -> name of the data set's classes.
        classes: number of class texts: as many as names, or one fewer where the background has none; its pixels
            are then ignored.

    Raises:
        ValueError: another number, or an id out of range.
    """

    def __init__(self, names: Mapping[int, str], classes: int) -> None:
        _check_ids(np.array(list(names)), "the classes")
        ids = sorted(names)
        objects = [id for id in ids if not is_background(id, names[id])]
        if classes not in (len(ids), len(objects)):
            raise ValueError(
                f"Expected the class file to name the {len(ids)} classes of the data set"
                f"{f' or, without its background, {len(objects)}' if len(ids) != len(objects) else ''}, "
                f"but got {classes}"
            )
        self.names, self.classes = dict(names), classes
        self._table = np.full(MAX_ID + 1, -1, np.int32)
        self._table[ids] = IGNORE
        self._table[ids if classes == len(ids) else objects] = np.arange(classes)
        self._table[IGNORE] = IGNORE

    def mask_of(self, sample: Sample) -> np.ndarray:
        """The mask of a sample as labels, uint8 (H, W); 255 is ignored.

        Raises:
            ValueError: the sample has other classes, or its mask an id that none of them has.
        """
        if dict(sample.names) != self.names:
            raise ValueError(f"Expected samples to share one set of classes, but {sample.name} has others")
        mask = sample.mask
        _check_ids(mask, f"the mask of {sample.name}")
        labels = self._table[mask]
        if labels.min(initial=0) < 0:
            unknown = np.unique(mask[labels < 0])[:IDS_SHOWN].tolist()
            raise ValueError(
                f"Expected the mask of {sample.name} to hold ids of the {len(self.names)} classes or {IGNORE}, "
                f"but got {unknown}; the masks belong to another class list"
            )
        return labels.astype(np.uint8)


def _check_ids(ids: np.ndarray, where: str) -> None:
    """Raises ValueError for anything but whole numbers from 0 to `MAX_ID`; it names the first wrong one."""
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"Expected the ids of {where} to be whole numbers, but got {ids.dtype}")
    wrong = ids[(ids < 0) | (ids > MAX_ID)]
    if wrong.size:
        raise ValueError(f"Expected the ids of {where} to be from 0 to {MAX_ID}, but got {wrong[0]}")


def evaluate_segmentation(
    model: Model, samples: Iterable[Sample], requests: Mapping[str, tuple[Protocol, ClassTexts]], batch: int = 4
) -> dict[str, Segmentation]:
    """Segmentation mIoU of one or more protocols; those that look through the same windows share passes.

    Args:
        model: see `surgery.load_model`.
        samples: images of one data set with label masks; wrap them in a progress bar if wanted.
        requests: name -> (protocol, names of the classes in the order of the data set's ids). Without a name for
            the background its pixels are not counted.
        batch: images whose windows go through the network together.

    Raises:
        ValueError: no image or request, a method without meaning for the tower, class texts that do not fit the data
            set, classes that differ between images, a mask of another size than its image, or an id without a class.
    """
    segmenter = Segmenter(model, requests)
    totals = {name: LabelCounts.none(len(texts)) for name, (_, texts) in requests.items()}
    indices: dict[int, LabelIndex] = {}
    images = 0
    for group in _groups(samples, batch):
        opened = [sample.decode() for sample in group]
        found = segmenter.segment([sample.image.rgb for sample in opened])
        for sample, maps in zip(opened, found, strict=True):
            indices = indices or {len(texts): LabelIndex(sample.names, len(texts)) for _, texts in requests.values()}
            masks = {classes: index.mask_of(sample) for classes, index in indices.items()}
            for name, segmented in maps.items():
                classes = len(requests[name][1])
                totals[name] += _count(sample, segmented.labels, masks[classes], classes)
            images += 1
    if not images:
        raise ValueError("Expected samples to hold at least 1 image, but got none")
    return {
        name: Segmentation(totals[name], texts.names, protocol, images, model.name)
        for name, (protocol, texts) in requests.items()
    }


def _count(sample: Sample, labels: np.ndarray, mask: np.ndarray, classes: int) -> LabelCounts:
    try:
        return LabelCounts.of(labels, mask, classes)
    except ValueError as error:
        raise ValueError(f"{sample.name}: {error}") from error


def _groups(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    waiting = iter(samples)
    while group := list(islice(waiting, size)):
        yield group
