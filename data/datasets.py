"""Images with label masks: a folder of them, or toy scenes, behind one interface.

for sample in SegmentationFolder("voc"):
    for region in sample.regions():          # one for each class present
        region.text, region.mask, region.valid
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from data.folder_lists import IGNORE, Problem, read_classes, read_meta
from data.images import IMAGE_SUFFIXES, LoadedImage, decode_mask, load_image
from data.toy.scenes import COLOURS, Scene, make_caption, name_object, plan_scene, render_plan
from data.toy.shapes import SHAPES

BACKGROUND = "background"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClassRegion:
    """Where one class is in an image.

    Attributes:
        id: of the class.
        text: its name, a prompt.
        mask: bool (H, W), its pixels.
        valid: bool (H, W), false where the label is unknown (255).
    """

    id: int
    text: str
    mask: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image of a data set. Nothing decoded is kept: every look at `image` or `mask` decodes; `decode` does once.

    Attributes:
        name: file name without suffix, or "toy-3".
        names: class id -> name of all classes that may occur; empty where the data set has none.
        open_image: decodes the image.
        open_mask: decodes its mask; None where there is none.
        captions: sentences about the image; often none.
        label, prompt: the object's name and a phrase for it, where the data set gives one.
        image_labels: ids of the classes in the image, where the data set lists them; None to read them off the mask.
        scenery: the word of the captions for what is left when all classes are taken away, where it is known.
    """

    name: str
    names: Mapping[int, str]
    open_image: Callable[[], LoadedImage]
    open_mask: Callable[[], np.ndarray] | None = None
    captions: tuple[str, ...] = ()
    label: str | None = None
    prompt: str | None = None
    image_labels: tuple[int, ...] | None = None
    scenery: str | None = None

    @property
    def image(self) -> LoadedImage:
        """The photograph, decoded now."""
        return self.open_image()

    @property
    def has_mask(self) -> bool:
        """Whether there is a label mask."""
        return self.open_mask is not None

    @property
    def mask(self) -> np.ndarray:
        """Class ids, uint8 or uint16 (H, W), decoded now; 255 is unknown.

        Raises:
            ValueError: the image has no mask.
        """
        if self.open_mask is None:
            raise ValueError(f"Expected {self.name} to have a label mask, but its data set has none")
        return self.open_mask()

    def decode(self) -> "Sample":
        """The same sample with image and mask held in memory; it can be sent to another process.

        Raises:
            FileNotFoundError, ValueError: image or mask cannot be read.
        """
        held = partial(_held, self.mask) if self.has_mask else None
        return replace(self, open_image=partial(_held, self.image), open_mask=held)

    @property
    def classes(self) -> dict[int, str]:
        """id -> name of the classes present, background included. Ids without a name are left out."""
        ids = np.unique(self.mask).tolist() if self.image_labels is None else self.image_labels
        return {id: self.names[id] for id in ids if id in self.names}

    def regions(self) -> list[ClassRegion]:
        """One region for each class present, by id; the background, id 0 of that name, is not a prompt."""
        mask = self.mask
        valid, present = mask != IGNORE, np.unique(mask).tolist()
        found = {id: self.names[id] for id in present if id in self.names and not is_background(id, self.names[id])}
        return [ClassRegion(id, name, mask == id, valid) for id, name in found.items()]


def _held(value: T) -> T:
    return value


class Dataset(Sequence[Sample]):
    """A sequence of samples.

    Attributes:
        name: for titles and file names.
        classes: id -> name of all classes.
    """

    name: str
    classes: dict[int, str]

    def sample(self, index: int) -> Sample:
        """Sample `index`, in 0 ... len - 1."""
        raise NotImplementedError

    def image_names(self) -> list[str]:
        """Names of all samples in order; nothing is decoded."""
        return [self.sample(index).name for index in range(len(self))]

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Expected index to be inside {self.name} of {len(self)} samples, but got {index}")
        return self.sample(index % len(self))


