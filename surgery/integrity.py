"""Whether a downloaded file is what its publisher has: its digest, computed once and remembered."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

from data.store import cache_folder, write_bytes

SHA256_HEX = re.compile(r"[0-9a-f]{64}")
BLOCK_BYTES = 1 << 22

_CHECKED: set[tuple[str, int, int]] = set()


class DamagedFile(OSError):
    """A file in a cache differs from what was published.

    Attributes:
        path: where it lies.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged: its SHA-256 is not the one that it was published with. Delete it, and it is "
            "downloaded again"
        )
        self.path = path


def digest_of(path: Path, length: int = 64) -> str:
    """SHA-256 of a file in hex, or, for the 40 digits that the hub gives small files, git's blob id."""
    size = path.stat().st_size
    digest = hashlib.sha1(f"blob {size}\0".encode()) if length == 40 else hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_once(path: Path, report: Callable[[str, int, int | None], None], expected: str | None = None) -> None:
    """Compares a file with its digest the first time that it is used, and again if it has changed since.

    Args:
        path: a file; one of the hub's cache is named after its digest.
        report: told that it is being checked.
        expected: beginning of the SHA-256; None to take it from the name, where that is one.

    Raises:
        DamagedFile: it differs.
    """
    file = path.resolve()
    wanted = expected if expected is not None else file.name if SHA256_HEX.fullmatch(file.name) else ""
    if not wanted or _state(file) in _CHECKED or _is_noted(file):
        return
    report("checking", 0, file.stat().st_size)
    if not digest_of(file).startswith(wanted):
        raise DamagedFile(path)
    mark_checked(file)


def mark_checked(path: Path) -> None:
    """Remembers that this state of a file is whole."""
    file = path.resolve()
    _CHECKED.add(_state(file))
    note = _note(file)
    if note is not None:
        try:
            write_bytes(note, json.dumps(_state(file)).encode())
        except OSError:
            return  # without a cache it is checked once a process


def discard(path: Path) -> None:
    """Removes a damaged file, and the blob of the hub's cache that it points to."""
    target = path.resolve()
    path.unlink(missing_ok=True)
    target.unlink(missing_ok=True)


def _state(file: Path) -> tuple[str, int, int]:
    stat = file.stat()
    return str(file), stat.st_size, stat.st_mtime_ns


def _is_noted(file: Path) -> bool:
    note = _note(file)
    try:
        return note is not None and tuple(json.loads(note.read_bytes())) == _state(file)
    except (OSError, ValueError, TypeError):
        return False


def _note(file: Path) -> Path | None:
    root = cache_folder()
    return None if root is None else root / "checked" / hashlib.sha256(str(file).encode()).hexdigest()[:32]
