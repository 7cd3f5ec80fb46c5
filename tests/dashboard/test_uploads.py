"""Uploaded files outlive a session for a day, within bounds, and are found by their whole SHA-256 only."""

import os
import time
from pathlib import Path

import pytest

from dashboard import uploads

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIP_THEATRE_CACHE", str(tmp_path))
    return tmp_path


def test_a_kept_file_is_read_back_with_its_name() -> None:
    uploads.keep(A, "image", "猫.png", b"\x00bytes")
    assert uploads.read(A, "image") == uploads.Upload("猫.png", b"\x00bytes")
    assert uploads.read(A, "mask") is None
    assert uploads.read(B, "image") is None
    assert [uploads.is_here(*asked) for asked in ((A, "image"), (A, "mask"), (B, "image"))] == [True, False, False]


@pytest.mark.parametrize("guess", ["", "a" * 63, "a" * 32 + "*" * 32, "../" + "a" * 61, "A" * 64])
def test_what_is_no_sha256_finds_nothing(guess: str) -> None:
    uploads.keep(A, "image", "x.png", b"x")
    assert uploads.read(guess, "image") is None and not uploads.is_here(guess, "image")


def test_forgotten_files_are_gone() -> None:
    uploads.keep(A, "image", "x.png", b"x")
    uploads.forget(A)
    assert uploads.read(A, "image") is None
    uploads.forget(A)


def test_a_day_after_it_was_last_asked_for_a_file_is_gone(cache: Path) -> None:
    uploads.keep(A, "image", "x.png", b"x")
    (path,) = (cache / "uploads").iterdir()
    almost = time.time() - uploads.KEPT_S + 60
    os.utime(path, (almost, almost))
    assert uploads.read(A, "image") is not None
    assert time.time() - path.stat().st_mtime < 60  # its day began anew
    os.utime(path, (almost - 120, almost - 120))
    assert not uploads.is_here(A, "image")
    assert uploads.read(A, "image") is None
    uploads.keep(B, "image", "y.png", b"y")
    assert not path.exists()


def test_five_hundred_files_stay_within_the_bound_and_the_newest_remain(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 50_000)
    for index in range(500):
        uploads.keep(f"{index:064x}", "image", "x.png", bytes(1000))
    kept = list((cache / "uploads").iterdir())
    assert sum(path.stat().st_size for path in kept) <= 50_000
    assert uploads.read(f"{499:064x}", "image") is not None
    assert uploads.read(f"{0:064x}", "image") is None
    uploads.keep(A, "image", "large.png", bytes(60_000))
    assert uploads.read(A, "image") is None


def test_a_damaged_file_counts_as_missing(cache: Path) -> None:
    uploads.keep(A, "image", "x.png", b"x")
    (path,) = (cache / "uploads").iterdir()
    path.write_bytes(path.read_bytes()[:20])
    assert uploads.read(A, "image") is None


def test_nothing_is_kept_where_the_cache_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_THEATRE_CACHE", "off")
    uploads.keep(A, "image", "x.png", b"x")
    assert uploads.read(A, "image") is None


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected kind to be one of image, mask, but got 'film'"):
        uploads.keep(A, "film", "x.png", b"x")
