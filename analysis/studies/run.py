"""Running a study: begin, go on, and stop at any time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analysis.studies.engine import Engine
from analysis.studies.folder import (
    default_part_length,
    done_parts,
    locked,
    parts_of,
    read_request,
    write_part,
    write_request,
)
from analysis.studies.reader import StudyFolder, StudyState
from analysis.studies.study import Study


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        done, images: of the study; `done` counts images of earlier runs as well.
        measured: images of this run.
        seconds: since its first batch was asked for.
        waiting_seconds: of these, waiting for images; None where others wait (Ray).
    """

    done: int
    images: int
    measured: int
    seconds: float
    waiting_seconds: float | None = None

    @property
    def images_per_second(self) -> float:
        """Of this run."""
        return self.measured / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """At this speed."""
        speed = self.images_per_second
        return (self.images - self.done) / speed if speed else float("inf")


def run_study(
    study: Study,
    folder: str | Path,
    workers: int = 0,
    ray: str | None = None,
    *,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> StudyState:
    """Creates a study, or goes on with what is missing of it.

    Args:
        study: what is asked for.
        folder: where it is kept; made if need be.
        workers: processes that read images ahead, 0 reads in this one; with Ray the number of actors, 0 for one a GPU
            or else one a core.
        ray: None computes here; "local" starts Ray on this machine; else the address of a cluster, or "auto".
        device: as in `surgery.load_model`.
        progress: called after every batch, with Ray after every part.
        say: called with a line worth saying, such as a batch that had to be halved.

    Raises:
        ValueError: the folder holds another study, or something of the study has no meaning for model or images.
        RuntimeError: another process works on the folder.
        OSError: files are missing, or the folder cannot be written to; parts that are done stay.
        ModuleNotFoundError: Ray is asked for and not installed.
    """
    folder = Path(folder)
    engine = Engine(study, device, say)
    with locked(folder):
        _open_request(study, engine, folder)
        length = int(read_request(folder)["part length"])
        done = set(done_parts(folder))
        todo = [part for part in parts_of(engine.images, length) if part not in done]
        report = _Report(engine.images, engine.images - sum(stop - start for start, stop in todo), progress)
        if ray is None:
            for step in engine.iterate(todo, workers):
                if step.tables is not None:
                    write_part(folder, step.part, step.tables)
                report.add(step.images, step.waited)
        elif todo:
            from analysis.studies.cluster import run_on_ray

            run_on_ray(study, folder, todo, workers, ray, device, report.add, say)
    return StudyFolder(folder).state


def _open_request(study: Study, engine: Engine, folder: Path) -> None:
    write_request(
        folder,
        {
            "study": study.to_json(),
            "fingerprints": engine.fingerprints(),
            "images": engine.images,
            "part length": default_part_length(engine.images, study.batch),
            "classes": {str(id): name for id, name in engine.dataset.classes.items()},
            "data set": engine.dataset.name,
            "input size px": list(engine.size_px),
        },
    )


class _Report:
    """Counts what is done and passes it on."""

    def __init__(self, images: int, done: int, progress: Callable[[Progress], None] | None) -> None:
        self.images, self.done, self.progress = images, done, progress
        self.measured, self.waited, self.start = 0, 0.0, time.perf_counter()

    def add(self, images: int, waited: float | None = None) -> None:
        self.done, self.measured = self.done + images, self.measured + images
        self.waited += waited or 0.0
        if self.progress is not None:
            seconds = time.perf_counter() - self.start
            waiting = None if waited is None else self.waited
            self.progress(Progress(self.done, self.images, self.measured, seconds, waiting))