def is_background(id: int, name: str) -> bool:
    """Whether a class stands for everything else: id 0 of the name "background"."""
    return id == 0 and name == BACKGROUND


class ToyScenes(Dataset):
    """Scenes of `data.toy`, each rendered when it is asked for.

    Every colour with every shape is a class, so ids mean the same in all scenes; 0 is the background.
    """

    def __init__(self, n: int, seed: int = 0) -> None:
        """Scenes 0 ... n - 1 of a seed, the same as `make_scenes(n, seed)`.

        Raises:
            ValueError: n or seed is negative.
        """
        if n < 0 or seed < 0:
            raise ValueError(f"Expected n and seed to be >= 0, but got {(n, seed)}")
        self.name, self.seed, self._n = "toy", seed, n
        phrases = [name_object(colour, shape) for colour in COLOURS for shape in SHAPES]
        self.classes = dict(enumerate([BACKGROUND, *phrases]))
        self._ids = {phrase: id for id, phrase in self.classes.items()}

    def __len__(self) -> int:
        return self._n

    def image_names(self) -> list[str]:
        return [f"toy-{index}" for index in range(self._n)]

    def sample(self, index: int) -> Sample:
        plan, name = plan_scene(self.seed, index), f"toy-{index}"
        return Sample(
            name=name,
            names=self.classes,
            open_image=partial(_toy_image, self.seed, index, name),
            open_mask=partial(_toy_mask, self.seed, index, self._ids),
            captions=(make_caption([item.phrase for item in plan.objects], plan.background),),
            scenery=plan.background,
        )


@lru_cache(maxsize=1)
def _toy_scene(seed: int, index: int) -> Scene:
    """The scene asked for last stays, so that image and mask are drawn together."""
    return render_plan(plan_scene(seed, index))


def _toy_image(seed: int, index: int, name: str) -> LoadedImage:
    return LoadedImage.from_rgb(_toy_scene(seed, index).image, name)


def _toy_mask(seed: int, index: int, ids: Mapping[str, int]) -> np.ndarray:
    scene = _toy_scene(seed, index)
    labels = np.zeros(scene.image.size[::-1], np.uint8)
    for item in scene.objects:
        labels[item.mask] = ids[item.phrase]
    return labels


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What `SegmentationFolder.check` found.

    Attributes:
        images: number of images looked at.
        usable: indices of those without a problem of their own.
        problems: of the lists, of stray files, then of each image.
    """

    images: int
    usable: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether there is nothing to report."""
        return not self.problems

    def __str__(self) -> str:
        lines = [f"{len(self.usable)} of {self.images} images are usable; {len(self.problems)} problems"]
        return "\n".join([*lines, *(f"  {problem.where}: {problem.what}" for problem in self.problems)])


