"""Pictures that visitors bring, a ZIP file or many files: checked as a whole, then kept under names of our own.

    archive = unpack("flowers.zip", content)                         # images/*.jpg, masks/*.png, classes.txt
    archive = gather([("a.jpg", photo), ("a.png", mask), ...])       # the same, as single files
    archive.folder                                 # a data set as `data.datasets.SegmentationFolder` reads it

What is taken: pictures (in a folder called images, or anywhere), PNG masks (ids of classes, or white on black), and
classes.txt with a line `id<TAB>name` a class. A mask lies in a folder called masks and has the stem of its picture; or
it lies beside it, as NAME_mask.png, or as NAME.png where the picture NAME is no PNG. Names of the files are never used
on the disk. Archives are kept a day, as uploads are.
"""

import hashlib
import io
import json
import secrets
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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
MAX_UPLOAD_MB = 200
"""Of one file that is uploaded."""
NOTE = "archive.json"
ZIP = ".zip"
MASK_ENDS = ("_mask", "-mask", ".mask")
"""Of the stem of a mask that lies beside its picture."""

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
    return find(sha256) or _keep(sha256, name, _zip_members(name, content))


def gather(files: Sequence[tuple[str, bytes]]) -> Archive:
    """Checks files that were brought together and keeps them as one collection; a single ZIP file is unpacked.

    Args:
        files: name and bytes of each.

    Raises:
        ValueError: as `unpack`; or a ZIP file among others.
    """
    if len(files) == 1 and files[0][0].lower().endswith(ZIP):
        return unpack(*files[0])
    if any(name.lower().endswith(ZIP) for name, _ in files):
        raise ValueError(f"Expected one ZIP file, or pictures with their masks, but got both among {len(files)} files")
    digest = hashlib.sha256()
    for name, content in sorted(files):
        digest.update(f"{len(name)} {name} ".encode() + hashlib.sha256(content).digest())
    sha256 = digest.hexdigest()
    members = [Member(_path(name), len(content), lambda content=content: content) for name, content in files]
    return find(sha256) or _keep(sha256, f"{len(files)} files", iter([members]))


@dataclass(frozen=True, slots=True)
class Member:
    """One of the files: its path among the others, its size when unpacked, and what reads it."""

    path: PurePosixPath
    size: int
    read: Callable[[], bytes]


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _zip_members(name: str, content: bytes) -> Iterator[list[Member]]:
    """The files of an archive, once; it is open as long as they are read."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ValueError(f"Expected {name[:80]} to be a ZIP file, but got: {error}") from error
    with archive:
        infos = [info for info in archive.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
        if any(info.flag_bits & 1 for info in infos):
            raise ValueError(f"Expected {name[:80]} to be without a password, but got an encrypted archive")
        yield [Member(_path(info.filename), info.file_size, partial(_read, archive, info)) for info in infos]


def _keep(sha256: str, name: str, opened: Iterator[list[Member]]) -> Archive:
    """Writes a collection as a whole, or not at all."""
    root = _root()
    if root is None:
        raise ValueError("Expected a cache folder to unpack archives in, but CLIP_THEATRE_CACHE is off")
    temporary = root / f".{sha256}-{secrets.token_hex(4)}"
    try:
        for members in opened:
            images = _write(members, name, temporary)
        write_json(temporary / NOTE, {"name": name[:200], "images": images})
        try:
            temporary.rename(root / sha256)
        except OSError:
            shutil.rmtree(root / sha256)  # what was kept too long ago for `find`
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


def _write(members: Sequence[Member], name: str, folder: Path) -> int:
    """Writes the data set and returns its number of pictures; every file is decoded once."""
    _check_sizes(members, name)
    pictures, masks = _pair_up(members)
    if not pictures:
        raise ValueError(f"Expected {name[:80]} to hold pictures ({', '.join(IMAGE_SUFFIXES)}), but got none")
    labelled = {stem: found for stem, found in pictures.items() if stem in masks}
    if not labelled:
        raise ValueError(
            f"Expected {name[:80]} to hold a mask for its pictures, masks/NAME.png or NAME_mask.png for NAME.jpg, but "
            "got none: without one nobody can say where a map should light up"
        )
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    ids: set[int] = set()
    for number, (stem, member) in enumerate(sorted(labelled.items())):
        content, _ = _checked(member, load_image)
        (folder / "images" / f"{number:05d}{member.path.suffix.lower()}").write_bytes(content)
        ids |= _write_mask(*_checked(masks[stem], decode_mask), folder / "masks" / f"{number:05d}.png")
    names = "".join(f"{id}\t{'object' if len(ids) == 1 else f'object {id}'}\n" for id in sorted(ids))
    classes = next((member for member in members if member.path.name == "classes.txt"), None)
    text = names if classes is None else classes.read().decode("utf-8", "replace")
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    return len(labelled)


def _check_sizes(members: Sequence[Member], name: str) -> None:
    total = sum(member.size for member in members)
    if len(members) > MAX_FILES or total > MAX_BYTES or any(member.size > MAX_FILE_BYTES for member in members):
        raise ValueError(
            f"Expected {name[:80]} to hold at most {MAX_FILES} files, {MAX_FILE_BYTES // 10**6} MB each and "
            f"{MAX_BYTES // 10**6} MB in all, but got {len(members)} files of {total / 1e6:.0f} MB"
        )


def _pair_up(members: Sequence[Member]) -> tuple[dict[str, Member], dict[str, Member]]:
    """Pictures and masks by the stem that they share."""
    in_masks = {m.path.stem: m for m in members if m.path.parent.name == "masks" and _is(m.path, (".png",))}
    others = [m for m in members if m.path.parent.name != "masks" and _is(m.path, IMAGE_SUFFIXES)]
    whole = {m.path.stem for m in others if m.path.suffix.lower() != ".png"}
    stems = {m.path.stem for m in others}
    pictures, masks = {}, {}
    for member in others:
        path = member.path
        marked = next((path.stem.removesuffix(end) for end in MASK_ENDS if path.stem.endswith(end)), None)
        if path.suffix.lower() == ".png" and marked in stems:
            masks[marked] = member
        elif path.suffix.lower() == ".png" and path.stem in whole and path.stem not in in_masks:
            masks[path.stem] = member
        else:
            pictures[path.stem] = member
    return pictures, masks | in_masks


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


def _checked(member: Member, decode: Callable[[bytes], T]) -> tuple[bytes, T]:
    """The bytes of a file, and what they decode to."""
    content = member.read()
    try:
        return content, decode(content)
    except (ValueError, OSError) as error:
        raise ValueError(f"Expected {str(member.path)[:80]} in the archive to be readable, but got: {error}") from error


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
