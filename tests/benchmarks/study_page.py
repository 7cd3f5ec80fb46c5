"""`python -m tests.benchmarks.study_page`: the Study page over a large study: CPU time, bytes sent, memory.

Parts are synthetic, written by the engine's own writer: three classes a picture, the components of ViT-B-16, seven
methods (two above 10,000 pictures). Times are CPU times of one thread of this process, which runs the page's script
without a browser; bytes are those of the messages that the script sends to one.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.testing.v1 import AppTest

from analysis.studies import Study
from analysis.studies.folder import IMAGES, default_part_length, parts_of, write_part, write_request
from analysis.studies.tables import to_table
from dashboard import studies
from dashboard.pages.study.settings import StudySettings
from surgery import CLASSIC

SEED = 0
TEXTS = ("a red circle", "a blue ring", "a green cross", "a pink heart", "a black star")
PER_IMAGE = 3
GRID = 14
GRID_NAME = "clip_theatre_study_grid"
ROOT = Path(__file__).resolve().parents[2]
LIMITS = {"first picture": 3.0, "selection": 0.5, "bytes": 2e6}


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a synthetic study is."""

    images: int
    methods: int = 7
    blocks: int = 12
    heads: int = 12
    measures: tuple[str, ...] = ("maps", "layers", "lens", "blame", "pictures", "features")
    part_length: int | None = None


def write_synthetic(folder: Path, shape: Shape) -> None:
    """A finished study of the toy's name, whose figures are random."""
    length = shape.part_length or default_part_length(shape.images, 8)
    study = Study(data=f"toy:{shape.images}", methods=CLASSIC[: shape.methods], measures=shape.measures)
    request = {"study": study.to_json(), "fingerprints": {"images": "", "weights": ""}, "images": shape.images}
    request |= {"classes": {}, "part length": length, "data set": "toy", "input size px": [112, 112]}
    write_request(folder, request)
    random = np.random.default_rng(SEED)
    for part in parts_of(shape.images, length):
        tables = {name: to_table(WRITERS[name](part, shape, random)) for name in shape.measures}
        index = np.arange(*part)
        nothing = [None] * len(index)
        names = [f"scene-{number}" for number in index]
        listed = to_table({"index": index, "name": names, "text": nothing, "problem": nothing})
        write_part(folder, part, tables | {IMAGES: listed})


def _pairs(part: tuple[int, int], methods: int = 1) -> dict[str, object]:
    images = np.repeat(np.arange(*part), PER_IMAGE)
    texts = [TEXTS[(image + place) % len(TEXTS)] for image in range(*part) for place in range(PER_IMAGE)]
    return {"index": np.tile(images, methods), "text": texts * methods}


def _by_method(part: tuple[int, int], shape: Shape) -> dict[str, object]:
    count = PER_IMAGE * (part[1] - part[0])
    return _pairs(part, shape.methods) | {"method": [name for name in CLASSIC[: shape.methods] for _ in range(count)]}


def _with_numbers(rows: dict[str, object], names: list[str], random: np.random.Generator) -> dict[str, object]:
    values = random.normal(scale=0.1, size=(len(rows["index"]), len(names))).astype(np.float32)
    return rows | {name: values[:, place] for place, name in enumerate(names)}


def _maps(part: tuple[int, int], shape: Shape, random: np.random.Generator) -> dict[str, object]:
    rows = _with_numbers(_by_method(part, shape), ["contrast", "score_contrast"], random)
    return rows | {"flip_auc": random.random(len(rows["index"])).astype(np.float32)}


def _blame(part: tuple[int, int], shape: Shape, random: np.random.Generator) -> dict[str, object]:
    heads = [f"a{block}.h{head}" for block in range(shape.blocks) for head in range(shape.heads)]
    rows = _by_method(part, shape) | {"of": ["contrast"] * (shape.methods * PER_IMAGE * (part[1] - part[0]))}
    return _with_numbers(rows, ["sum", "embedding", *(f"m{block}" for block in range(shape.blocks)), *heads], random)


def _layers(part: tuple[int, int], shape: Shape, random: np.random.Generator) -> dict[str, object]:
    names = [
        f"{kind}.{stream}.{group}.{block}"
        for kind in ("norm", "cosine")
        for stream in ("residual", "attention", "mlp")
        for group in ("cls", "patches", "foreground", "background")
        for block in range(shape.blocks)
    ]
    return _with_numbers(_pairs(part), names, random)


