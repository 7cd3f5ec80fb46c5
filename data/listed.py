"""Data sets that are lists: of images with captions, of images with labels, of images alone. None needs masks."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from data.datasets import Dataset, Sample
from data.images import IMAGE_SUFFIXES, load_image

IMAGE_COLUMNS = ("image", "image_name", "file_name", "filename", "path")
LABEL_COLUMNS = ("labels", "label", "classes", "tags")
SEPARATOR = ";"


class ListedImages(Dataset):
    """Images by path, each with captions or class ids; nothing is decoded until it is looked at.

    Args:
        name: of the data set.
        folder: that the paths start from.
        paths: of the images.
        captions: path -> sentences.
        labels: path -> ids of the classes in the image; None where the data set lists none.
        classes: id -> name.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        paths: Sequence[str],
        captions: Mapping[str, Sequence[str]] | None = None,
        labels: Mapping[str, Sequence[int]] | None = None,
        classes: Mapping[int, str] | None = None,
    ) -> None:
        if not paths:
            raise ValueError(f"Expected {name} below {folder} to list images, but got none")
        self.name, self.folder, self._paths = name, folder, list(paths)
        self._captions = {path: tuple(texts) for path, texts in (captions or {}).items()}
        self._labels = None if labels is None else {path: tuple(ids) for path, ids in labels.items()}
        self.classes = dict(classes or {})

    def __len__(self) -> int:
        return len(self._paths)

    def image_names(self) -> list[str]:
        return [Path(path).stem for path in self._paths]

    def sample(self, index: int) -> Sample:
        path = self._paths[index]
        return Sample(
            name=Path(path).stem,
            names=self.classes,
            open_image=partial(load_image, self.folder / path),
            captions=self._captions.get(path, ()),
            image_labels=None if self._labels is None else self._labels.get(path, ()),
        )


def open_images(root: Path, split: str | None = None) -> ListedImages:
    """All images below a folder, by path.

    Raises:
        ValueError: there is none.
    """
    paths = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    return ListedImages(root.resolve().name, root, paths)


def open_labels(path: Path, split: str | None = None) -> ListedImages:
    """A list of image-level labels; paths of images start from the list's folder, or from images/ beside it.

    CSV with a header: a column "image", and either a column "labels" with names separated by ";", or a column of 0 and
    1 for each class. JSON: {"image": ["name", ...]}, or {"classes": [...], "images": {...}} where order matters.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another content, or names that the list of classes does not have.
    """
    reader = {".csv": _read_csv, ".json": _read_json}.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise FileNotFoundError(f"Expected a list of labels to be an existing .csv or .json file, but got {path}")
    rows, names = reader(path)
    classes = dict(enumerate(names))
    ids = {name: id for id, name in classes.items()}
    unknown = sorted({name for row in rows.values() for name in row} - ids.keys())
    if unknown:
        raise ValueError(f"Expected the labels of {path.name} to be among its classes, but got {unknown[:5]}")
    labels = {image: sorted(ids[name] for name in row) for image, row in rows.items()}
    return ListedImages(path.stem, image_folder(path.parent, rows), list(rows), labels=labels, classes=classes)


def image_folder(folder: Path, paths: Iterable[str]) -> Path:
    """`folder`, or images/ in it where the first path is there instead."""
    first = next(iter(paths), "")
    return folder / "images" if (folder / "images" / first).exists() and not (folder / first).exists() else folder


