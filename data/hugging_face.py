"""Images of the library `datasets`: an id of the Hub, or a folder written by `save_to_disk`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets import Dataset, Sample
from data.images import LoadedImage, decode_mask, load_image

IMAGE_COLUMNS = ("image", "img", "pixel_values")
MASK_COLUMNS = ("mask", "annotation", "segmentation", "label_map", "seg_map", "label")
CAPTION_COLUMNS = ("captions", "caption", "sentences", "text")
LABEL_COLUMNS = ("labels", "label", "objects", "category")
SPLITS = ("validation", "val", "test", "train")


class HubImages(Dataset):
    """Images of a `datasets.Dataset`: columns of images, masks, captions and class labels are found by name and type.

    Args:
        source: id such as "nlphuji/flickr30k", or a folder written by `save_to_disk`.
        split: None for the first of validation, val, test and train that there is.

    Raises:
        ValueError: no such split, or no column of images.
        FileNotFoundError: no such data set, it cannot be had, or the package datasets is not installed.
    """

    def __init__(self, source: str, split: str | None = None) -> None:
        rows, images = _open_rows(source, split)
        self.name = Path(source).name
        columns = rows.features
        self._image = _find(columns, IMAGE_COLUMNS, images) or next((n for n in columns if n in images), None)
        if self._image is None:
            raise ValueError(f"Expected a column of images in {source}, but got {', '.join(columns)}")
        self._mask = _find(columns, MASK_COLUMNS, images - {self._image})
        self._captions = _find(columns, CAPTION_COLUMNS, set(columns) - images)
        self._labels = _find(columns, LABEL_COLUMNS, {n for n in columns if _class_names(columns[n]) is not None})
        names = _class_names(columns[self._labels]) if self._labels else None
        self.classes = dict(enumerate(names or ()))
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def image_names(self) -> list[str]:
        return [f"{self.name}-{index}" for index in range(len(self))]

    def sample(self, index: int) -> Sample:
        row = partial(_row, self._rows, index)
        name = f"{self.name}-{index}"
        kept = [column for column in (self._captions, self._labels) if column is not None]
        values = self._rows.select_columns(kept)[index] if kept else {}
        labels = values.get(self._labels)
        return Sample(
            name=name,
            names=self.classes,
            open_image=partial(_read_image, row, self._image, name),
            open_mask=None if self._mask is None else partial(_read_mask, row, self._mask),
            captions=_texts(values.get(self._captions)),
            image_labels=None if labels is None else tuple(np.unique(np.atleast_1d(labels)).tolist()),
        )


def _open_rows(source: str, split: str | None) -> tuple[Any, set[str]]:
    """The rows of a split with undecoded images, and the names of the columns of images."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise FileNotFoundError(
            "Expected the package datasets to read data sets of Hugging Face, but it is not installed; in the "
            'folder of the clone: .venv/bin/uv pip install --python .venv/bin/python -e ".[datasets]"'
        ) from error
    try:
        found = datasets.load_from_disk(source) if Path(source).is_dir() else datasets.load_dataset(source)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(f"Expected {source} to be a data set of Hugging Face, but got: {reason}") from error
    if isinstance(found, datasets.DatasetDict):
        chosen = split or next((name for name in SPLITS if name in found), next(iter(found)))
        if chosen not in found:
            raise ValueError(f"Expected the split of {source} to be one of {', '.join(found)}, but got {chosen!r}")
        found = found[chosen]
    images = {name for name, feature in found.features.items() if isinstance(feature, datasets.Image)}
    for name in images:
        found = found.cast_column(name, datasets.Image(decode=False))
    return found, images


def _find(columns: Any, wanted: Sequence[str], allowed: set[str]) -> str | None:
    return next((name for name in wanted if name in columns and name in allowed), None)


def _class_names(feature: Any) -> list[str] | None:
    """Names of a ClassLabel, or of a list of them; None for another type."""
    return getattr(getattr(feature, "feature", feature), "names", None)


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(text for text in values if isinstance(text, str))


def _row(rows: Any, index: int, column: str) -> Any:
    """The undecoded file of one column of a row: its bytes, or its path."""
    cell = rows.select_columns([column])[index][column]
    return cell["bytes"] if cell["bytes"] is not None else cell["path"]


def _read_image(row: Any, column: str, name: str) -> LoadedImage:
    return LoadedImage.from_rgb(load_image(row(column)).rgb, name)


def _read_mask(row: Any, column: str) -> np.ndarray:
    return decode_mask(row(column))
