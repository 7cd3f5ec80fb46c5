"""What the model says of whole images: which classes are there, and which caption belongs to which image."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.metrics import MeanAveragePrecision, mean_average_precision
from data.datasets import Sample, is_background
from surgery import METHODS, DenseFeatures, Model, dense_features, feature_surgery, similarity

IMAGES_A_PASS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Recognition:
    """Multi-label recognition by the CLS row of the similarity.

    Attributes:
        cosine: mAP of ranking images by their cosine with each class.
        feature_surgery: mAP of the CLS row after feature surgery over all classes.
        classes: names, in the order of the per-class precisions.
        images: how many.
        templates: name of the prompt templates.
        size: input size as in `Model.preprocess`.
        model: name of the model.
    """

    cosine: MeanAveragePrecision
    feature_surgery: MeanAveragePrecision
    classes: tuple[str, ...]
    images: int
    templates: str
    size: int | tuple[int, int] | None
    model: str


def evaluate_recognition(
    model: Model, samples: Iterable[Sample], *, templates: str = "none", size: int | tuple[int, int] | None = None
) -> Recognition:
    """Average precision per class over images, with and without feature surgery.

    Args:
        model: see `surgery.load_model`.
        samples: images of one data set, whose label masks say which classes are present.
        templates: name of prompt templates, see `surgery.prompts`.
        size: input size as in `Model.preprocess`; None for the native one.

    Raises:
        ValueError: no image, classes that differ between images, fewer than 2 of them, or none present.

    Source: Li et al. 2023, "CLIP Surgery", arXiv 2304.05653, multi-label recognition.
    """
    samples = _at_least_one(samples)
    names = {id: name for id, name in samples[0].names.items() if not is_background(id, name)}
    if any(sample.names != samples[0].names for sample in samples):
        raise ValueError("Expected samples to share one set of classes, but got images with others")
    text = model.encode_text(list(names.values()), templates)
    plain, surgery = [], []
    for features in _iterate_features(model, samples, size):
        plain.append(similarity(features, text).cls)
        surgery.append(feature_surgery(features, text).cls)
    labels = np.array([[id in sample.classes for id in names] for sample in samples])
    before, after = (mean_average_precision(torch.cat(scores), labels) for scores in (plain, surgery))
    return Recognition(before, after, tuple(names.values()), len(samples), templates, size, model.name)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How often the right caption, or image, comes first.

    Attributes:
        image_to_text, text_to_image: top-1 accuracy in [0, 1].
        images: how many were used; those that fill no batch are left out.
        batch: number of images, and of captions, to choose from.
        model: name of the model.
    """

    image_to_text: float
    text_to_image: float
    images: int
    batch: int
    model: str


def evaluate_retrieval(model: Model, samples: Iterable[Sample], batch: int = 64) -> Retrieval:
    """Top-1 retrieval within batches of images and their first captions.

    Args:
        model: see `surgery.load_model`.
        samples: images with captions. An equal caption of another image counts as right.
        batch: images to choose from at a time.

    Raises:
        ValueError: a batch below 2, fewer images than a batch, or an image without a caption.
    """
    if batch < 2:
        raise ValueError(f"Expected batch to be at least 2, but got {batch}")
    samples = _at_least_one(samples)
    if len(samples) < batch:
        raise ValueError(f"Expected samples to fill a batch of {batch}, but got {len(samples)}")
    for sample in samples:
        if not sample.captions:
            raise ValueError(f"Expected every sample to have a caption, but got {sample.name} without one")
    full = [chunk for chunk in _chunks(samples, batch) if len(chunk) == batch]
    right = np.array([_retrieve(model, chunk) for chunk in full])  # (batches, 2)
    image_to_text, text_to_image = right.mean(axis=0).tolist()
    return Retrieval(image_to_text, text_to_image, len(right) * batch, batch, model.name)


def _retrieve(model: Model, samples: Sequence[Sample]) -> tuple[float, float]:
    """Accuracy of image to text and of text to image within one batch."""
    captions = np.array([sample.captions[0] for sample in samples])
    images = F.normalize(torch.cat([f.cls for f in _iterate_features(model, samples, None)]), dim=-1)
    cosines: Tensor = images @ model.encode_text(captions.tolist()).to(images).mT  # (images, captions)
    picked = (cosines.argmax(dim=dim).cpu().numpy() for dim in (1, 0))
    return tuple(float((captions[index] == captions).mean()) for index in picked)


def _iterate_features(
    model: Model, samples: Sequence[Sample], size: int | tuple[int, int] | None
) -> Iterator[DenseFeatures]:
    """Features of the original path, `IMAGES_A_PASS` images at a time."""
    for chunk in _chunks(samples, IMAGES_A_PASS):
        pixels = model.preprocess([sample.image.to_pil() for sample in chunk], size)
        yield dense_features(model.trace(pixels, keep=1), METHODS["clip"])


def _chunks(samples: Sequence[Sample], length: int) -> list[Sequence[Sample]]:
    return [samples[start : start + length] for start in range(0, len(samples), length)]


def _at_least_one(samples: Iterable[Sample]) -> list[Sample]:
    samples = list(samples)
    if not samples:
        raise ValueError("Expected samples to hold at least 1 image, but got none")
    return samples
