"""COCO's own annotations: instances, panoptic segments and captions, by JSON file."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets import BACKGROUND, Dataset, Sample
from data.folder_lists import IGNORE
from data.images import load_image
from data.listed import ListedImages

SPLIT = "val2017"
MAX_ID = IGNORE - 1


class CocoInstances(Dataset):
    """COCO instances as class masks: 0 is background; smaller instances lie on larger ones, crowds below all.

    Args:
        root: folder with annotations/instances_SPLIT.json and the images in SPLIT/ or images/SPLIT/.
        split: such as "val2017".

    Raises:
        FileNotFoundError: annotations or images are missing; the message says what makes them.
        ValueError: a file that is no such JSON, or a category id that a mask cannot hold.
    """

    def __init__(self, root: Path, split: str | None = None) -> None:
        content = read_annotations(root, "instances", split)
        self.name, self.folder = "coco_instances", image_folder(root, split)
        self.classes = {0: BACKGROUND} | categories(content)
        self._images = [(image["file_name"], image["height"], image["width"]) for image in content["images"]]
        index = {image["id"]: number for number, image in enumerate(content["images"])}
        self._parts: list[list[tuple[int, Any]]] = [[] for _ in self._images]
        order = sorted(content["annotations"], key=lambda a: (not a.get("iscrowd", 0), -a["area"]))
        for annotation in order:
            shape = annotation["segmentation"]
            compact = shape if isinstance(shape, dict) else [np.asarray(polygon, np.float64) for polygon in shape]
            self._parts[index[annotation["image_id"]]].append((annotation["category_id"], compact))

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, index: int) -> Sample:
        file_name, height, width = self._images[index]
        parts = self._parts[index]
        return Sample(
            name=Path(file_name).stem,
            names=self.classes,
            open_image=partial(load_image, self.folder / file_name),
            open_mask=partial(_paint, parts, height, width),
            image_labels=tuple(sorted({id for id, _ in parts})),
        )


def _paint(parts: Sequence[tuple[int, Any]], height: int, width: int) -> np.ndarray:
    """Class ids uint8 (H, W) of polygons and run lengths, the later ones on top."""
    from pycocotools import mask as runs

    labels = np.zeros((height, width), np.uint8)
    for id, shape in parts:
        if not isinstance(shape, dict):
            shape = runs.merge(runs.frPyObjects([polygon.tolist() for polygon in shape], height, width))
        elif isinstance(shape["counts"], list):
            shape = runs.frPyObjects(shape, height, width)
        labels[runs.decode(shape).astype(bool)] = id
    return labels


class CocoPanoptic(Dataset):
    """COCO panoptic segments as class masks: ids of the categories, 255 where nothing is labelled.

    Args:
        root: folder with annotations/panoptic_SPLIT.json, annotations/panoptic_SPLIT/*.png and the images.
        split: such as "val2017".

    Raises:
        FileNotFoundError, ValueError: as `CocoInstances`.
    """

    def __init__(self, root: Path, split: str | None = None) -> None:
        content = read_annotations(root, "panoptic", split)
        self.name, self.folder = "coco_panoptic", image_folder(root, split)
        self.classes = categories(content)
        self.segment_folder = root / "annotations" / f"panoptic_{split or SPLIT}"
        if not self.segment_folder.is_dir():
            raise FileNotFoundError(
                f"Expected {self.segment_folder} (the segments), but it is missing; to make it: unzip "
                f"{self.segment_folder}.zip -d {self.segment_folder.parent}"
            )
        files = {image["id"]: image["file_name"] for image in content["images"]}
        self._images = [
            (files[a["image_id"]], a["file_name"], {s["id"]: s["category_id"] for s in a["segments_info"]})
            for a in content["annotations"]
        ]

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, index: int) -> Sample:
        file_name, segment_name, segments = self._images[index]
        return Sample(
            name=Path(file_name).stem,
            names=self.classes,
            open_image=partial(load_image, self.folder / file_name),
            open_mask=partial(_read_segments, self.segment_folder / segment_name, segments),
            image_labels=tuple(sorted(set(segments.values()))),
        )


def _read_segments(path: Path, segments: Mapping[int, int]) -> np.ndarray:
    """Class ids uint8 (H, W) of a panoptic PNG, whose colours are segment ids: R + 256 G + 65536 B."""
    ids = load_image(path).rgb.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16])  # (H, W)
    found, places = np.unique(ids, return_inverse=True)
    unknown = [id for id in found.tolist() if id and id not in segments]
    if unknown:
        raise ValueError(f"Expected the segments of {path.name} to be listed in the JSON file, but got {unknown[:5]}")
    labels = np.array([segments[id] if id else IGNORE for id in found.tolist()], np.uint8)
    return labels[places].reshape(ids.shape)


def open_captions(root: Path, split: str | None = None) -> ListedImages:
    """COCO captions: annotations/captions_SPLIT.json."""
    content = read_annotations(root, "captions", split)
    files = {image["id"]: image["file_name"] for image in content["images"]}
    captions: dict[str, list[str]] = {name: [] for name in files.values()}
    for annotation in content["annotations"]:
        captions[files[annotation["image_id"]]].append(annotation["caption"].strip())
    return ListedImages("coco_captions", image_folder(root, split), list(captions), captions=captions)


def read_annotations(root: Path, kind: str, split: str | None) -> dict[str, Any]:
    """The content of annotations/KIND_SPLIT.json.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is not JSON, or not of this kind.
    """
    path = root / "annotations" / f"{kind}_{split or SPLIT}.json"
    if not path.is_file():
        archive = "panoptic_annotations_trainval2017" if kind == "panoptic" else "annotations_trainval2017"
        raise FileNotFoundError(
            f"Expected {path} (the annotations), but it is missing; to make it: unzip {archive}.zip -d {root}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected {path.name} to be JSON, but got: {error}") from error
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ValueError(f"Expected {path.name} to hold images and annotations as COCO writes them, but it does not")
    if not content["images"]:
        raise ValueError(f"Expected {path.name} to list images, but got none")
    return content


def categories(content: dict[str, Any]) -> dict[int, str]:
    """id -> name, with spaces; raises ValueError for an id that a mask of 8 bits cannot hold."""
    found = {category["id"]: category["name"] for category in content.get("categories", ())}
    wrong = [id for id in found if not 0 < id <= MAX_ID]
    if wrong or not found:
        raise ValueError(f"Expected categories with ids from 1 to {MAX_ID}, but got {wrong[:5] or 'none'}")
    return found


def image_folder(root: Path, split: str | None) -> Path:
    """Where the images of a split are.

    Raises:
        FileNotFoundError: neither SPLIT/ nor images/SPLIT/ is there.
    """
    split = split or SPLIT
    folders = [root / split, root / "images" / split, root / "images"]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise FileNotFoundError(
            f"Expected {root / split} (the images), but it is missing; to make it: unzip {split}.zip -d {root}"
        )
    return found