class SegmentationFolder(Dataset):
    """A folder with images/, masks/ (PNG of class ids, 255 unknown), classes.txt and, if there is one, meta.json.

    classes.txt holds a line `id<TAB>name` for each class; further columns are ignored. meta.json maps image names
    without suffix to objects, of which `captions`, `label` and `prompt` are read. Where there is but one class besides
    the background, `prompt` or else `label` is its name in that image.

    Nothing but the lists is read here; `check` reads all and says what is wrong.
    """

    def __init__(self, path: str | Path, masks_dir: str = "masks") -> None:
        """Opens a folder.

        Args:
            path: the folder.
            masks_dir: the set of masks; "masks_voc20" goes with "classes_voc20.txt".

        Raises:
            FileNotFoundError: the folder, or images/, masks or classes file in it, is missing.
            ValueError: no image, no class, or another name of masks_dir.
        """
        if not masks_dir.startswith("masks"):
            raise ValueError(f"Expected masks_dir to start with 'masks', but got {masks_dir!r}")
        self.path, self.name = Path(path), Path(path).resolve().name
        self.masks_path = self.path / masks_dir
        self.classes_path = self.path / f"classes{masks_dir.removeprefix('masks')}.txt"
        for needed in (self.path, self.path / "images", self.masks_path, self.classes_path):
            if not needed.exists():
                wanted = f"images/, {masks_dir}/ and {self.classes_path.name}"
                raise FileNotFoundError(f"Expected {self.path} to be a folder with {wanted}, but {needed} is missing")
        self.image_paths = sorted(p for p in _files(self.path / "images") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not self.image_paths:
            raise ValueError(f"Expected {self.path / 'images'} to hold PNG, JPEG or WebP files, but got none")
        self.classes, self._list_problems = read_classes(self.classes_path)
        if not self.classes:
            raise ValueError(f"Expected {self.classes_path} to hold lines id<TAB>name, but got no such line")
        self._meta, problems = read_meta(self.path / "meta.json")
        self._list_problems += problems

    def __len__(self) -> int:
        return len(self.image_paths)

    def image_names(self) -> list[str]:
        return [path.stem for path in self.image_paths]

    def sample(self, index: int) -> Sample:
        image_path = self.image_paths[index]
        meta = self._meta.get(image_path.stem, {})
        label, prompt = meta.get("label"), meta.get("prompt")
        return Sample(
            name=image_path.stem,
            names=self._names(prompt or label),
            open_image=partial(load_image, image_path),
            open_mask=partial(decode_mask, self.masks_path / f"{image_path.stem}.png"),
            captions=tuple(meta.get("captions", ())),
            label=label,
            prompt=prompt,
        )

    def check(self, progress: Callable[[range], Iterable[int]] = iter) -> FolderReport:
        """Reads every file and reports what is wrong, instead of failing in the middle of a long run.

        Args:
            progress: wraps the indices, such as `tqdm.tqdm`.
        """
        problems, usable = [*self._list_problems, *self._file_problems()], []
        for index in progress(range(len(self))):
            found = [Problem(self.image_paths[index].name, what) for what in self._sample_problems(index)]
            problems += found
            if not found:
                usable.append(index)
        return FolderReport(len(self), tuple(usable), tuple(problems))

    def _names(self, object_name: str | None) -> dict[int, str]:
        objects = [id for id, name in self.classes.items() if not is_background(id, name)]
        return self.classes | {objects[0]: object_name} if object_name and len(objects) == 1 else self.classes

    def _file_problems(self) -> Iterator[Problem]:
        stems = Counter(path.stem for path in self.image_paths)
        for path in _files(self.path / "images"):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                yield Problem(path.name, "not a PNG, JPEG or WebP file")
            elif stems[path.stem] > 1:
                yield Problem(path.name, "another image has the same name but for the suffix, so they share a mask")
        for path in _files(self.masks_path):
            if path.stem not in stems:
                yield Problem(f"{self.masks_path.name}/{path.name}", "a mask without an image")
        for stem in sorted(self._meta.keys() - stems.keys()):
            yield Problem("meta.json", f"describes {stem!r}, which is not in images/")

    def _sample_problems(self, index: int) -> Iterator[str]:
        """What is wrong with one image and its mask. Their pixels are let go afterwards."""
        sample, sizes, mask = self.sample(index), [], None
        for part in ("image", "mask"):
            try:
                if part == "mask":
                    mask = sample.mask
                sizes.append(sample.image.size_px if mask is None else mask.shape)
            except (OSError, ValueError) as error:
                yield f"the {part} cannot be read: {error}"
        if len(sizes) == 2 and sizes[0] != sizes[1]:
            yield f"the image is {sizes[0]} and its mask {sizes[1]} (height, width)"
        if mask is not None:
            unknown = set(np.unique(mask).tolist()) - self.classes.keys() - {IGNORE}
            if unknown:
                yield f"the mask has ids that {self.classes_path.name} does not name: {sorted(unknown)[:10]}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
