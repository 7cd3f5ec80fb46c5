"""Collections of pictures that a visitor may open, and the folders of the studies over them.

A study is named by an id that an address can hold: "lab-NAME" is a folder below `--studies`, "own-HASH" one that a page
has begun; its hash is that of the request, so visitors who ask for the same share it. Nothing outside these places is
opened. A picture of a study is "study:ID:NUMBER" in `Case.image`.
"""

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from analysis.studies import Study, StudyFolder, open_study
from analysis.studies.folder import STUDY_FILE, done_parts
from dashboard import archives, catalogue
from dashboard.case import RANDOM, STUDY
from data.datasets import Dataset
from data.layouts import LAYOUTS
from data.registry import KINDS
from data.samples import Sample, sample_of
from data.store import cache_folder
from surgery import usable_methods
from surgery.towers import Tower

DATA_VARIABLE, STUDIES_VARIABLE = "CLIP_THEATRE_DATA", "CLIP_THEATRE_STUDIES"
TOY = "toy"
TOY_SCENES = 100
MEASURES = ("maps", "layers", "lens", "blame", "pictures", "features")
_ID = re.compile(r"own-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Collection:
    """Pictures that a study can be run over.

    Attributes:
        key: in an address: "toy", "data:NAME" or "zip:SHA256".
        title: for people.
        data: as in `Study.data`.
    """

    key: str
    title: str
    data: str


def collections(uploaded: tuple[str, ...] = ()) -> list[Collection]:
    """The toy's scenes, data sets below `--data`, and the visitor's own archives.

    Args:
        uploaded: SHA-256 of archives, see `dashboard.archives`.
    """
    found = [Collection(TOY, f"{TOY_SCENES} made scenes", f"toy:{TOY_SCENES}")]
    found += _data_sets()
    for sha256 in uploaded:
        archive = archives.find(sha256)
        if archive is not None:
            found.append(Collection(f"zip:{sha256}", f"{archive.name} ({archive.images} images)", str(archive.folder)))
    return found


def _data_sets() -> list[Collection]:
    """Data sets in the folder of `--data`: benchmarks as downloaded, and folders with images/ and masks/."""
    given = os.environ.get(DATA_VARIABLE)
    if not given or not Path(given).is_dir():
        return []
    root, found = Path(given), []
    for name in LAYOUTS:
        if next(KINDS[name].missing(root), None) is None:
            found.append(Collection(f"data:{name}", KINDS[name].title, f"{name}:{root}"))
    for path in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
        if (path / "images").is_dir() and (path / "classes.txt").is_file():
            found.append(Collection(f"data:{path.name}/", path.name, str(path)))
    return found


def request_of(
    collection: Collection, model: str, pretrained: str | None, tower: Tower, limit: int | None = None
) -> Study:
    """The study that the page runs over a collection: the methods and measures that have a meaning for a tower.

    Args:
        collection: its pictures.
        model, pretrained: as in `surgery.load_model`.
        tower: of that model.
        limit: the first so many pictures; None for all.
    """
    left_out = () if tower.has_residual else ("lens",)
    measures = tuple(name for name in MEASURES if name not in left_out)
    methods = tuple(usable_methods(tower))
    asked = {"data": collection.data, "methods": methods, "measures": measures, "limit": limit or None}
    return Study(model=model, pretrained=pretrained, **asked)


def id_of(study: Study) -> str:
    """The id of a study that a page begins."""
    return f"own-{hashlib.sha256(json.dumps(study.to_json(), sort_keys=True).encode()).hexdigest()[:32]}"


def lab_studies() -> list[str]:
    """Ids of the studies below `--studies`."""
    root = os.environ.get(STUDIES_VARIABLE)
    if not root or not Path(root).is_dir():
        return []
    return [f"lab-{path.name}" for path in sorted(Path(root).iterdir()) if (path / STUDY_FILE).is_file()]


def folder_of(id: str) -> Path:
    """Where a study is kept, whether it has begun or not.

    Raises:
        ValueError: no id of a study that may be opened here.
    """
    if _ID.fullmatch(id):
        return (cache_folder() or Path(tempfile.gettempdir()) / "clip-theatre-studies") / "studies" / id
    if id in lab_studies():
        return Path(os.environ[STUDIES_VARIABLE]) / id.removeprefix("lab-")
    raise ValueError(f"Expected study to be one that is kept here, but got {id[:60]!r}")


def parts_done(id: str) -> int:
    """Number of parts that are done, 0 where nothing has begun; a key for what was read of it."""
    return len(done_parts(folder_of(id)))


def opened(id: str) -> StudyFolder:
    """A study, for reading.

    Raises:
        ValueError, FileNotFoundError: there is none of this id.
    """
    return open_study(folder_of(id))


def case_model(study: Study) -> dict[str, str]:
    """The fields of a case that name a study's model; empty where the picker does not have it. Pure."""
    if study.model == TOY:
        return {"model": TOY, "weights": ""}
    try:
        weights = study.pretrained or RANDOM
        catalogue.source_of(study.model, weights)
    except ValueError:
        return {}
    return {"model": study.model, "weights": weights}


def picture_name(id: str, index: int) -> str:
    """`Case.image` of a picture of a study."""
    return f"{STUDY}{id}:{index}"


def parse_picture(name: str) -> tuple[str, int]:
    """The inverse of `picture_name`.

    Raises:
        ValueError: no picture of a study.
    """
    id, _, number = name.removeprefix(STUDY).rpartition(":")
    if not name.startswith(STUDY) or not number.isascii() or not number.isdecimal() or len(number) > 9:
        raise ValueError(f"Expected image to be study:ID:NUMBER, but got {name[:60]!r}")
    return id, int(number)


def load_thumbnail(name: str) -> Image.Image:
    """The photograph of a picture of a study alone; raises as `load_picture`."""
    id, index = parse_picture(name)
    return _data_set(id, parts_done(id))[index].image.to_pil()


@lru_cache(maxsize=8)
def _data_set(id: str, parts: int) -> Dataset:
    """The data set of a study; `parts` is a part of the key alone, so that a new study of this id is opened anew."""
    return opened(id).open_dataset()


def load_picture(name: str) -> Sample:
    """A picture of a study with its classes as prompts and masks.

    Raises:
        ValueError, OSError: no such study or picture, or its file cannot be read.
    """
    id, index = parse_picture(name)
    dataset = _data_set(id, parts_done(id))
    if index >= len(dataset):
        raise ValueError(f"Expected image to be one of the {len(dataset)} of this study, but got number {index}")
    return sample_of(dataset[index])
