"""Nothing is lost: killed runs go on, other requests are refused, full disks and second processes spoil nothing."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis.studies import Study, engine, open_study, run_study, summarise_study
from analysis.studies import folder as folders
from tests.conftest import ROOT

SMALL = Study(data="toy:100", measures=("maps",), methods=("clip",), batch=4)
"""Four parts."""
COMMAND = """
from analysis.studies import Study, run_study
run_study(Study(data="toy:100", measures=("maps",), methods=("clip",), batch=4), {folder!r}, device="cpu")
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run of `SMALL`."""
    path = tmp_path_factory.mktemp("whole") / "study"
    assert run_study(SMALL, path, device="cpu").done_parts == 4
    return path


def begin(folder):
    return subprocess.Popen([sys.executable, "-c", COMMAND.format(folder=str(folder))], cwd=ROOT)


def wait_for_parts(folder, count, process):
    while len(folders.done_parts(folder)) < count and process.poll() is None:
        time.sleep(0.01)


def same_summary(one, other):
    for name, table in summarise_study(one).items():
        pd.testing.assert_frame_equal(table, summarise_study(other)[name], check_exact=True)


def test_a_killed_study_goes_on_and_ends_the_same(tmp_path, whole):
    path = tmp_path / "study"
    for parts in (1, 3):
        process = begin(path)
        wait_for_parts(path, parts, process)
        time.sleep(random.random() / 5)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = {part: (path / "parts" / part).stat().st_mtime_ns for part in os.listdir(path / "parts") if part[0] != "."}
    computed = []
    state = run_study(SMALL, path, device="cpu", progress=lambda progress: computed.append(progress.measured))
    assert state.complete and max(computed, default=0) == 100 - 32 * len(kept) + (28 if len(kept) == 4 else 0)
    assert {part: (path / "parts" / part).stat().st_mtime_ns for part in kept} == kept
    assert not list((path / "parts").glob(".*"))
    same_summary(path, whole)


def test_another_request_is_refused_by_its_fields(whole):
    other = replace(SMALL, methods=("clip", "gem"), size=128)
    with pytest.raises(ValueError, match=r"methods is \[\"clip\"\] there .* size is null there and 128 here"):
        run_study(other, whole, device="cpu")


def test_other_weights_are_refused(whole, monkeypatch):
    monkeypatch.setattr(engine, "weights_fingerprint", lambda model: "other")
    with pytest.raises(ValueError, match=r'weights is .* there and "other" here'):
        run_study(SMALL, whole, device="cpu")


def test_the_request_is_written_first(tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.Engine, "measure", fail)
    with pytest.raises(KeyboardInterrupt):
        run_study(SMALL, tmp_path / "study", device="cpu")
    request = json.loads((tmp_path / "study" / "study.json").read_text())
    assert request["study"]["data"] == "toy:100" and set(request["fingerprints"]) >= {"weights", "images", "classes"}
    with pytest.raises(ValueError, match="at least 1 part that is done"):
        summarise_study(tmp_path / "study")


def test_a_second_process_is_refused(tmp_path):
    with folders.locked(tmp_path / "study"), pytest.raises(RuntimeError, match=f"but process {os.getpid()} works on"):
        run_study(SMALL, tmp_path / "study", device="cpu")


def test_a_full_disk_leaves_whole_parts(tmp_path, monkeypatch, whole):
    write, calls = folders.pq.write_table, []

    def full(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:  # the second table of the second part
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **options)

    monkeypatch.setattr(folders.pq, "write_table", full)
    path = tmp_path / "study"
    with pytest.raises(OSError, match=r"images 32 to 63 to .* the disk is full. The parts that are done are whole"):
        run_study(SMALL, path, device="cpu")
    assert folders.done_parts(path) == [(0, 32)] and len(list((path / "parts").iterdir())) == 1
    monkeypatch.undo()
    assert run_study(SMALL, path, device="cpu").complete
    same_summary(path, whole)


def test_a_part_that_is_there_is_not_written_over(whole):
    before = sorted((path, path.stat().st_mtime_ns) for path in (whole / "parts").rglob("*.parquet"))
    folders.write_part(whole, (0, 32), {})
    assert before == sorted((path, path.stat().st_mtime_ns) for path in (whole / "parts").rglob("*.parquet"))


def test_images_that_cannot_be_read_are_listed(tmp_path):
    root = tmp_path / "data"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("0\tbackground\n1\tcat\n")
    mask = np.zeros((60, 90), np.uint8)
    mask[10:50, 20:70] = 1
    for index in range(4):
        colours = np.random.default_rng(index).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(colours).save(root / "images" / f"{index}.png")
        Image.fromarray(mask if index != 2 else mask[:30]).save(root / "masks" / f"{index}.png")
    (root / "images" / "1.png").write_bytes(b"no picture")
    state = run_study(replace(SMALL, data=str(root)), tmp_path / "study", device="cpu")
    assert state.complete and state.unreadable == 2 and "2 could not be read" in str(state)
    problems = open_study(tmp_path / "study").images(unreadable=True)
    assert list(problems["name"]) == ["1", "2"] and "(30, 90)" in problems["problem"][1]
    assert set(open_study(tmp_path / "study").table("maps")["index"]) == {0, 3}
    summary = summarise_study(tmp_path / "study")["maps"]
    assert set(summary["note"]) == {"fewer than 10 images: the interval is rough"}


def test_too_little_memory_halves_the_batch(tmp_path, monkeypatch):
    measure, said = engine.Engine._measure, []

    def hungry(self, items):
        if len(items) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measure(self, items)

    monkeypatch.setattr(engine.Engine, "_measure", hungry)
    few = replace(SMALL, data="toy:8", batch=8)
    assert run_study(few, tmp_path / "study", device="cpu", say=said.append).complete
    assert said == [f"Memory did not suffice for {n} images at once; going on with {n // 2}" for n in (8, 4)]
    assert len(open_study(tmp_path / "study").images()) == 8
    assert set(open_study(tmp_path / "study").table("maps")["index"]) == set(range(8))


def test_one_image_too_large_is_an_error(tmp_path, monkeypatch):
    def hungry(self, items):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine.Engine, "_measure", hungry)
    with pytest.raises(MemoryError, match="Expected one image at 112 x 112 pixels to fit into memory"):
        run_study(replace(SMALL, data="toy:4"), tmp_path / "study", device="cpu")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"measures": ("charts",)}, "Expected measures to be among .* but got 'charts'"),
        ({"methods": ("clop",)}, "Expected method to be one of clip"),
        ({"methods": "clip"}, "Expected methods to be a list of at least 1"),
        ({"methods": ("clip", "clip")}, "named once each"),
        ({"batch": 0}, "Expected batch to be a whole number of at least 1"),
        ({"texts": (" ",)}, "Expected texts to be prompts"),
        ({"templates": "poetry"}, "Expected templates to be one of none"),
        ({"protocol": "nobody:voc20"}, "Expected protocol to be maps or METHOD:SET"),
    ],
)
def test_wrong_requests(values, message):
    with pytest.raises(ValueError, match=message):
        Study(**values)


def test_a_study_survives_json(whole):
    variant = replace(SMALL, methods=("clearclip:alpha=2", "gem"), size=(112, 64), texts=("a red circle",))
    assert Study.from_json(json.loads(json.dumps(variant.to_json()))) == variant
    assert open_study(whole).study == SMALL


def test_folders_that_hold_no_study(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"to be the folder of a study, but it has no study\.json"):
        open_study(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(ValueError, match="to be a JSON file"):
        open_study(tmp_path)
