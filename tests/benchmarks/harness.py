"""Timing two things side by side in one process, and measuring how much memory a thing needs."""

import os
import platform
import statistics
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

MIB = 2**20
MIN_REPEATS = 3
LONG_MS = 10_000
"""A pair of runs that takes longer needs no warm-up: its first run counts."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the printed table.

    Attributes:
        what: what was measured.
        measured, target: figures with their units.
        met: whether the target is met.
        details: absolute figures.
    """

    what: str
    measured: str
    target: str
    met: bool
    details: str

    @property
    def cells(self) -> tuple[str, ...]:
        return self.what, self.measured, self.target, "met" if self.met else "MISSED", self.details


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians of interleaved repeats.

    Attributes:
        subject_ms, reference_ms: median time.
        repeats: how often each was run.
    """

    subject_ms: float
    reference_ms: float
    repeats: int

    @property
    def ratio(self) -> float:
        """Time of the subject in units of the reference."""
        return self.subject_ms / self.reference_ms


def compare(
    subject: Callable[[], object],
    reference: Callable[[], object],
    device: str,
    repeats: int = 15,
    budget_s: float = 60,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Times both in turn, so that what else the machine does meets both alike.

    Args:
        subject, reference: what to run; results are thrown away.
        device: "cpu" or "cuda", which is waited for.
        repeats: the most timed runs of each, after one that is not timed (see `LONG_MS`).
        budget_s: no further repeat is begun after so many seconds, except to reach 3.
        clock: in seconds; `time.process_time` leaves out what the machine does for others.
    """
    functions, times = (subject, reference), ([], [])
    start = time.perf_counter()
    first = [_run_ms(function, device, clock) for function in functions]
    if sum(first) > LONG_MS:
        times = tuple([elapsed_ms] for elapsed_ms in first)
    while len(times[0]) < repeats and (len(times[0]) < MIN_REPEATS or time.perf_counter() - start < budget_s):
        for which in (0, 1) if len(times[0]) % 2 else (1, 0):
            times[which].append(_run_ms(functions[which], device, clock))
    return Timing(statistics.median(times[0]), statistics.median(times[1]), len(times[0]))


def _run_ms(function: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    _wait(device)
    start = clock()
    function()
    _wait(device)
    return 1000 * (clock() - start)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_bytes(function: Callable[[], object]) -> int:
    """The most bytes of tensors that were alive at once because of `function`, its result included.

    Counted from the storages that the operations return, which is exact and the same on every machine; working memory
    inside a single operation is not seen.
    """
    with _StorageCounter() as counter:
        result = function()
    del result
    return counter.peak


class _StorageCounter(TorchDispatchMode):
    """Follows every storage that an operation creates until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for tensor in _tensors((args, kwargs)):
            self._known.add(tensor.untyped_storage()._cdata)  # inputs are not counted
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.live -= size
        self._known.discard(key)


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def child_peak_mib(task: str, device: str) -> float:
    """Peak memory of a fresh process that runs a task of `tests.benchmarks.memory`, model and libraries included."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", task, "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise RuntimeError(f"Expected the memory task {task} to succeed, but got:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def describe_machine(device: str) -> str:
    """Processor, threads, GPU and version of PyTorch, for the head of a table."""
    parts = [_processor(), f"{torch.get_num_threads()} threads of {os.cpu_count()}"]
    if device == "cuda":
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"PyTorch {torch.__version__}", f"Python {platform.python_version()}"])


def describe_load() -> str:
    """What the machine does besides, for the head of a table; "" where the system does not say."""
    return f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
