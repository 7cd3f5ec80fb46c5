"""From a data set to batches of decoded images: what runs in the worker processes of the loader, without the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from analysis.regions import Region, regions_from_labels
from data.datasets import Dataset, Sample, is_background
from data.registry import open_dataset
from surgery.models import stretch_image

if TYPE_CHECKING:
    from analysis.studies.study import Study

PREFETCH = 4
"""Batches that each worker process reads ahead."""


def open_data(data: str, seed: int = 0) -> Dataset:
    """A data set by its name, see `data.registry.open_dataset`."""
    return open_dataset(data, seed)


def count_images(study: "Study") -> int:
    """Number of images of a study."""
    found = len(open_data(study.data, study.seed))
    return found if study.limit is None else min(found, study.limit)


def image_names(dataset: Dataset) -> list[str]:
    """Names of all images, in order, without opening one."""
    return dataset.image_names()


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A text and where it is in an image.

    Attributes:
        text: the prompt.
        region: patches; None where the text has no region.
        id: of the class in the mask; None without region.
    """

    text: str
    region: Region | None
    id: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One image as it leaves a worker process.

    Attributes:
        index: in the data set.
        name: of the image.
        rgb: uint8 (H, W, 3) network input; None where the image cannot be read.
        targets: what is looked for.
        mask: class ids (H, W) at image size; None where no measure needs them.
        image: uint8 (H, W, 3) the image itself, as `mask`.
        names: id -> name of all classes but the background.
        present: ids of the classes that occur.
        captions: of the image.
        scenery: the captions' word for what is no class, and `free`, where that is.
        problems: what is wrong: (text or None for the whole image, reason).
    """

    index: int
    name: str
    rgb: Tensor | None = None
    targets: tuple[Target, ...] = ()
    mask: Tensor | None = None
    image: Tensor | None = None
    names: dict[int, str] | None = None
    present: tuple[int, ...] = ()
    captions: tuple[str, ...] = ()
    scenery: str | None = None
    free: Region | None = None
    problems: tuple[tuple[str | None, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Turns an index into an `Item`; it crosses into worker processes, so it holds no model.

    Attributes:
        dataset: the images.
        size_px: network input, (height, width).
        grid: rows and columns of patches.
        texts: as in `Study`.
        masks, images: whether items carry them.
    """

    dataset: Dataset
    size_px: tuple[int, int]
    grid: tuple[int, int]
    texts: tuple[str, ...] | None
    masks: bool
    images: bool

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        item = Item(index, "")
        try:
            sample = self.dataset[index]
            item = replace(item, name=sample.name)
            return self._read(item, sample)
        except (OSError, ValueError) as error:
            return replace(item, problems=((None, " ".join(str(error).split())),))

    def _read(self, item: Item, sample: Sample) -> Item:
        image, labels = sample.image, sample.mask if sample.has_mask else None
        if labels is not None and labels.shape != image.size_px:
            raise ValueError(f"the mask is {labels.shape} and the image {image.size_px} (height, width)")
        names = {id: name for id, name in sample.names.items() if not is_background(id, name)}
        known = (
            np.unique(labels).tolist() if sample.image_labels is None and labels is not None else sample.image_labels
        )
        present = [id for id in known or () if id in names]
        visible = {} if labels is None else {id: names[id] for id in present}
        regions = regions_from_labels(labels, visible, self.grid) if visible else {}
        targets, problems = self._targets(names, present, regions, labels is not None)
        return replace(
            item,
            rgb=torch.from_numpy(stretch_image(image.to_pil(), self.size_px).copy()),
            targets=targets,
            mask=torch.from_numpy(labels.astype(np.int32)) if self.masks and labels is not None else None,
            image=torch.from_numpy(image.rgb.copy()) if self.images else None,
            names=names,
            present=tuple(present),
            captions=sample.captions,
            scenery=sample.scenery,
            free=_free_region(sample.scenery, labels, present, self.grid),
            problems=problems,
        )

    def _targets(
        self, names: dict[int, str], present: Sequence[int], regions: dict[str, Region], masked: bool
    ) -> tuple[tuple[Target, ...], tuple[tuple[str, str], ...]]:
        ids = {names[id]: id for id in present}
        wanted = ids if self.texts is None else {text: ids.get(text) for text in self.texts}
        small = [text for text, id in wanted.items() if masked and id is not None and text not in regions]
        texts = [text for text in wanted if self.texts is not None or text in regions or not masked]
        targets = tuple(Target(text, regions.get(text), wanted[text] if text in regions else None) for text in texts)
        return targets, tuple((text, "it fills no patch by half, or leaves no background patch") for text in small)


def _free_region(
    scenery: str | None, labels: np.ndarray | None, present: Sequence[int], grid: tuple[int, int]
) -> Region | None:
    """Where the scenery is: the patches without any class."""
    if scenery is None or labels is None:
        return None
    try:
        return Region.from_mask(~np.isin(labels, present), grid)
    except ValueError:
        return None


def iterate_items(reader: Reader, batches: Sequence[Sequence[int]], workers: int) -> Iterator[list[Item]]:
    """Items of every batch in order; worker processes read ahead.

    Args:
        reader: see above.
        batches: indices.
        workers: number of processes; 0 reads in this one.
    """
    ahead = {"prefetch_factor": PREFETCH} if workers else {}
    yield from DataLoader(reader, batch_sampler=list(batches), num_workers=workers, collate_fn=list, **ahead)
