"""Semantic segmentation by the arg-max over classes: architecture surgery without feature surgery."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data.datasets import Sample, is_background
from surgery import Method, Model, encode_dense, similarity
from surgery.dense import fit_method

MAX_ID = np.iinfo(np.uint16).max
"""Of classes and of label masks; ids that are no class of the data set, 255 among them, are not counted."""


@dataclass(frozen=True, slots=True)
class SegmentationSettings:
    """How images become label maps.

    Attributes:
        templates: name of the prompt templates, see `surgery.prompts`.
        size: input size as in `Model.preprocess` (stretched); None for the native one.
        short_side_px: with a sliding window, the shorter side that images are brought to, their shape kept.
        window_px: side of the sliding window; None sees the whole image at once.
        stride_px: step of the window; None for half of it.
        background_threshold: a pixel whose largest softmax probability is below it is background; None predicts no
            background, and pixels of it are not counted.

    Raises:
        ValueError: sizes below 1, a threshold outside of 0 to 1, or a size together with a sliding window.
    """

    templates: str = "none"
    size: int | tuple[int, int] | None = None
    short_side_px: int = 336
    window_px: int | None = None
    stride_px: int | None = None
    background_threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("short_side_px", "window_px", "stride_px"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"Expected {name} to be a whole number of at least 1, but got {value!r}")
        if self.background_threshold is not None and not 0 <= self.background_threshold <= 1:
            raise ValueError(f"Expected background_threshold to be from 0 to 1, but got {self.background_threshold}")
        if self.window_px is not None and self.size is not None:
            raise ValueError("Expected size to be None with a sliding window (short_side_px stands), but got both")

    @property
    def step_px(self) -> int:
        """Step of the window."""
        return self.stride_px or max(1, self.window_px // 2)

    def __str__(self) -> str:
        view = f"size {self.size or 'native'}"
        if self.window_px is not None:
            view = f"short side {self.short_side_px} px, window {self.window_px} px, stride {self.step_px} px"
        rest = "background left out"
        if self.background_threshold is not None:
            rest = f"background below probability {self.background_threshold:g}"
        return f"templates {self.templates}, {view}, {rest}"


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Label maps of one method over a data set.

    Attributes:
        mean_iou: mean of `iou` over the classes that occur in the masks, in [0, 1].
        iou: class -> intersection over union, summed over images before dividing; absent classes are left out.
        pixel_accuracy: share of right pixels.
        confusion: (classes, classes) pixels, true class by predicted class.
        classes: names in the order of `confusion`.
        method: as the tower carried it out.
        settings: templates, sliding window and background threshold; print it next to the number.
        images: how many.
        model: name of the model.
    """

    mean_iou: float
    iou: dict[str, float]
    pixel_accuracy: float
    confusion: np.ndarray
    classes: tuple[str, ...]
    method: Method
    settings: SegmentationSettings
    images: int
    model: str


def evaluate_segmentation(
    model: Model, samples: Iterable[Sample], method: Method, settings: SegmentationSettings | None = None
) -> Segmentation:
    """Segmentation mIoU of one method.

    Args:
        model: see `surgery.load_model`.
        samples: images of one data set with label masks; wrap them in a progress bar if wanted.
        method: how dense features are read.
        settings: how images become label maps.

    Raises:
        ValueError: a method without meaning for the tower, no image, classes that differ between images, a mask of
            another size than its image, an id outside of 0 to `MAX_ID`, a background threshold without a background
            class, or no pixel to count.

    Source: the protocol of Li et al. 2023, arXiv 2304.05653, semantic segmentation; sliding window and probability
        threshold as in Wang et al. 2023, "SCLIP", arXiv 2312.01597, section 4.1.
    """
    settings = settings or SegmentationSettings()
    fitted = fit_method(model.tower, method)
    counter: _Confusion | None = None
    images = 0
    for sample in samples:
        counter = counter or _Confusion(sample, settings)
        counter.check(sample)
        if images == 0:
            text = model.encode_text(counter.prompts, settings.templates)
        cosines = compute_class_maps(model, sample, text, method, settings)
        counter.add(sample.mask, counter.predict(cosines, model.logit_scale))
        images += 1
    if counter is None:
        raise ValueError("Expected samples to hold at least 1 image, but got none")
    iou, accuracy = counter.scores()
    mean = float(np.mean(list(iou.values())))
    return Segmentation(mean, iou, accuracy, counter.pixels, counter.names, fitted, settings, images, model.name)


def compute_class_maps(
    model: Model, sample: Sample, text: Tensor, method: Method, settings: SegmentationSettings
) -> Tensor:
    """Cosine of every pixel with every class, at the size of the image, (t, H, W).

    Windows are enlarged bilinearly one by one and averaged where they overlap.
    """
    image, size_px = sample.image.to_pil(), sample.image.size_px
    if settings.window_px is None:
        maps = _compute_maps(model, model.preprocess([image], settings.size), text, method)
    else:
        pixels = model.preprocess([image], _input_size(model, size_px, settings.short_side_px))
        maps = _slide(model, pixels, text, method, settings)
    return F.interpolate(maps, size=size_px, mode="bilinear")[0]


