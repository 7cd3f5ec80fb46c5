"""The segmentation benchmarks as they are downloaded: one frozen description each, and one reader for all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from data import mask_ids
from data.class_lists import read_class_list
from data.datasets import Dataset, Sample
from data.images import decode_mask, load_image

SPLIT = "{split}"
CONVERTED = "TrainIds"
"""End of the names of masks that somebody converted beside the original ones."""


@dataclass(frozen=True, slots=True)
class Masks:
    """One form in which the masks may lie on disk.

    Attributes:
        folder: below the home of the data set.
        suffix: of the file name, in place of the image's suffix.
        table: makes the table from ids to labels, see `data.mask_ids`.
    """

    folder: str
    suffix: str
    table: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class Layout:
    """A segmentation benchmark on disk; "{split}" in paths stands for the split.

    Attributes:
        name: kind in `data.registry.KINDS`.
        title: as papers write it.
        class_list: see `data.class_lists.CLASS_LISTS`.
        homes: where it may start below the root that a user names; the first is the usual one.
        images: folders that the images may be in, the usual one first.
        image_suffix: of their file names.
        masks: forms of the masks, the preferred one first.
        split: the split that figures are published on.
        list_file: file with the names of the images of a split; None takes all images, by name.
        command: what makes the parts that are missing.
    """

    name: str
    title: str
    class_list: str
    homes: tuple[str, ...]
    images: tuple[str, ...]
    image_suffix: str
    masks: tuple[Masks, ...]
    split: str
    list_file: str | None
    command: str

    def path(self, home: Path, part: str, split: str | None = None) -> Path:
        """A part of the data set below its home."""
        return home / part.replace(SPLIT, split or self.split)

    def home(self, root: Path) -> Path:
        """Where the data set starts: the first of `homes` with images, else the first that exists, else the usual."""
        homes = [root / home for home in self.homes]
        found = [home for home in homes if self.image_folder(home).is_dir()]
        return (found or [home for home in homes if home != root and home.is_dir()] or homes)[0]

    def image_folder(self, home: Path, split: str | None = None) -> Path:
        """The folder of the images that exists, or else the usual one."""
        folders = [self.path(home, folder, split) for folder in self.images]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def missing(self, root: Path, split: str | None = None) -> Iterator[str]:
        """What is not there: each a sentence that ends in the command that makes it."""
        home = self.home(root)
        make = f"to make it: {self.command.format(root=root)}"
        images = self.image_folder(home, split)
        if not images.is_dir():
            yield f"{images} (the images) is missing; {make}"
        if self.list_file is not None and not self.path(home, self.list_file, split).is_file():
            yield f"{self.path(home, self.list_file, split)} (the list of images) is missing; {make}"
        if not any(_has_files(self.path(home, form.folder, split), form.suffix) for form in self.masks):
            forms = " or ".join(f"{self.path(home, form.folder, split)}/*{form.suffix}" for form in self.masks)
            yield f"{forms} (the masks) is missing; {make}"


def _has_files(folder: Path, suffix: str) -> bool:
    """Whether a folder holds masks of this form; ".png" alone stands for files that nobody converted."""
    if not folder.is_dir():
        return False
    return any(suffix != ".png" or not path.stem.endswith(CONVERTED) for path in folder.rglob(f"*{suffix}"))


class Benchmark(Dataset):
    """A segmentation benchmark; masks are labels 0 ... c - 1, 255 ignored, converted as they are read.

    Args:
        layout: one of `LAYOUTS`.
        root: folder that holds the data set as it was downloaded.
        split: None for the one that figures are published on.

    Raises:
        FileNotFoundError: a part is missing; the message says what makes it.
        ValueError: a split without an image.
    """

    def __init__(self, layout: Layout, root: str | Path, split: str | None = None) -> None:
        missing = next(layout.missing(Path(root), split), None)
        if missing is not None:
            raise FileNotFoundError(f"Expected {layout.title} below {root}, but {missing}")
        self.layout, self.split, self.name = layout, split or layout.split, layout.name
        self.home = layout.home(Path(root))
        self.image_folder = layout.image_folder(self.home, split)
        self.classes = {id: names[0] for id, names in enumerate(read_class_list(layout.class_list))}
        folders = [layout.path(self.home, form.folder, split) for form in layout.masks]
        forms = zip(layout.masks, folders, strict=True)
        self._form = next(index for index, (form, folder) in enumerate(forms) if _has_files(folder, form.suffix))
        self.masks, self.mask_folder = layout.masks[self._form], folders[self._form]
        self._stems = self._list()
        if not self._stems:
            raise ValueError(f"Expected {self.image_folder} to hold images of {self.split}, but got none")

    def __len__(self) -> int:
        return len(self._stems)

    def image_names(self) -> list[str]:
        return [Path(stem).name for stem in self._stems]

    def sample(self, index: int) -> Sample:
        stem = self._stems[index]
        return Sample(
            name=Path(stem).name,
            names=self.classes,
            open_image=partial(load_image, self.image_folder / f"{stem}{self.layout.image_suffix}"),
            open_mask=partial(_read_mask, self.mask_folder / f"{stem}{self.masks.suffix}", self.name, self._form),
        )

    def _list(self) -> list[str]:
        """Paths of the images below their folder, without suffix."""
        if self.layout.list_file is not None:
            path = self.layout.path(self.home, self.layout.list_file, self.split)
            return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        suffix = self.layout.image_suffix
        paths = sorted(self.image_folder.rglob(f"*{suffix}"))
        return [path.relative_to(self.image_folder).as_posix().removesuffix(suffix) for path in paths]


@cache
def _table(name: str, form: int) -> np.ndarray:
    return LAYOUTS[name].masks[form].table()


def _read_mask(path: Path, name: str, form: int) -> np.ndarray:
    if path.suffix == ".mat":
        from scipy.io import loadmat  # half a second to import, and only PASCAL Context's own files need it

        if not path.is_file():
            raise FileNotFoundError(f"Expected path to be an existing file, but got {str(path)!r}")
        ids = loadmat(path)["LabelMap"].astype(np.uint16)
    else:
        ids = decode_mask(path)
    return mask_ids.relabel(ids, _table(name, form), path.name)


VOC_ARCHIVE = "tar -xf VOCtrainval_11-May-2012.tar -C {root}"
CONTEXT_COMMAND = (
    "python tools/dataset_converters/pascal_context.py {root}/VOCdevkit {root}/VOCdevkit/VOC2010/trainval_merged.json "
    "(of mmsegmentation; the 459-class trainval/*.mat of the data set's page do as well, beside the list)"
)
STUFF_ARCHIVES = (
    "unzip val2017.zip -d {root}/images && unzip stuffthingmaps_trainval2017.zip -d {root}/annotations"
)  # fmt: skip
STUFF_10K_COMMAND = (
    "python tools/dataset_converters/coco_stuff10k.py {root}/cocostuff-10k-v1.1.zip -o {root}/coco_stuff10k "
    "(of mmsegmentation)"
)
CITY_ARCHIVES = "unzip leftImg8bit_trainvaltest.zip -d {root} && unzip gtFine_trainvaltest.zip -d {root}"


def _voc(name: str, title: str, table: Callable[[], np.ndarray]) -> Layout:
    return Layout(
        name, title, name, ("VOCdevkit/VOC2012", "VOC2012", ""), ("JPEGImages",), ".jpg",
        (Masks("SegmentationClass", ".png", table),), "val", f"ImageSets/Segmentation/{SPLIT}.txt", VOC_ARCHIVE,
    )  # fmt: skip


def _context(name: str, title: str, background: bool) -> Layout:
    table = partial(mask_ids.plain, 60) if background else partial(mask_ids.zero_reduced, 59)
    raw = partial(mask_ids.context_of_raw, background)
    masks = (Masks("SegmentationClassContext", ".png", table), Masks("trainval", ".mat", raw))
    homes = ("VOCdevkit/VOC2010", "VOC2010", "")
    lists = f"ImageSets/SegmentationContext/{SPLIT}.txt"
    return Layout(name, title, name, homes, ("JPEGImages",), ".jpg", masks, "val", lists, CONTEXT_COMMAND)


def _coco(name: str, title: str, converted: Masks, raw: Callable[[], np.ndarray]) -> Layout:
    folders = (f"annotations/{SPLIT}", f"stuffthingmaps/{SPLIT}", f"stuffthingmaps_trainval2017/{SPLIT}")
    masks = (converted, *(Masks(folder, ".png", raw) for folder in folders))
    homes = ("", "coco_stuff164k", "coco_object", "coco", "coco2017")
    return Layout(name, title, name, homes, (f"images/{SPLIT}", SPLIT), ".jpg", masks, "val2017", None, STUFF_ARCHIVES)


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        _voc("voc20", "PASCAL VOC 2012 without background", partial(mask_ids.zero_reduced, 20)),
        _voc("voc21", "PASCAL VOC 2012 with background", partial(mask_ids.plain, 21)),
        _context("context59", "PASCAL Context, 59 classes", background=False),
        _context("context60", "PASCAL Context, 59 classes and background", background=True),
        _coco(
            "coco_stuff",
            "COCO-Stuff 164k",
            Masks(f"annotations/{SPLIT}", "_labelTrainIds.png", partial(mask_ids.plain, 171)),
            mask_ids.stuff_of_raw,
        ),
        _coco(
            "coco_object",
            "COCO-Object",
            Masks(f"annotations/{SPLIT}", "_instanceTrainIds.png", partial(mask_ids.plain, 81)),
            mask_ids.object_of_raw,
        ),
        Layout(
            "cityscapes", "Cityscapes", "cityscapes", ("", "cityscapes"), (f"leftImg8bit/{SPLIT}",), "_leftImg8bit.png",
            (
                Masks(f"gtFine/{SPLIT}", "_gtFine_labelTrainIds.png", partial(mask_ids.plain, 19)),
                Masks(f"gtFine/{SPLIT}", "_gtFine_labelIds.png", mask_ids.cityscapes_of_raw),
            ),
            "val", None, CITY_ARCHIVES,
        ),
        Layout(
            "ade20k", "ADE20K", "ade20k", ("ADEChallengeData2016", "ade/ADEChallengeData2016", ""),
            (f"images/{SPLIT}",), ".jpg", (Masks(f"annotations/{SPLIT}", ".png", partial(mask_ids.zero_reduced, 150)),),
            "validation", None, "unzip ADEChallengeData2016.zip -d {root}",
        ),
        Layout(
            "coco_stuff10k", "COCO-Stuff 10k", "coco_stuff", ("coco_stuff10k", ""), (f"images/{SPLIT}",), ".jpg",
            (Masks(f"annotations/{SPLIT}", "_labelTrainIds.png", partial(mask_ids.zero_reduced, 171)),),
            "test2014", None, STUFF_10K_COMMAND,
        ),
    )
}  # fmt: skip
"""By name, in the order of the tables in the documentation."""
