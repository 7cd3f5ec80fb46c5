"""Which images a command was given, and how its files are called."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.images import IMAGE_SUFFIXES, LoadedImage, load_image
from data.samples import SAMPLES, SCENES, load_sample

MANY_SAMPLES = "toy-0 to toy-11, china, flower"


@dataclass(frozen=True, slots=True)
class ImageSource:
    """One image of the command line.

    Attributes:
        name: as it was given, or the path inside a folder that was.
        stem: what its files are called.
        path: where it is, None for a sample.
        load: decodes it; raises OSError or ValueError.
    """

    name: str
    stem: str
    path: Path | None
    load: Callable[[], LoadedImage]


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be used, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return self.reason if self.name in self.reason else f"{self.name}: {self.reason}"


def find_images(given: Sequence[str]) -> tuple[list[ImageSource], list[Failure]]:
    """The images behind files, folders (all images in them) and names of samples, in order, and what is none."""
    found, failures = [], []
    for text in given:
        try:
            found += _find(text)
        except (OSError, ValueError) as error:
            failures.append(Failure(text, str(error)))
    return found, failures


def _find(text: str) -> list[ImageSource]:
    path = Path(text)
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not inside:
            raise ValueError(f"Expected {text} to hold images ({', '.join(IMAGE_SUFFIXES)}), but got none")
        return [_file(p) for p in inside]
    if path.exists():
        return [_file(path)]
    if text in SAMPLES:
        return [ImageSource(text, text, None, lambda: load_sample(text).image)]
    raise FileNotFoundError(f"Expected an image file, a folder or a sample ({MANY_SAMPLES}), but got {text!r}")


def _file(path: Path) -> ImageSource:
    return ImageSource(str(path), path.stem, path.resolve(), lambda: load_image(path))


def find_image(text: str) -> ImageSource:
    """The one image behind a file or the name of a sample.

    Raises:
        OSError, ValueError: it is neither.
    """
    if Path(text).is_dir():
        raise ValueError(f"Expected IMAGE to be a file or a sample ({MANY_SAMPLES}), but got the folder {text!r}")
    return _find(text)[0]


def foreign_to_toy(sources: Sequence[ImageSource]) -> list[str]:
    """Names of the images that are no drawn scenes, so nothing that the toy model was trained on."""
    return [source.name for source in sources if source.path is not None or source.name not in SCENES]


def claim_stems(sources: Sequence[ImageSource], out: Path, ending: str) -> Iterator[tuple[ImageSource, str]]:
    """Each image with a stem of its own, "a", "a-2", ..., so that nothing made here and no input is overwritten.

    Args:
        sources: the images.
        out: folder of the files that are made.
        ending: of their names after the stem, "maps.png".
    """
    inputs = {source.path for source in sources}
    taken: set[str] = set()
    for source in sources:
        stem, number = source.stem, 1
        # Some file systems take "A" and "a" for one.
        while stem.casefold() in taken or (out / f"{stem}_{ending}").resolve() in inputs:
            number += 1
            stem = f"{source.stem}-{number}"
        taken.add(stem.casefold())
        yield source, stem
