"""ZIP files of pictures: what is taken, what is refused, and that nothing of a refused one stays."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashboard import archives
from data.registry import open_dataset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIP_THEATRE_CACHE", str(tmp_path))
    return tmp_path


def png(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


PICTURE = png(np.full((20, 30, 3), 90, np.uint8))
WHITE_ON_BLACK = png(np.kron(np.eye(2, dtype=np.uint8) * 255, np.ones((10, 15), np.uint8)))
IDS = png(np.kron(np.array([[0, 3], [5, 0]], np.uint8), np.ones((10, 15), np.uint8)))


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_a_mask_white_on_black_is_one_object() -> None:
    content = zipped(**{"set/images/a.png": PICTURE, "set/masks/a.png": WHITE_ON_BLACK, "__MACOSX/images/b.png": b"?"})
    found = archives.unpack("mine.zip", content)
    (sample,) = open_dataset(found.folder)
    assert [(region.text, int(region.mask.sum())) for region in sample.regions()] == [("object", 300)]
    assert archives.find(found.sha256) == found
    assert archives.unpack("again.zip", content) == found


def test_classes_come_with_the_archive_or_are_numbered() -> None:
    files = {"images/a.png": PICTURE, "masks/a.png": IDS}
    (sample,) = open_dataset(archives.unpack("a.zip", zipped(**files)).folder)
    assert [region.text for region in sample.regions()] == ["object 3", "object 5"]
    named = zipped(**files, **{"classes.txt": b"3\tcat\n5\tdog\n"})
    (sample,) = open_dataset(archives.unpack("b.zip", named).folder)
    assert [region.text for region in sample.regions()] == ["cat", "dog"]


def test_paths_of_the_archive_are_never_used(cache: Path) -> None:
    content = zipped(**{"../../../evil/a.png": PICTURE, "../masks/a.png": WHITE_ON_BLACK, "/etc/images/c.png": PICTURE})
    found = archives.unpack("evil.zip", content)
    assert found.images == 1
    assert {path.parent.parent for path in cache.rglob("*.png")} == {found.folder}
    assert not (cache.parent / "evil").exists()


def test_single_files_are_a_collection_too() -> None:
    files = [("a.jpg", PICTURE), ("a.png", IDS), ("b.png", PICTURE), ("b_mask.png", WHITE_ON_BLACK), ("c.png", PICTURE)]
    found = archives.gather(files)
    assert (found.name, found.images) == ("5 files", 2)
    samples = list(open_dataset(found.folder))
    texts = [[region.text for region in sample.regions()] for sample in samples]
    assert texts == [["object 3", "object 5"], ["object 1"]]
    assert archives.gather(files[::-1]) == found
    named = archives.gather([*files, ("classes.txt", b"1\tdog\n3\tcat\n5\tbird\n")])
    assert named.sha256 != found.sha256
    assert [region.text for region in next(iter(open_dataset(named.folder))).regions()] == ["cat", "bird"]
    assert archives.gather([("mine.ZIP", zipped(**dict(files)))]).images == 2
    with pytest.raises(ValueError, match="Expected one ZIP file, or pictures"):
        archives.gather([*files, ("d.zip", b"")])
    with pytest.raises(ValueError, match="at most 4000 files"):
        archives.gather([(f"{n}.png", b"") for n in range(4001)])


def lying() -> bytes:
    """An archive whose directory says that a member has 100 bytes, but which unpacks to 10 MB."""
    content = zipped(**{"images/a.png": bytes(10_000_000), "masks/a.png": WHITE_ON_BLACK})
    return content.replace(struct.pack("<I", 10_000_000), struct.pack("<I", 100))


BOMB = zipped(**{f"images/{n}.png": bytes(30_000_000) for n in range(15)})
HOSTILE = {
    "no zip": (b"no zip at all", "to be a ZIP file"),
    "cut": (zipped(**{"images/a.png": PICTURE})[:60], "to be a ZIP file"),
    "empty": (zipped(), "to hold pictures"),
    "no masks": (zipped(**{"a.png": PICTURE}), "to hold a mask for its pictures"),
    "other masks": (zipped(**{"a.png": PICTURE, "masks/b.png": WHITE_ON_BLACK}), "to hold a mask for its pictures"),
    "no picture": (zipped(**{"a.png": b"text", "masks/a.png": WHITE_ON_BLACK}), "a.png in the archive to be readable"),
    "no mask": (zipped(**{"a.png": PICTURE, "masks/a.png": b"text"}), "masks/a.png in the archive to be readable"),
    "bomb": (BOMB, "at most 4000 files, 50 MB each and 400 MB in all, but got 15 files of 450 MB"),
    "many": (zipped(**{f"{n}.png": b"" for n in range(4001)}), "at most 4000 files"),
    "lying": (lying(), "in the archive to be"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_used_is_refused_whole(case: str, cache: Path) -> None:
    content, message = HOSTILE[case]
    with pytest.raises(ValueError, match=message):
        archives.unpack("bad.zip", content)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_guessed_hash_finds_nothing() -> None:
    for guess in ("", "..", "a" * 64, "../" + "a" * 61):
        assert archives.find(guess) is None
