"""Segmentation by class, method and picture, from the measure "segmentation" of a study.

classes = class_ious(folder, "clip_surgery")       # a row a class: IoU with interval, pixels, most confused with
methods = segmentation_rows(folder)                # a row a method: mIoU, protocol, the published figure
images = image_figures(folder, "clip_surgery")     # a row a picture, worst first
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.evaluation.confusion import LabelCounts
from analysis.studies.reader import StudyFolder
from analysis.studies.reproduce import Row, measured_rows
from analysis.studies.statistics import RESAMPLES, Draws, Ranks, interval

SEGMENTATION = "segmentation"
INTERSECTION, PREDICTED, TRUTH = range(3)


@dataclass(frozen=True, slots=True, eq=False)
class _Areas:
    """Pixels of one part of a study.

    Attributes:
        images: (i,) numbers of the pictures.
        areas: (i, 3, c) intersection, predicted, truth.
        confusion: (c, c) pixels of true class by predicted class.
    """

    images: np.ndarray
    areas: np.ndarray
    confusion: np.ndarray


def class_ious(folder: StudyFolder, method: str, resamples: int = RESAMPLES) -> pd.DataFrame:
    """A row a class that is true or predicted anywhere: class, iou, low, high, truth, predicted, confused, images.

    Args:
        folder: of a study with the measure "segmentation".
        method: one of its methods.
        resamples: of the bootstrap over pictures.

    Returns:
        IoU in [0, 1] with its 95 % interval; pixels of the truth and of the label maps; the class that takes most of
        its pixels, "" where none does; and in how many pictures it is.

    Raises:
        ValueError: the study lacks the measure or the method.
    """
    if method not in folder.study.methods:
        raise ValueError(f"Expected method to be one of {', '.join(folder.study.methods)}, but got {method!r}")
    names, ranks = _class_names(folder), Ranks(folder)
    draws = Draws(max(1, len(ranks.images)), resamples, folder.study.seed)
    total, confusion = np.zeros((3, len(names))), np.zeros((len(names), len(names)))
    drawn, seen, present = np.zeros((resamples, 3, len(names))), 0, np.zeros(len(names), np.int64)
    for part in _iterate_areas(folder, method, names):
        weights = draws.weights(ranks(part.images)).astype(np.float64)
        drawn += (weights @ part.areas.reshape(len(part.images), -1)).reshape(drawn.shape)
        total, confusion, seen = total + part.areas.sum(axis=0), confusion + part.confusion, seen + len(part.images)
        present += (part.areas[:, TRUTH] > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = interval(_iou(drawn), seen)
        iou = _iou(total)
    np.fill_diagonal(confusion, 0)
    worst = [names[n] if row.any() else "" for row, n in zip(confusion, confusion.argmax(axis=1), strict=True)]
    columns = {"class": names, "iou": iou, "low": low, "high": high, "truth": total[TRUTH].astype(np.int64)}
    columns |= {"predicted": total[PREDICTED].astype(np.int64), "confused": worst, "images": present}
    table = pd.DataFrame(columns)
    return table[np.isfinite(iou)].sort_values("iou", kind="stable").reset_index(drop=True)


def _iou(areas: np.ndarray) -> np.ndarray:
    """(..., 3, c) -> (..., c); NaN where the union is empty."""
    return areas[..., INTERSECTION, :] / (areas[..., PREDICTED, :] + areas[..., TRUTH, :] - areas[..., INTERSECTION, :])


def image_figures(folder: StudyFolder, method: str) -> pd.DataFrame:
    """A row a picture, worst first: index, miou (over the classes in it), accuracy (share of right pixels), classes."""
    names, rows = _class_names(folder), []
    for part in _iterate_areas(folder, method, names):
        for index, areas in zip(part.images, part.areas, strict=True):
            counts = LabelCounts(*areas)
            rows.append((int(index), counts.miou_present, counts.pixel_accuracy, int((areas[TRUTH] > 0).sum())))
    table = pd.DataFrame(rows, columns=["index", "miou", "accuracy", "classes"])
    return table.sort_values(["miou", "index"], kind="stable").reset_index(drop=True)


def images_with(folder: StudyFolder, text: str) -> np.ndarray:
    """Numbers of the pictures in which a class is true or predicted by any method, ascending."""
    rows = [folder.table(SEGMENTATION, ["index"], where={side: text})["index"] for side in ("truth", "predicted")]
    return np.unique(pd.concat(rows).to_numpy(np.int64))


def _class_names(folder: StudyFolder) -> list[str]:
    """Classes that are true or predicted in any picture, by any method, in alphabetical order."""
    found: set[str] = set()
    for table in folder.iterate(SEGMENTATION, ["truth", "predicted"]):
        for name in ("truth", "predicted"):
            found |= set(table.column(name).unique().to_pylist())
    return sorted(found)


def _iterate_areas(folder: StudyFolder, method: str, names: list[str]) -> Iterator[_Areas]:
    number = {name: place for place, name in enumerate(names)}
    columns = ["index", "truth", "predicted", "pixels"]
    for table in folder.iterate(SEGMENTATION, columns, {"method": method}):
        if table.num_rows:
            yield _areas_of(table, number)


def _areas_of(table: pa.Table, number: dict[str, int]) -> _Areas:
    truth, predicted = (
        table.column(name).to_pandas().map(number).to_numpy(np.int64) for name in ("truth", "predicted")
    )
    images, row = np.unique(table.column("index").to_numpy(), return_inverse=True)
    pixels, hit = table.column("pixels").to_numpy().astype(np.float64), truth == predicted
    areas = np.zeros((len(images), 3, len(number)))
    np.add.at(areas, (row[hit], INTERSECTION, truth[hit]), pixels[hit])
    np.add.at(areas, (row, PREDICTED, predicted), pixels)
    np.add.at(areas, (row, TRUTH, truth), pixels)
    confusion = np.zeros((len(number), len(number)))
    np.add.at(confusion, (truth, predicted), pixels)
    return _Areas(images, areas, confusion)


def segmentation_rows(folder: StudyFolder) -> list[Row]:
    """A row a method: mIoU with interval, the whole protocol in one line, and the published figure where there is one.

    Raises:
        ValueError: the study lacks the measure "segmentation".
    """
    if SEGMENTATION not in folder.study.measures:
        raise ValueError(f"Expected a study with the measure {SEGMENTATION}, but it has none")
    return list(measured_rows(folder))


def protocol_line(rows: Sequence[Row]) -> str:
    """What all methods share of their protocol, in one line; "" where nothing was measured."""
    line = next((row.measured.protocol for row in rows if row.measured is not None), "")
    return line.partition("; ")[2]
