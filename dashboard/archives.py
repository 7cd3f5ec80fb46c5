"""ZIP files of pictures that visitors bring: checked as a whole, then unpacked under names of our own.

    archive = unpack("flowers.zip", content)       # images/*.jpg, masks/*.png, classes.txt
    archive.folder                                 # a data set as `data.datasets.SegmentationFolder` reads it

What is taken: pictures (in a folder called images, or anywhere), PNG masks of the same stem in a folder called masks
(ids of classes, or white on black), and classes.txt with a line `id<TAB>name` a class. Paths of the archive are never
used on the disk. Archives are kept a day, as uploads are.
"""

import hashlib
import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from PIL import Image

from dashboard.regions import IGNORE, label_ids
from dashboard.uploads import KEPT_S, SHA256
from data.images import IMAGE_SUFFIXES, decode_mask, load_image
from data.store import cache_folder, write_json

MAX_FILES = 4000
MAX_BYTES = 400_000_000
MAX_KEPT = 20
MAX_FILE_BYTES = 50_000_000
NOTE = "archive.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Archive:
    """An unpacked archive.

    Attributes:
        sha256: of the ZIP file.
        name: of the ZIP file.
        folder: where its data set is.
        images: number of pictures.
    """

    sha256: str
    name: str
    folder: Path
    images: int


def unpack(name: str, content: bytes) -> Archive:
    """Checks an archive and unpacks it.

    Args:
        name: of the file.
        content: its bytes.

    Raises:
        ValueError: no ZIP file, too large when unpacked, encrypted, without pictures, or with a file that is no picture
            or mask; nothing is kept then. The cache is off.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    known = find(sha256)
    if known is not None:
        return known
    root = _root()
    if root is None:
        raise ValueError("Expected a cache folder to unpack archives in, but CLIP_THEATRE_CACHE is off")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ValueError(f"Expected {name[:80]} to be a ZIP file, but got: {error}") from error
    temporary = root / f".{sha256}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with archive:
            images = _extract(archive, name, temporary)
        write_json(temporary / NOTE, {"name": name[:200], "images": images})
        temporary.rename(root / sha256)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _tidy(root)
    return Archive(sha256, name[:200], root / sha256, images)


def find(sha256: str) -> Archive | None:
    """An archive that was unpacked within the last day; None where it is not here."""
    root = _root()
    if root is None or not SHA256.fullmatch(sha256):
        return None
    note = root / sha256 / NOTE
    try:
        if time.time() - note.stat().st_mtime > KEPT_S:
            return None
        said = json.loads(note.read_text(encoding="utf-8"))
        return Archive(sha256, said["name"], root / sha256, said["images"])
    except (OSError, ValueError, KeyError):
        return None


def _root() -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "collections"


def _extract(archive: zipfile.ZipFile, name: str, folder: Path) -> int:
    """Writes the data set and returns its number of pictures; every file is decoded once."""
    members = [info for info in archive.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
    total = sum(info.file_size for info in members)
    if len(members) > MAX_FILES or total > MAX_BYTES or any(info.file_size > MAX_FILE_BYTES for info in members):
        raise ValueError(
            f"Expected {name[:80]} to hold at most {MAX_FILES} files, {MAX_FILE_BYTES // 10**6} MB each and "
            f"{MAX_BYTES // 10**6} MB in all, but got {len(members)} files of {total / 1e6:.0f} MB"
        )
    if any(info.flag_bits & 1 for info in members):
        raise ValueError(f"Expected {name[:80]} to be without a password, but got an encrypted archive")
    paths = {PurePosixPath(info.filename.replace("\\", "/")): info for info in members}
    masks = {path.stem: info for path, info in paths.items() if path.parent.name == "masks" and _is(path, (".png",))}
    pictures = {p.stem: (p, i) for p, i in paths.items() if p.parent.name != "masks" and _is(p, IMAGE_SUFFIXES)}
    if not pictures:
        raise ValueError(f"Expected {name[:80]} to hold pictures ({', '.join(IMAGE_SUFFIXES)}), but got none")
    classes = next((info for path, info in paths.items() if path.name == "classes.txt"), None)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    labelled = {stem: found for stem, found in pictures.items() if stem in masks}
    if not labelled:
        raise ValueError(
            f"Expected {name[:80]} to hold a mask for its pictures, masks/NAME.png for NAME.jpg, but got none: without "
            "one nobody can say where a map should light up"
        )
    ids: set[int] = set()
    for number, (stem, (path, info)) in enumerate(sorted(labelled.items())):
        content, _ = _checked(archive, info, load_image)
        (folder / "images" / f"{number:05d}{path.suffix.lower()}").write_bytes(content)
        ids |= _write_mask(*_checked(archive, masks[stem], decode_mask), folder / "masks" / f"{number:05d}.png")
    names = "".join(f"{id}\t{'object' if len(ids) == 1 else f'object {id}'}\n" for id in sorted(ids))
    text = names if classes is None else _read(archive, classes).decode("utf-8", "replace")
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    return len(labelled)


def _write_mask(content: bytes, labels: np.ndarray, path: Path) -> set[int]:
    """Writes a mask, white on black as id 1, and returns the ids of its objects."""
    ids = set(label_ids(labels))
    if ids == {IGNORE}:
        Image.fromarray((labels == IGNORE).astype(np.uint8)).save(path)
        return {1}
    path.write_bytes(content)
    return ids


def _is(path: PurePosixPath, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def _checked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, decode: Callable[[bytes], T]) -> tuple[bytes, T]:
    """The bytes of a member, and what they decode to."""
    content = _read(archive, info)
    try:
        return content, decode(content)
    except (ValueError, OSError) as error:
        raise ValueError(f"Expected {info.filename[:80]} in the archive to be readable, but got: {error}") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, never more than it says it has."""
    try:
        with archive.open(info) as stream:
            content = stream.read(info.file_size + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"Expected {info.filename[:80]} in the archive to be whole, but got: {error}") from error
    if len(content) != info.file_size:
        raise ValueError(f"Expected {info.filename[:80]} in the archive to be of the size it says, but it is not")
    return content


def _tidy(root: Path) -> None:
    """Deletes archives that are too old, and the oldest of too many."""
    found = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for place, path in enumerate(found):
        if time.time() - path.stat().st_mtime > KEPT_S or place < len(found) - MAX_KEPT:
            shutil.rmtree(path, ignore_errors=True)
