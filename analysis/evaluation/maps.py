"""How well the maps of each method light up what is there, over a data set."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from analysis.metrics import count_at_least, flip_auc, score_contrast
from analysis.regions import Region
from analysis.sweep import Skipped, open_sample
from data.datasets import Sample, is_background
from surgery import (
    DenseFeatures,
    Method,
    Model,
    Similarity,
    feature_surgery,
    iterate_dense_features,
    similarity,
    similarity_maps,
    usable_methods,
)
from surgery.dense import fit_method

THRESHOLDS = np.linspace(0, 1, 101)
"""Of the min-max normalised map."""


@dataclass(frozen=True, slots=True)
class MapSettings:
    """How maps are made.

    Attributes:
        templates: name of the prompt templates, see `surgery.prompts`.
        size: input size as in `Model.preprocess`; None for the native one.
        feature_surgery: whether the redundancy of all classes of the data set is removed; with a single class, that of
            the empty text.
    """

    templates: str = "none"
    size: int | tuple[int, int] | None = None
    feature_surgery: bool = False


@dataclass(frozen=True, slots=True)
class MapScores:
    """The maps of one method over a data set.

    Attributes:
        method: as the tower carried it out.
        model: name of the model.
        settings: how the maps were made.
        images, maps: how many; a map is one class present in one image.
        msc: mean score contrast over maps, in percent; negative when maps are opposite to the object.
        flip_auc: mean flip AUC over maps, in [0, 1].
        mean_iou: explainability mIoU, the mean of `iou` over classes, in [0, 1].
        iou: class -> binary IoU over the images that hold the class, at the threshold that suits the class best.
        thresholds: class -> that threshold of the min-max normalised map.
        skipped: images and classes that were left out.
    """

    method: Method
    model: str
    settings: MapSettings
    images: int
    maps: int
    msc: float
    flip_auc: float
    mean_iou: float
    iou: Mapping[str, float]
    thresholds: Mapping[str, float]
    skipped: tuple[Skipped, ...]


def evaluate_maps(
    model: Model,
    samples: Iterable[Sample],
    methods: Mapping[str, Method] | None = None,
    settings: MapSettings | None = None,
) -> dict[str, MapScores]:
    """Scores the maps of many methods, one pass an image (one per position interpolation off the native size).

    Args:
        model: see `surgery.load_model`.
        samples: images with label masks; wrap them in a progress bar if wanted.
        methods: name -> method; None for all presets that have a meaning for the tower.
        settings: how maps are made.

    Returns:
        Scores by the names of `methods`.

    Raises:
        ValueError: a method without meaning for the tower, or no map at all.

    Source: mSC and explainability mIoU as in Li et al. 2023, "CLIP Surgery", arXiv 2304.05653; mSC here
        over patches, IoU over pixels of the bilinearly enlarged map.
    """
    methods = usable_methods(model.tower) if methods is None else dict(methods)
    fitted = {name: fit_method(model.tower, method) for name, method in methods.items()}
    settings = settings or MapSettings()
    tallies = {name: _Tally() for name in methods}
    skipped: list[Skipped] = []
    texts = _Texts(model, settings)
    for sample in samples:
        opened = open_sample(model, sample, settings.size, skipped.append)
        if opened is None:
            continue
        pixels, regions = opened
        for name, features in iterate_passes(model, pixels, methods):
            tallies[name].add(sample, regions, texts.similarity(features, sample, list(regions)))
    if not any(tally.contrasts for tally in tallies.values()):
        raise ValueError(f"Expected samples to hold at least 1 usable object, but got none ({len(skipped)} left out)")
    return {name: tally.scores(fitted[name], model, settings, skipped) for name, tally in tallies.items()}


def iterate_passes(model: Model, pixels: Tensor, methods: Mapping[str, Method]) -> Iterator[tuple[str, DenseFeatures]]:
    """Dense features by the name of the method, from one recorded pass per position interpolation that matters."""
    native = model.tower.grid_of(pixels) == tuple(model.tower.native_grid)
    groups: dict[str, list[str]] = defaultdict(list)
    for name, method in methods.items():
        groups["bicubic" if native else method.position_interpolation].append(name)
    for mode, names in groups.items():
        depth = max(fit_method(model.tower, methods[name]).blocks for name in names)
        trace = model.trace(pixels, mode, keep=depth)
        yield from zip(names, iterate_dense_features(trace, [methods[name] for name in names]), strict=True)


class _Texts:
    """Text features of the classes, each set encoded once."""

    def __init__(self, model: Model, settings: MapSettings) -> None:
        self.model, self.settings = model, settings
        self._encoded: dict[tuple[str, ...], Tensor] = {}

    def encode(self, names: tuple[str, ...]) -> Tensor:
        """(t, d)."""
        if names not in self._encoded:
            self._encoded[names] = self.model.encode_text(names, self.settings.templates)
        return self._encoded[names]

    def similarity(self, features: DenseFeatures, sample: Sample, present: list[str]) -> Similarity:
        """Similarity with the classes present, in their order."""
        if not self.settings.feature_surgery:
            return similarity(features, self.encode(tuple(present)))
        names = tuple(name for id, name in sample.names.items() if not is_background(id, name))
        redundant = self.encode(("",)) if len(names) == 1 else None
        sim = feature_surgery(features, self.encode(names), redundant)
        columns = [names.index(name) for name in present]
        return replace(sim, cls=sim.cls[:, columns], patches=sim.patches[..., columns])


@dataclass(slots=True)
class _Tally:
    """What is summed up over the images for one method."""

    contrasts: list[float] = field(default_factory=list)
    aucs: list[float] = field(default_factory=list)
    images: int = 0
    overlaps: dict[str, "_Overlap"] = field(default_factory=lambda: defaultdict(_Overlap))

    def add(self, sample: Sample, regions: Mapping[str, Region], sim: Similarity) -> None:
        self.images += 1
        patches = sim.patches[0].movedim(-1, 0).cpu().numpy()  # (t, gh, gw)
        enlarged = similarity_maps(sim, sample.mask.shape, normalize="minmax")[0].cpu().numpy()  # (t, H, W)
        masks = {region.text: (region.mask, region.valid) for region in sample.regions()}
        for (name, region), values, pixels in zip(regions.items(), patches, enlarged, strict=True):
            self.contrasts.append(score_contrast(values, region))
            self.aucs.append(flip_auc(values, region))
            self.overlaps[name].add(pixels, *masks[name])

    def scores(self, method: Method, model: Model, settings: MapSettings, skipped: list[Skipped]) -> MapScores:
        best = {name: self.overlaps[name].best() for name in sorted(self.overlaps)}
        return MapScores(
            method=method,
            model=model.name,
            settings=settings,
            images=self.images,
            maps=len(self.contrasts),
            msc=100 * float(np.mean(self.contrasts)),
            flip_auc=float(np.mean(self.aucs)),
            mean_iou=float(np.mean([iou for iou, _ in best.values()])),
            iou={name: iou for name, (iou, _) in best.items()},
            thresholds={name: threshold for name, (_, threshold) in best.items()},
            skipped=tuple(skipped),
        )


class _Overlap:
    """Intersection and union of one class at every threshold, summed over images without keeping their maps."""

    def __init__(self) -> None:
        self.predicted = np.zeros(len(THRESHOLDS), np.int64)
        self.hits = np.zeros(len(THRESHOLDS), np.int64)
        self.pixels = 0

    def add(self, values: np.ndarray, mask: np.ndarray, valid: np.ndarray) -> None:
        """A map in [0, 1], the object and the pixels that count, each (H, W)."""
        self.predicted += count_at_least(values[valid], THRESHOLDS)
        self.hits += count_at_least(values[valid & mask], THRESHOLDS)
        self.pixels += int((valid & mask).sum())

    def best(self) -> tuple[float, float]:
        """The best IoU and the lowest threshold that gives it."""
        ious = self.hits / (self.pixels + self.predicted - self.hits)
        return float(ious.max()), float(THRESHOLDS[ious.argmax()])
