"""Semantic segmentation: arg-max over classes, as pixels of every true class by predicted class.

With `Study.protocol` "maps" the study's own maps are enlarged, one pass for all measures, the background left out; with
a published protocol (see `analysis.evaluation.PROTOCOLS`) its resize rule, windows and thresholds hold for all methods,
and on its own data set its class file does.

Source: mean IoU as mmsegmentation counts it, see `analysis.evaluation.confusion`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.evaluation.confusion import IGNORE, LabelCounts
from analysis.evaluation.protocols import ClassTexts, Protocol
from analysis.evaluation.segmenter import Segmenter
from analysis.studies.batch import Batch
from analysis.studies.images import Item
from analysis.studies.measure import Measure, Needs, Rows, register
from analysis.studies.protocols import study_protocol, study_texts
from analysis.studies.statistics import COLUMNS, Draws, Ranks, interval, note_on
from data.datasets import is_background
from surgery import similarity

if TYPE_CHECKING:
    from analysis.studies.reader import StudyFolder
    from analysis.studies.study import Study
    from data.datasets import Dataset
    from surgery import Model

CHUNK_BYTES = 16 * 2**20
"""Of the maps that are enlarged together."""
MAX_ID = 65535


@register
class Segmentation(Measure):
    """One row an image, method, true class and predicted class that meet, with the number of pixels."""

    name = "segmentation"
    about = "pixels of every true class by predicted class: mIoU by both rules, pixel accuracy"
    needs = Needs(masks=True, images=True, regions=True)

    def __init__(self, study: "Study", model: "Model", dataset: "Dataset") -> None:
        super().__init__(study, model, dataset)
        protocol = study_protocol(study.protocol)
        texts = study_texts(study.protocol, dataset.name)
        classes = {id: name for id, name in sorted(dataset.classes.items())}
        if texts is None and (protocol is None or protocol.threshold == 0):
            classes = {id: name for id, name in classes.items() if not is_background(id, name)}
        if len(classes) < 2:
            raise ValueError(f"Expected at least 2 classes for the measure segmentation, but got {len(classes)}")
        self.names = tuple(classes.values())
        self._label_of = torch.full((MAX_ID + 1,), IGNORE, dtype=torch.int64)
        self._label_of[list(classes)] = torch.arange(len(classes))
        self._label_of[IGNORE] = IGNORE
        self._segmenter = None if protocol is None else _segmenter(study, model, protocol, texts or _single(self.names))

    def measure(self, batch: Batch) -> Rows:
        parts = [(item.index, method, self._pairs(item, label)) for item, method, label in self.iterate_labels(batch)]
        count = len(self.names)
        found = [(index, method, place) for index, method, pairs in parts for place in np.flatnonzero(pairs)]
        return {
            "index": np.array([index for index, _, _ in found], np.int64),
            "method": [method for _, method, _ in found],
            "truth": [self.names[place // count] for _, _, place in found],
            "predicted": [self.names[place % count] for _, _, place in found],
            "pixels": np.concatenate([pairs[pairs > 0] for _, _, pairs in parts]).astype(np.int32),
        }

    def iterate_labels(self, batch: Batch) -> Iterator[tuple[Item, str, Tensor]]:
        """Label maps (H, W) of every image and method, numbers of `names`."""
        return self._by_maps(batch) if self._segmenter is None else self._by_protocol(batch)

    def truth_of(self, item: Item) -> Tensor:
        """The true label map (H, W), numbers of `names`; 255 where it does not count."""
        return self._label_of[item.mask.long()]

    def _pairs(self, item: Item, label: Tensor) -> np.ndarray:
        """Pixels of every pair of true and predicted class, (classes * classes,)."""
        truth = self.truth_of(item).to(label.device)
        known = truth != IGNORE
        count = len(self.names)
        return torch.bincount(truth[known] * count + label[known], minlength=count * count).cpu().numpy()

    def _by_maps(self, batch: Batch) -> Iterator[tuple[Item, str, Tensor]]:
        """Label maps (H, W) of every image and method."""
        text = batch.bank.encode(self.names)
        for method in batch.methods:
            maps = similarity(batch.features(method), text).patches.permute(0, 3, 1, 2)  # (b, t, gh, gw)
            for item, own in zip(batch.items, maps, strict=True):
                yield item, method, _arg_max(own, tuple(item.mask.shape))

    def _by_protocol(self, batch: Batch) -> Iterator[tuple[Item, str, Tensor]]:
        """The same by a published protocol, from passes of its own."""
        found = self._segmenter.segment([item.image.numpy() for item in batch.items])
        for item, by_method in zip(batch.items, found, strict=True):
            for method, segmented in by_method.items():
                yield item, method, torch.from_numpy(segmented.labels).long()

    @classmethod
    def derive(cls, folder: "StudyFolder", resamples: int) -> pd.DataFrame | None:
        rows = [row for method in folder.study.methods for row in _summary(folder, method, resamples)]
        return pd.DataFrame(rows, columns=["method", *COLUMNS]) if rows else None


def _single(names: tuple[str, ...]) -> ClassTexts:
    return ClassTexts(tuple((name,) for name in names))


def _segmenter(study: "Study", model: "Model", protocol: Protocol, texts: ClassTexts) -> Segmenter:
    methods = study.parsed_methods.items()
    return Segmenter(model, {name: (replace(protocol, method=method), texts) for name, method in methods})


def _arg_max(maps: Tensor, size_px: tuple[int, int]) -> Tensor:
    """Class of every pixel (H, W) from maps (t, gh, gw), enlarged bilinearly a few classes at a time."""
    step = max(1, CHUNK_BYTES // (4 * size_px[0] * size_px[1]))
    best = label = None
    for start in range(0, len(maps), step):
        chunk = F.interpolate(maps[None, start : start + step], size=size_px, mode="bilinear")[0]
        value, place = chunk.max(dim=0)
        if best is None:
            best, label = value, place
        else:
            better = value > best
            best, label = torch.where(better, value, best), torch.where(better, place + start, label)
    return label


def _summary(folder: "StudyFolder", method: str, resamples: int) -> list[tuple[object, ...]]:
    """mIoU by both rules and pixel accuracy, each with its interval over images."""
    ranks = Ranks(folder)
    draws = Draws(len(ranks.images), resamples, folder.study.seed)
    number: dict[str, int] = {}
    total, drawn, seen = np.zeros((3, 0)), np.zeros((resamples, 3, 0)), 0
    for table in folder.iterate("segmentation", where={"method": method}):
        truth, predicted = (table.column(name).to_pylist() for name in ("truth", "predicted"))
        for name in dict.fromkeys([*truth, *predicted]):
            number.setdefault(name, len(number))
        missing = len(number) - total.shape[1]
        total, drawn = np.pad(total, ((0, 0), (0, missing))), np.pad(drawn, ((0, 0), (0, 0), (0, missing)))
        images, row_of = np.unique(table.column("index").to_numpy(), return_inverse=True)
        areas = np.zeros((len(images), 3, len(number)))  # intersection, predicted, truth
        pixels, hit = table.column("pixels").to_numpy(), np.array(truth) == np.array(predicted)
        t, p = (np.array([number[name] for name in names], np.int64) for names in (truth, predicted))
        np.add.at(areas, (row_of[hit], 0, t[hit]), pixels[hit])
        np.add.at(areas, (row_of, 1, p), pixels)
        np.add.at(areas, (row_of, 2, t), pixels)
        total += areas.sum(axis=0)
        weights = draws.weights(ranks(images)).astype(np.float64)
        drawn += (weights @ areas.reshape(len(images), -1)).reshape(drawn.shape)
        seen += len(images)
    if not seen:
        return []
    figures = [_figures(areas) for areas in (total, *drawn)]
    ends = interval(np.array(figures[1:]), seen)
    names = ("miou", "miou_present", "pixel_accuracy")
    return [(method, name, figures[0][n], *ends[:, n], seen, seen, note_on(seen)) for n, name in enumerate(names)]


def _figures(areas: np.ndarray) -> tuple[float, float, float]:
    counts = LabelCounts(*areas)
    return counts.miou, counts.miou_present, counts.pixel_accuracy