def _read_csv(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = list(rows[0]) if rows else []
    image = next((column for column in IMAGE_COLUMNS if column in columns), None)
    if image is None:
        raise ValueError(f"Expected {path.name} to have a column named image, but got {', '.join(columns) or 'no row'}")
    named = next((column for column in LABEL_COLUMNS if column in columns), None)
    if named is not None:
        found = {row[image]: [part.strip() for part in row[named].split(SEPARATOR) if part.strip()] for row in rows}
        return found, sorted({name for names in found.values() for name in names})
    names = [column for column in columns if column != image]
    for number, row in enumerate(rows, start=2):
        wrong = next((row[name] for name in names if row[name] not in ("0", "1")), None)
        if wrong is not None:
            raise ValueError(
                f"Expected columns of classes to hold 0 or 1, but got {wrong!r} in line {number} of {path}"
            )
    return {row[image]: [name for name in names if row[name] == "1"] for row in rows}, names


def _read_json(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected {path.name} to be JSON, but got: {error}") from error
    rows = content.get("images", content) if isinstance(content, dict) else None
    if not isinstance(rows, dict) or not all(isinstance(row, list) for row in rows.values()):
        raise ValueError(f'Expected {path.name} to be {{"image": ["name", ...]}}, but got something else')
    return rows, list(content.get("classes", ()) or sorted({name for row in rows.values() for name in row}))


def open_voc07(root: Path, split: str | None = None) -> ListedImages:
    """PASCAL VOC 2007 classification: ImageSets/Main/CLASS_SPLIT.txt; 0, difficult, is not counted as present."""
    home = next(
        (root / h for h in ("VOCdevkit/VOC2007", "VOC2007", "") if (root / h / "ImageSets/Main").is_dir()), None
    )
    split = split or "test"
    lists = sorted((home / "ImageSets" / "Main").glob(f"*_{split}.txt")) if home else []
    if not lists:
        raise FileNotFoundError(
            f"Expected {root}/VOCdevkit/VOC2007/ImageSets/Main/*_{split}.txt (the labels), but it is missing; to make "
            f"it: tar -xf VOC{split}_06-Nov-2007.tar -C {root}"
        )
    names = [path.stem.removesuffix(f"_{split}") for path in lists]
    labels: dict[str, list[int]] = {}
    for id, path in enumerate(lists):
        for line in path.read_text().splitlines():
            stem, flag = line.split()
            found = labels.setdefault(f"{stem}.jpg", [])
            if flag == "1":
                found.append(id)
    return ListedImages("voc07", home / "JPEGImages", sorted(labels), labels=labels, classes=dict(enumerate(names)))


def open_nus_wide(root: Path, split: str | None = None) -> ListedImages:
    """NUS-WIDE's 81 concepts: ImageList/TestImagelist.txt and Groundtruth/TrainTestLabels/Labels_NAME_Test.txt.

    Many photographs are gone from the web; those without a file are left out of the list.
    """
    part = (split or "test").capitalize()
    listed, folder = root / "ImageList" / f"{part}Imagelist.txt", root / "Groundtruth" / "TrainTestLabels"
    files = sorted(folder.glob(f"Labels_*_{part}.txt"))
    for needed, there in ((listed, listed.is_file()), (folder / f"Labels_*_{part}.txt", bool(files))):
        if not there:
            raise FileNotFoundError(
                f"Expected {needed} to be there, but it is missing; to make it: unpack ImageList.zip and "
                f"Groundtruth.zip of NUS-WIDE in {root}"
            )
    paths = [line.strip().replace("\\", "/") for line in listed.read_text().splitlines() if line.strip()]
    images = next((root / name for name in ("Flickr", "images") if (root / name).is_dir()), root)
    labels: dict[str, list[int]] = {path: [] for path in paths}
    names = [file.stem.removeprefix("Labels_").removesuffix(f"_{part}") for file in files]
    for id, file in enumerate(files):
        flags = file.read_text().split()
        if len(flags) != len(paths):
            raise ValueError(f"Expected {file.name} to have {len(paths)} lines as {listed.name}, but got {len(flags)}")
        for path, flag in zip(paths, flags, strict=True):
            if flag == "1":
                labels[path].append(id)
    here = [path for path in paths if (images / path).is_file()]
    return ListedImages("nus_wide", images, here, labels=labels, classes=dict(enumerate(names)))


def open_flickr30k(root: Path, split: str | None = None) -> ListedImages:
    """Flickr30k: results_20130124.token, results.csv, or dataset_flickr30k.json with its splits."""
    folders = ("flickr30k-images", "flickr30k_images", "Images", "images", "")
    listing = next((root / n for n in ("dataset_flickr30k.json", "results_20130124.token", "results.csv",
                                       "flickr30k_images/results.csv") if (root / n).is_file()), None)  # fmt: skip
    if listing is None:
        raise FileNotFoundError(
            f"Expected {root}/results_20130124.token, results.csv or dataset_flickr30k.json (the captions), but none "
            f"is there; to make it: tar -xf flickr30k.tar.gz -C {root}"
        )
    captions: dict[str, list[str]] = {}
    if listing.suffix == ".json":
        for image in json.loads(listing.read_text(encoding="utf-8"))["images"]:
            if image["split"] == (split or "test"):
                captions[image["filename"]] = [sentence["raw"] for sentence in image["sentences"]]
    else:
        if split is not None:
            raise ValueError(f"Expected dataset_flickr30k.json for a split of Flickr30k, but got only {listing.name}")
        for line in listing.read_text(encoding="utf-8").splitlines():
            image, _, caption = line.partition("\t") if listing.suffix == ".token" else line.partition("|")
            if caption and image.strip() != "image_name":
                text = caption if listing.suffix == ".token" else caption.partition("|")[2]
                captions.setdefault(image.split("#")[0].strip(), []).append(text.strip())
    first = next(iter(captions), "")
    folder = next((root / name for name in folders if (root / name / first).is_file()), root / folders[0])
    return ListedImages("flickr30k", folder, list(captions), captions=captions)