def _lens(part: tuple[int, int], shape: Shape, random: np.random.Generator) -> dict[str, object]:
    rows = _with_numbers(_pairs(part), [f"depth_{depth}" for depth in range(shape.blocks + 1)], random)
    return rows | {"turning_depth": random.integers(1, shape.blocks, len(rows["index"])).astype(np.float32)}


def _pictures(part: tuple[int, int], shape: Shape, random: np.random.Generator) -> dict[str, object]:
    rows = _by_method(part, shape)
    count = len(rows["index"])
    places = {name: random.random(count).astype(np.float32) for name in ("area", "row", "column")}
    return rows | places | {"map": random.normal(size=(count, GRID * GRID)).astype(np.float16)}


def _features(part: tuple[int, int], shape: Shape, random: np.random.Generator) -> dict[str, object]:
    count = part[1] - part[0]
    return {
        "index": np.arange(*part),
        "text": [None] * count,
        "feature": random.normal(size=(count, 64)).astype(np.float16),
    }


WRITERS: dict[str, Callable[..., dict[str, object]]] = {
    "maps": _maps,
    "blame": _blame,
    "layers": _layers,
    "lens": _lens,
    "pictures": _pictures,
    "features": _features,
}


@dataclass(slots=True)
class Sent:
    """What a script has sent: bytes, and the CPU time of the process when the grid of pictures was."""

    bytes: int = 0
    grid_at: float | None = None


@contextmanager
def counted() -> Iterator[Sent]:
    """What scripts send meanwhile."""
    sent, kept = Sent(), ForwardMsgQueue.enqueue

    def enqueue(queue: ForwardMsgQueue, message: ForwardMsg) -> None:
        sent.bytes += message.ByteSize()
        component = message.delta.new_element.bidi_component.component_name
        if sent.grid_at is None and component.endswith(GRID_NAME):
            sent.grid_at = time.process_time()
        kept(queue, message)

    ForwardMsgQueue.enqueue = enqueue
    try:
        yield sent
    finally:
        ForwardMsgQueue.enqueue = kept


def open_page() -> AppTest:
    """A visitor on the Study page, before a study is chosen."""
    app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=400)
    app.switch_page("dashboard/pages/study/study.py")
    return app.run()


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the page: CPU seconds until all is sent and until the grid is, and bytes."""

    seconds: float
    grid_seconds: float
    bytes: int


def show(app: AppTest, **changes: object) -> Run:
    """Changes settings of the page and runs it."""
    view = app.session_state["view"]
    app.session_state["view"] = view.having(replace(view.of(StudySettings), **changes))
    with counted() as sent:
        start = time.process_time()
        app.run()
        seconds = time.process_time() - start
    if app.exception or app.error:
        raise RuntimeError([*app.exception, *app.error])
    return Run(seconds, (sent.grid_at or start) - start, sent.bytes)


def measure(images: int) -> None:
    """Prints a line a step."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ[studies.STUDIES_VARIABLE] = temporary
        write_synthetic(Path(temporary) / "large", Shape(images, methods=7 if images <= 10_000 else 2))
        app = open_page()
        show(app)
        steps = {
            "first picture": {"id": "lab-large"},
            "selection of a class": {"text": TEXTS[0]},
            "selection of a range": {"text": "", "high": 0.3},
            "selection of pictures": {"high": None, "chosen": tuple(range(0, images, 7))[:500]},
            "selection of a component": {"chosen": (), "component": "a3.h1"},
            "another method": {"component": "", "method": "gem"},
            "the same again": {},
        }
        for name, changes in steps.items():
            run = show(app, **changes)
            first = name == "first picture"
            seconds = run.grid_seconds if first else run.seconds
            known = LIMITS.get("first picture" if first else "selection" if "selection" in name else "")
            met = run.bytes <= LIMITS["bytes"] and (known is None or seconds <= known)
            target = "2 MB" if known is None else f"{known:g} s, 2 MB"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            print(
                f"{images:7,} pictures  {name:26} {seconds:6.2f} s CPU (all plots {run.seconds:.2f} s)  "
                f"{run.bytes / 1e6:5.2f} MB sent  <= {target:10}  {'met' if met else 'MISSED':6} peak {peak:,.0f} MiB",
                flush=True,
            )


def main() -> None:
    """Measure 5,000 and 100,000 pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.study_page", description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[5_000, 100_000], help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for images in options.images:
        measure(images)


if __name__ == "__main__":
    main()
