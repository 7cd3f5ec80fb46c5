"""The two lists of a data set folder, classes.txt and meta.json, read with a report of what is wrong in them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IGNORE = 255  # label of pixels whose class is unknown


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a folder: the file or entry, and what about it."""

    where: str
    what: str


def read_classes(path: Path) -> tuple[dict[int, str], list[Problem]]:
    """Reads lines id<TAB>name; further columns are ignored.

    Returns:
        Classes by id, and the lines that are none.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"Expected {path.name} to be a file, but got a folder or a device")
    classes: dict[int, str] = {}
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        id, _, rest = line.partition("\t")
        name = rest.split("\t")[0].strip()
        where = f"{path.name}, line {number}"
        if not (id.strip().isascii() and id.strip().isdigit() and name):
            problems.append(Problem(where, f"expected id<TAB>name, but got {line[:60]!r}"))
        elif int(id) == IGNORE:
            problems.append(Problem(where, f"id {IGNORE} stands for unknown and cannot be a class"))
        elif int(id) in classes:
            problems.append(Problem(where, f"id {int(id)} is already {classes[int(id)]!r}"))
        else:
            classes[int(id)] = name
    return classes, problems


def read_meta(path: Path) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """Reads captions, label and prompt of each image; a missing file is an empty one.

    Returns:
        The good entries by image name, and the others.
    """
    if not path.exists():
        return {}, []
    if not path.is_file():
        return {}, [Problem(path.name, "expected a file, but got a folder or a device")]
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also where it is not UTF-8
        return {}, [Problem(path.name, f"not JSON: {error}")]
    if not isinstance(entries, dict):
        return {}, [Problem(path.name, f"expected an object of image names, but got {type(entries).__name__}")]
    good = {name: entry for name, entry in entries.items() if _is_meta(entry)}
    wrong = "expected an object with captions: list of texts, label: text, prompt: text"
    return good, [Problem(f"{path.name}, {name!r}", wrong) for name in entries.keys() - good.keys()]


def _is_meta(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("captions", []), list):
        return False
    texts = [*entry.get("captions", []), *(entry[key] for key in ("label", "prompt") if entry.get(key) is not None)]
    return all(isinstance(text, str) for text in texts)
