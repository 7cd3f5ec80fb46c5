import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.store import cache_folder, to_json, write_atomic, write_bytes, write_json, write_npz, write_table


def test_a_finished_block_puts_the_file_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.txt"
    with write_atomic(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interrupted_block_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(error), write_atomic(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_that_cannot_be_replaced_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), write_atomic(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_many_writers_never_show_half_a_file(tmp_path: Path) -> None:
    path, size = tmp_path / "shared.bin", 200_000
    write_bytes(path, b"\0" * size)
    writers = [threading.Thread(target=write_bytes, args=(path, bytes([i]) * size)) for i in range(1, 9)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert len(content) == size
        assert len(set(content)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_files_get_ordinary_permissions(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        write_bytes(tmp_path / "a.png", b"x")
    finally:
        os.umask(umask)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o644


def test_npz_round_trip(tmp_path: Path) -> None:
    arrays = {"maps": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "b"])}
    write_npz(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz") as loaded:
        assert set(loaded) == {"maps", "names"}
        np.testing.assert_array_equal(loaded["maps"], arrays["maps"])
        assert loaded["names"].tolist() == ["a", "b"]


def test_npz_never_pickles(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected bad to be an array of numbers or texts"):
        write_npz(tmp_path / "a.npz", {"bad": np.array([{}, None])})
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True, slots=True)
class Result:
    method: str
    grid: tuple[int, int]
    scores: np.ndarray


def test_json_of_nested_results(tmp_path: Path) -> None:
    value = {
        "z": Result("clip", (7, 7), np.array([[0.5, np.inf], [np.nan, 1]], np.float32)),
        "a": [np.float32(0.25), np.int64(3), np.bool_(True), None, Path("x/y"), {"b", "a"}, float("-inf")],
        1: "ä",
    }
    write_json(tmp_path / "r.json", value)
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "1": "ä",
        "a": [0.25, 3, True, None, "x/y", ["a", "b"], None],
        "z": {"method": "clip", "grid": [7, 7], "scores": [[0.5, None], [None, 1.0]]},
    }
    assert text.index('"a"') < text.index('"z"')


def test_json_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="but got object"):
        write_json(tmp_path / "r.json", {"x": object()})
    with pytest.raises(TypeError, match="but got complex"):
        to_json(np.array([1j]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_round_trip(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"method": ["clip", "gem"], "alpha": [0.5, 1.0]}, index=[7, 9])
    write_table(tmp_path / f"t{suffix}", frame)
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    pd.testing.assert_frame_equal(read(tmp_path / f"t{suffix}"), frame.reset_index(drop=True))


@pytest.mark.parametrize(
    ("write", "value", "expected"),
    [
        (write_npz, {}, r"\.npz"),
        (write_json, {}, r"\.json"),
        (write_table, pd.DataFrame(), r"\.csv or \.parquet"),
    ],
)
def test_suffix_says_what_is_inside(tmp_path: Path, write, value, expected: str) -> None:
    with pytest.raises(ValueError, match=f"Expected path to end in {expected}, but got"):
        write(tmp_path / "a.xlsx", value)


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_THEATRE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("CLIP_THEATRE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "system"))
    monkeypatch.setattr("sys.platform", "linux")
    assert "clip-theatre" in cache_folder().parts


@pytest.mark.parametrize("value", ["off", "OFF"])
def test_no_cache_folder(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_THEATRE_CACHE", value)
    assert cache_folder() is None
