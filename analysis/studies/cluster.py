"""The parts of a study on Ray: actors compute, this process writes; Ray starts again what dies and repeats its part."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from analysis.studies.engine import Engine, Tables, run_part
from analysis.studies.folder import Part, write_part
from analysis.studies.study import Study

RETRIES = 4
"""How often an actor is started again, and a part repeated, before the run gives up."""


def run_on_ray(
    study: Study,
    folder: Path,
    parts: Sequence[Part],
    workers: int,
    address: str,
    device: str,
    report: Callable[[int], None],
    say: Callable[[str], None] | None,
) -> None:
    """Computes parts on Ray actors and writes each as it comes.

    Args:
        study: what is asked for.
        folder: where its parts go; only this process needs to see it.
        parts: what is missing.
        workers: number of actors; 0 for one a GPU of the cluster, or else one a core.
        address: "local", "auto", or that of a cluster.
        device: as in `surgery.load_model`, in the actors.
        report: called with the number of images of each part that is written.
        say: called when a worker died.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: no cluster at this address.
    """
    ray = _import_ray()
    with _connected(ray, address, workers, len(parts)):
        resources = ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        use_gpu = gpus > 0 and device in ("auto", "cuda")
        count = min(workers or (gpus if use_gpu else cores), len(parts))
        remote = ray.remote(num_cpus=1, num_gpus=1 if use_gpu else 0, max_restarts=RETRIES, max_task_retries=RETRIES)(
            PartRunner
        )
        settings = (study.to_json(), device, torch.get_num_threads())
        actors = [remote.remote(*settings) for _ in range(max(count, 1))]
        for part, tables in _dealt_out(ray, actors, parts):
            write_part(folder, part, tables)
            report(part[1] - part[0])


class PartRunner:
    """What runs in each actor: an engine that computes the parts it is given."""

    def __init__(self, study: dict[str, Any], device: str, threads: int) -> None:
        torch.set_num_threads(threads)  # the digits of a sum depend on it
        self.engine = Engine(Study.from_json(study), device)

    def run(self, part: Part) -> Tables:
        """The tables of a part."""
        return run_part(self.engine, part)


def _dealt_out(ray: Any, actors: Sequence[Any], parts: Sequence[Part]) -> Iterator[tuple[Part, Tables]]:
    """Every part once, as it is done; an actor that is free gets the next one."""
    waiting = list(reversed(parts))
    running: dict[Any, tuple[Any, Part]] = {}
    free = list(actors)
    while waiting or running:
        while waiting and free:
            actor, part = free.pop(), waiting.pop()
            running[actor.run.remote(part)] = actor, part
        (done,), _ = ray.wait(list(running), num_returns=1)
        actor, part = running.pop(done)
        free.append(actor)
        yield part, ray.get(done)


@contextmanager
def _connected(ray: Any, address: str, workers: int, parts: int) -> Iterator[None]:
    """Ray, started or joined, unless this process has joined it before; what was started here is stopped again."""
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        cores = min(workers or os.cpu_count() or 1, parts)
        ray.init(num_cpus=cores, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
    else:
        ray.init(address=address, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'Expected Ray to be installed for --ray, but it is not; in the folder of the clone: pip install -e ".[ray]"'
        ) from error
    return ray
