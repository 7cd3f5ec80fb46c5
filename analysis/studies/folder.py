"""The folder of a study: the request, written first, and one folder of Parquet files a part, each whole or not there.

    study.json                      everything asked for, with fingerprints of weights, images and classes
    parts/000000000-000000032/      images 0 to 31
        images.parquet              name of every image, and what was wrong with it
        maps.parquet, ...           one file a measure, so that reading one measure reads nothing else

A part is written beside its place and moved there in one step, so however a run ends, parts are whole; a second process
that does the same part loses the race and nothing else.
"""

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.store import write_json

try:
    import fcntl
except ImportError:  # Windows: parts stay whole without the lock as well
    fcntl = None

STUDY_FILE, PARTS, LOCK = "study.json", "parts", ".lock"
IMAGES = "images"
"""The table of images and problems."""
FORMAT = 1
Part = tuple[int, int]
"""First image and the first one after it."""

_NAME = re.compile(r"(\d{9})-(\d{9})")


def part_name(part: Part) -> str:
    """Name of a part's folder."""
    return f"{part[0]:09d}-{part[1]:09d}"


def parts_of(images: int, length: int) -> list[Part]:
    """All parts of a data set."""
    return [(start, min(start + length, images)) for start in range(0, images, length)]


def default_part_length(images: int, batch: int) -> int:
    """Images a part, a multiple of the batch: little work to lose, and for most studies at most 50 files to read."""
    wanted = min(1024, max(32, images // 50))
    return -(-wanted // batch) * batch


def done_parts(folder: Path) -> list[Part]:
    """The parts that are there, in order."""
    try:
        names = os.listdir(folder / PARTS)
    except FileNotFoundError:
        return []
    return sorted((int(match[1]), int(match[2])) for name in names if (match := _NAME.fullmatch(name)))


def write_part(folder: Path, part: Part, tables: Mapping[str, pa.Table]) -> None:
    """Writes the tables of a part; one that is there already is left as it is.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; the part is then not there at all.
    """
    place = folder / PARTS / part_name(part)
    temporary = folder / PARTS / f".{part_name(part)}-{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)
        for name, table in tables.items():
            path = temporary / f"{name}.parquet"
            pq.write_table(table, path, compression="zstd", row_group_size=max(1, table.num_rows))
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        _move(temporary, place)
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise OSError(
            error.errno,
            f"Expected to write images {part[0]} to {part[1] - 1} to {folder}, but got: {what}. "
            "The parts that are done are whole; run the same command again to go on",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, place: Path) -> None:
    try:
        os.rename(temporary, place)
    except OSError:
        if not place.is_dir():
            raise


def read_request(folder: Path) -> dict[str, Any]:
    """study.json of a folder.

    Raises:
        FileNotFoundError: the folder holds no study.
        ValueError: the file is damaged, or of another format.
    """
    path = folder / STUDY_FILE
    if not path.is_file():
        raise FileNotFoundError(f"Expected {folder} to be the folder of a study, but it has no {STUDY_FILE}")
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected {path} to be a JSON file, but got: {error}") from error
    if request.get("format") != FORMAT:
        raise ValueError(f"Expected {path} to be of format {FORMAT}, but got {request.get('format')!r}")
    return request


def write_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Writes study.json, or checks that what stands there is the same request.

    Raises:
        ValueError: another request; the message names the fields that differ.
    """
    if not (folder / STUDY_FILE).exists():
        if done_parts(folder):
            raise ValueError(f"Expected {folder} to hold {STUDY_FILE} beside its parts, but it is missing")
        write_json(folder / STUDY_FILE, {"format": FORMAT, **request})
        return
    there = read_request(folder)
    differences = list(_differences(there, request))
    if differences:
        raise ValueError(
            f"Expected {folder} to hold the same study, but got another one: {'; '.join(differences)}. "
            "Choose another folder, or repeat the study that is there"
        )


def _differences(there: Mapping[str, Any], request: Mapping[str, Any]) -> Iterator[str]:
    for group in ("study", "fingerprints"):
        old, new = there.get(group, {}), request[group]
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield f"{name} is {_short(old.get(name))} there and {_short(new.get(name))} here"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second process from working on the same folder.

    Raises:
        RuntimeError: another one works on it.
        OSError: no permission to write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RuntimeError(
                f"Expected {folder} to be free, but process {file.read().strip() or 'unknown'} works on this study"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        for leftover in (folder / PARTS).glob(".*-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
