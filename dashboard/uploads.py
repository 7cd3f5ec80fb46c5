"""Files that visitors brought, on the server's disk for a day, so that a reload or a pasted link finds them again.

    keep(sha256, "image", "photo.jpg", content)
    found = read(sha256, "image")               # Upload or None
    forget(sha256)

A file is found by its whole SHA-256 alone, which only those know who have the file or the link; nothing lists what is
here. The folder holds `MAX_BYTES` at most: what was not asked for the longest goes first, and after `KEPT_S` everything
does. Where $CLIP_THEATRE_CACHE is "off" nothing is kept. No Streamlit here.
"""

import os
import re
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from data.store import cache_folder, write_atomic

KEPT_S = 24 * 60 * 60
MAX_BYTES = 500_000_000
MAX_NAME = 200
KINDS = ("image", "mask")
SHA256 = re.compile("[0-9a-f]{64}")

_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Upload:
    """A kept file.

    Attributes:
        name: as the visitor's browser called it.
        content: the file's bytes.
    """

    name: str
    content: bytes


def keep(sha256: str, kind: str, name: str, content: bytes) -> None:
    """Keeps a file, and makes room for it.

    Args:
        sha256: what it is asked for by: 64 hex digits of the decoded pixels.
        kind: one of `KINDS`.
        name: how it is called.
        content: its bytes.

    Raises:
        ValueError: no such kind, or no SHA-256.
    """
    path = _path(sha256, kind)
    if path is None or len(content) > MAX_BYTES:
        return
    with _lock:
        try:
            with write_atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
                archive.writestr("name", name[:MAX_NAME])
                archive.writestr("content", content)
        except OSError:
            return  # a full or read-only disk: the session still has the file
        _make_room(path.parent)


def read(sha256: str, kind: str) -> Upload | None:
    """A kept file, whose day begins anew; None where it is not here, or not any more.

    Raises:
        ValueError: no such kind.
    """
    if not SHA256.fullmatch(sha256):
        return None
    path = _path(sha256, kind)
    try:
        if path is None or time.time() - path.stat().st_mtime > KEPT_S:
            return None
        with zipfile.ZipFile(path) as archive:
            found = Upload(archive.read("name").decode("utf-8", "replace"), archive.read("content"))
        os.utime(path)
        return found
    except (OSError, KeyError, zipfile.BadZipFile):
        return None


def is_here(sha256: str, kind: str) -> bool:
    """Whether `read` would find a file.

    Raises:
        ValueError: no such kind.
    """
    path = _path(sha256, kind) if SHA256.fullmatch(sha256) else None
    try:
        return path is not None and time.time() - path.stat().st_mtime <= KEPT_S
    except OSError:
        return False


def forget(sha256: str) -> None:
    """Deletes what is kept under this SHA-256."""
    for kind in KINDS:
        path = _path(sha256, kind)
        if path is not None:
            path.unlink(missing_ok=True)


def _path(sha256: str, kind: str) -> Path | None:
    if kind not in KINDS:
        raise ValueError(f"Expected kind to be one of {', '.join(KINDS)}, but got {kind!r}")
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"Expected sha256 to be 64 hex digits, but got {sha256[:80]!r}")
    folder = cache_folder()
    return None if folder is None else folder / "uploads" / f"{kind}-{sha256}.zip"


def _make_room(folder: Path) -> None:
    """Deletes what is too old, then the oldest, until the rest is within `MAX_BYTES`."""
    found = sorted(((path.stat(), path) for path in folder.glob("*-*.zip")), key=lambda pair: pair[0].st_mtime)
    total = sum(stat.st_size for stat, _ in found)
    now = time.time()
    for stat, path in found:
        if total > MAX_BYTES or now - stat.st_mtime > KEPT_S:
            path.unlink(missing_ok=True)
            total -= stat.st_size
