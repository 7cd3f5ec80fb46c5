"""Every data set that can be read, what each needs on disk, and one way to open them all by a name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data.coco import CocoInstances, CocoPanoptic, open_captions
from data.datasets import Dataset, SegmentationFolder, ToyScenes
from data.hugging_face import HubImages
from data.layouts import LAYOUTS, SPLIT, Benchmark, Layout
from data.listed import open_flickr30k, open_images, open_labels, open_nus_wide, open_voc07

TOY_SCENES = 200
Opener = Callable[[Path, str | None], Dataset]


@dataclass(frozen=True, slots=True)
class DatasetKind:
    """A kind of data set.

    Attributes:
        name: before the colon, as in "voc21:/data".
        title: as papers write it.
        holds: what comes with each image: "masks", "captions", "labels", or nothing.
        needs: paths below the root, in words.
        open: (root, split or None) -> data set.
        split: the split where none is named; None where there are none.
    """

    name: str
    title: str
    holds: str
    needs: tuple[str, ...]
    open: Opener
    split: str | None = None

    def missing(self, root: str | Path, split: str | None = None) -> Iterator[str]:
        """What is not there, each a sentence with the one command that makes it."""
        if self.name in LAYOUTS:
            yield from LAYOUTS[self.name].missing(Path(root), split)
            return
        try:
            self.open(Path(root), split)
        except (OSError, ValueError) as error:
            yield str(error)


def _benchmark(layout: Layout) -> DatasetKind:
    home = layout.homes[0]
    deep = "*/*" if layout.name == "cityscapes" else "*"  # by city
    parts = [f"{layout.images[0]}/{deep}{layout.image_suffix}", *([layout.list_file] if layout.list_file else ())]
    forms = [f"{form.folder}/{deep}{form.suffix}" for form in layout.masks[:2]]
    needs = [f"{home}/{part}".lstrip("/").replace(SPLIT, layout.split) for part in (*parts, " or ".join(forms))]
    opener = partial(_open_benchmark, layout.name)
    return DatasetKind(layout.name, layout.title, "masks", tuple(needs), opener, layout.split)


def _open_benchmark(name: str, root: Path, split: str | None = None) -> Benchmark:
    return Benchmark(LAYOUTS[name], root, split)


def _open_hub(source: Path, split: str | None = None) -> HubImages:
    return HubImages(source.as_posix(), split)


def _open_folder(root: Path, masks: str | None = None) -> SegmentationFolder:
    return SegmentationFolder(root, masks or "masks")


KINDS: dict[str, DatasetKind] = {kind.name: kind for kind in (
    *(_benchmark(layout) for layout in LAYOUTS.values()),
    DatasetKind("coco_instances", "COCO instances, 80 classes and background", "masks, labels",
                ("annotations/instances_val2017.json", "val2017/*.jpg"), CocoInstances, "val2017"),
    DatasetKind("coco_panoptic", "COCO panoptic, 133 classes", "masks, labels",
                ("annotations/panoptic_val2017.json", "annotations/panoptic_val2017/*.png", "val2017/*.jpg"),
                CocoPanoptic, "val2017"),
    DatasetKind("coco_captions", "COCO captions", "captions",
                ("annotations/captions_val2017.json", "val2017/*.jpg"), open_captions, "val2017"),
    DatasetKind("flickr30k", "Flickr30k", "captions",
                ("results_20130124.token, results.csv or dataset_flickr30k.json", "flickr30k-images/*.jpg"),
                open_flickr30k),
    DatasetKind("voc07", "PASCAL VOC 2007, multi-label", "labels",
                ("VOCdevkit/VOC2007/ImageSets/Main/*_test.txt", "VOCdevkit/VOC2007/JPEGImages/*.jpg"),
                open_voc07, "test"),
    DatasetKind("nus_wide", "NUS-WIDE, 81 concepts", "labels",
                ("ImageList/TestImagelist.txt", "Groundtruth/TrainTestLabels/Labels_*_Test.txt", "Flickr/*/*.jpg"),
                open_nus_wide, "test"),
    DatasetKind("labels", "a list of image-level labels", "labels",
                ("a .csv (image, labels) or .json file; images beside it or in images/",), open_labels),
    DatasetKind("folder", "a folder of images and masks", "masks, captions",
                ("images/", "masks/*.png", "classes.txt", "meta.json (optional)"), _open_folder, "masks"),
    DatasetKind("images", "a folder of images", "", ("*.jpg, *.png, ..., at any depth",), open_images),
    DatasetKind("hf", "Hugging Face datasets", "what its columns hold",
                ("an id of the Hub, or a folder written by save_to_disk",), _open_hub, "validation"),
)}  # fmt: skip
"""Name -> kind."""


def open_dataset(data: str | Path, seed: int = 0) -> Dataset:
    """A data set by its name.

    Args:
        data: "toy" or "toy:N", N scenes; "KIND:ROOT" with a kind of `KINDS`, and "KIND:ROOT#SPLIT" for another split;
            or a folder: with images/, masks/ and classes.txt ("FOLDER:masks_voc20" takes its other masks), written by
            `save_to_disk`, or with images only.
        seed: of toy scenes.

    Raises:
        FileNotFoundError: a part is missing; the message says what makes it.
        ValueError: no such kind, a number of scenes that is none, or files that cannot be read as this kind.
    """
    text = str(data)
    name, colon, rest = text.partition(":")
    if name == "toy" and not Path(text).exists():
        if colon and not (rest.isdecimal() and int(rest) > 0):
            raise ValueError(f"Expected data to be toy:N with N scenes of at least 1, but got {text!r}")
        return ToyScenes(int(rest or TOY_SCENES), seed)
    if colon and name in KINDS and rest:
        root, _, split = rest.partition("#")
        return KINDS[name].open(Path(root), split or None)
    return _open_path(text)


def _open_path(text: str) -> Dataset:
    """A folder or a list, by what is in it."""
    folder, _, masks = text.rpartition(":")
    if folder and masks.startswith("masks"):
        return SegmentationFolder(folder, masks)
    path = Path(text)
    if path.suffix.lower() in (".csv", ".json") and path.is_file():
        return open_labels(path)
    if not path.is_dir():
        raise FileNotFoundError(
            f"Expected data to be toy:N, a folder, or KIND:ROOT with a kind of {', '.join(KINDS)}, but got {text!r}"
        )
    if (path / "masks").exists() or (path / "classes.txt").exists():
        return SegmentationFolder(path)
    if any((path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
        return HubImages(text)
    return open_images(path)