def _compute_maps(model: Model, pixels: Tensor, text: Tensor, method: Method) -> Tensor:
    """(b, 3, H, W) -> (b, t, gh, gw)."""
    return similarity(encode_dense(model, pixels, method), text).patches.movedim(-1, 1)


def _input_size(model: Model, size_px: tuple[int, int], short_side_px: int) -> tuple[int, int]:
    """Height and width in pixels, multiples of the patch, with the given shorter side and nearly the image's shape."""
    scale = short_side_px / min(size_px)
    patches = zip(size_px, model.tower.patch_px, strict=True)
    return tuple(max(1, round(side * scale / patch)) * patch for side, patch in patches)


def _slide(model: Model, pixels: Tensor, text: Tensor, method: Method, settings: SegmentationSettings) -> Tensor:
    """Mean over all windows that see a pixel, (1, t, H, W)."""
    height, width = pixels.shape[-2:]
    total = torch.zeros(1, len(text), height, width, dtype=text.dtype, device=text.device)
    seen = torch.zeros_like(total[:, :1])
    for rows in _windows(height, settings):
        for columns in _windows(width, settings):
            maps = _compute_maps(model, pixels[..., rows, columns], text, method)
            window = total[..., rows, columns]
            window += F.interpolate(maps, size=window.shape[-2:], mode="bilinear")
            seen[..., rows, columns] += 1
    return total / seen


def _windows(side_px: int, settings: SegmentationSettings) -> Iterator[slice]:
    """Windows along one side; the last one ends at the border."""
    window = min(settings.window_px, side_px)
    starts = range(0, side_px - window, settings.step_px)
    yield from (slice(start, start + window) for start in (*starts, side_px - window))


class _Confusion:
    """Pixels of every true class by predicted class, summed over images."""

    def __init__(self, first: Sample, settings: SegmentationSettings) -> None:
        background = [id for id, name in first.names.items() if is_background(id, name)]
        self.threshold = settings.background_threshold
        if self.threshold is not None and not background:
            raise ValueError("Expected a background class, 0, for background_threshold, but the data set has none")
        _check_ids(np.array(list(first.names)), "the classes")
        self.data_set_names = dict(first.names)
        objects = [id for id in first.names if id not in background]
        self.prompts = [first.names[id] for id in objects]
        self.ids = objects if self.threshold is None else [*background, *objects]
        self.names = tuple(first.names[id] for id in self.ids)
        self.pixels = np.zeros((len(self.ids), len(self.ids)), np.int64)
        self.row_of = np.full(MAX_ID + 1, -1)
        self.row_of[self.ids] = np.arange(len(self.ids))

    def check(self, sample: Sample) -> None:
        """Raises ValueError for a sample that does not belong to the data set or whose mask does not fit."""
        if sample.names != self.data_set_names:
            raise ValueError(f"Expected samples to share one set of classes, but {sample.name} has others")
        if sample.mask.shape != sample.image.size_px:
            raise ValueError(
                f"Expected the mask of {sample.name} to be of the image's size {sample.image.size_px}, "
                f"but got {sample.mask.shape}"
            )
        _check_ids(sample.mask, f"the mask of {sample.name}")

    def predict(self, cosines: Tensor, logit_scale: float) -> np.ndarray:
        """Rows of `pixels` that are predicted, (H, W), from cosines (t, H, W)."""
        predicted = cosines.argmax(dim=0)
        if self.threshold is not None:
            certain = (cosines * logit_scale).softmax(dim=0).amax(dim=0) >= self.threshold
            predicted = torch.where(certain, predicted + 1, 0)
        return predicted.cpu().numpy()

    def add(self, mask: np.ndarray, predicted: np.ndarray) -> None:
        """Count an image: class ids and predicted rows, each (H, W)."""
        truth = self.row_of[mask]
        known = truth >= 0
        pairs = truth[known] * len(self.ids) + predicted[known]
        self.pixels += np.bincount(pairs, minlength=self.pixels.size).reshape(self.pixels.shape)

    def scores(self) -> tuple[dict[str, float], float]:
        """IoU of the classes that occur, and the share of right pixels."""
        if not self.pixels.any():
            raise ValueError("Expected masks to hold at least 1 pixel of a class, but got none")
        hits, truth, predicted = self.pixels.diagonal(), self.pixels.sum(axis=1), self.pixels.sum(axis=0)
        present = np.flatnonzero(truth)
        iou = {self.names[i]: float(hits[i] / (truth[i] + predicted[i] - hits[i])) for i in present}
        return iou, float(hits.sum() / truth.sum())


def _check_ids(ids: np.ndarray, where: str) -> None:
    """Raises ValueError for anything but whole numbers from 0 to `MAX_ID`; it names the first wrong one."""
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"Expected the ids of {where} to be whole numbers, but got {ids.dtype}")
    wrong = ids[(ids < 0) | (ids > MAX_ID)]
    if wrong.size:
        raise ValueError(f"Expected the ids of {where} to be from 0 to {MAX_ID}, but got {wrong[0]}")
