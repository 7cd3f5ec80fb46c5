"""Files that are either whole or not there: results, exports and caches."""

import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs

if TYPE_CHECKING:
    import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def cache_folder() -> Path | None:
    """The user's cache folder of this program: $CLIP_THEATRE_CACHE, or the system's place. It may not exist yet.

    None where the variable is "off": then this program keeps nothing. Text features are all that it keeps. Weights and
    matplotlib's list of fonts are in the caches of their own libraries (HF_HOME, ~/.cache/clip, MPLCONFIGDIR).
    """
    chosen = os.environ.get("CLIP_THEATRE_CACHE")
    if chosen and chosen.lower() == "off":
        return None
    return Path(chosen) if chosen else platformdirs.user_cache_path("clip-theatre")


@contextmanager
def write_atomic(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path to write to, and moves that file to `path` once the block has ended well.

    An error or Ctrl-C in the block leaves `path` as it was. Others never see a file that is half written.

    Args:
        path: the file to make or replace; its folder is made if need be.

    Yields:
        A path in the same folder with the same suffix, where the block must put a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def write_together(folder: str | Path) -> Iterator[Path]:
    """Gives a temporary folder to write files to, and moves all of them to `folder` once the block has ended well.

    An error or Ctrl-C in the block leaves `folder` as it was, so that files that belong together come together.

    Args:
        folder: where the files go; made if need be.

    Yields:
        A hidden folder inside of it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(8)}"
    temporary.mkdir()
    try:
        yield temporary
        for path in sorted(temporary.iterdir()):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file from memory, such as an encoded PNG."""
    with write_atomic(path) as temporary:
        temporary.write_bytes(content)


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays, compressed.

    Raises:
        ValueError: another suffix than .npz, or an array of Python objects, which only pickle could hold.
    """
    _check_suffix(path, (".npz",))
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(f"Expected {name} to be an array of numbers or texts, but got Python objects")
    with write_atomic(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def write_json(path: str | Path, value: Any) -> None:
    """Writes a value of `to_json`, keys sorted, indented.

    Raises:
        ValueError: another suffix than .json.
        TypeError: a value that JSON cannot hold.
    """
    _check_suffix(path, (".json",))
    text = json.dumps(to_json(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair, from a file name that is no UTF-8, becomes the escape that JSON has for it.
    write_bytes(path, (text + "\n").encode(errors="backslashreplace"))


def write_table(path: str | Path, frame: "pd.DataFrame") -> None:
    """Writes a table as .csv or .parquet, without its index.

    Raises:
        ValueError: another suffix.
    """
    _check_suffix(path, (".csv", ".parquet"))
    with write_atomic(path) as temporary:
        if temporary.suffix == ".csv":
            temporary.write_bytes(to_csv(frame))
        else:
            frame.to_parquet(temporary, index=False)


def to_csv(frame: "pd.DataFrame") -> bytes:
    """A table as the bytes of a CSV file, UTF-8, without its index.

    A text that a spreadsheet would take for a formula gets an apostrophe in front of it; numbers stay as they are.
    """
    safe = frame.rename(columns=_inert)
    for place, kind in enumerate(safe.dtypes):
        if str(kind) in ("object", "str", "string", "category"):
            safe.isetitem(place, safe.iloc[:, place].map(_inert))
    return safe.to_csv(index=False).encode(errors="backslashreplace")


def _inert(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    lines = cell.replace("\r\n", "\n").replace("\r", "\n")  # a bare CR would be written without quotes
    return f"'{lines}" if cell.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(cell) else lines


def to_json(value: Any) -> Any:
    """Plain dicts, lists, texts and numbers of nested results: dataclasses, arrays, NumPy numbers, paths, sets.

    JSON has no word for numbers that are not finite: they become None.

    Raises:
        TypeError: anything else.

    >>> to_json({"maps": np.array([1.0, np.nan]), "grid": (7, 7)})
    {'maps': [1.0, None], 'grid': [7, 7]}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"Expected value to be made of what JSON can hold, but got {type(value).__name__}")


def _check_suffix(path: str | Path, allowed: tuple[str, ...]) -> None:
    if Path(path).suffix not in allowed:
        raise ValueError(f"Expected path to end in {' or '.join(allowed)}, but got {str(path)!r}")
