"""Print the tables of speed and memory: `python -m tests.benchmarks`."""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from tests.benchmarks.cases import CASES, Bench, Case
from tests.benchmarks.harness import MIB, child_peak_mib, compare, describe_machine
from tests.benchmarks.memory import FEATURE_SURGERY_LIMIT_MIB, TASKS, feature_surgery_overhead_mib

HEADER = ("what", "measured", "target", "verdict", "details")


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


def run_case(case: Case, bench: Bench, repeats: int, clock: Callable[[], float]) -> Row:
    """Time one case."""
    timing = compare(*case.pair(bench), bench.model.device.type, repeats, clock=clock)
    details = f"{timing.subject_ms:.1f} ms against {timing.reference_ms:.1f} ms, median of {timing.repeats}"
    if case.faster:
        speed_up = 1 / timing.ratio
        target = f">= {case.limit:g} x faster than {case.unit}"
        return Row(case.name, f"{speed_up:.1f} x faster", target, speed_up >= case.limit, details)
    target = f"<= {case.limit:.3g} x {case.unit}"
    return Row(case.name, f"{timing.ratio:.2f} x", target, timing.ratio <= case.limit, details)


def memory_rows(device: str) -> Iterator[Row]:
    """Measure the memory targets."""
    extra = feature_surgery_overhead_mib(device=device)
    limit = FEATURE_SURGERY_LIMIT_MIB
    name = "memory of feature surgery, 1025 x 171, beyond inputs and outputs"
    yield Row(name, f"{extra:.1f} MB", f"<= {limit:g} MB", extra <= limit, "tensors alive at once")
    what = "GPU memory" if device == "cuda" else "whole process, weights and libraries included"
    for task, (_, _, limit_gb, name) in TASKS.items():
        peak_gb = child_peak_mib(task, device) * MIB / 1e9
        yield Row(f"memory of {name}", f"{peak_gb:.1f} GB", f"< {limit_gb:g} GB", peak_gb < limit_gb, what)


def print_row(cells: Iterable[str], markdown: bool) -> None:
    """Print a line as soon as it is known."""
    if markdown:
        print("| " + " | ".join(cells) + " |", flush=True)
    else:
        what, measured, target, verdict, details = cells
        print(f"{what:72} {measured:>14}  {target:34} {verdict:7} {details}", flush=True)


def main() -> None:
    """Measure everything, or the cases that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default: %(default)s")
    parser.add_argument("--precision", default="auto", help="auto, fp32, fp16 or bf16 (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="most timed runs a case (default: %(default)s)")
    parser.add_argument("--only", default="", help="only lines that contain this text")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory lines out")
    parser.add_argument("--busy", action="store_true", help="CPU time of one thread, for a machine with other work")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    options = parser.parse_args()

    os.environ["CLIP_THEATRE_CACHE"] = "off"  # a text that comes from the disk would not be timed
    clock = time.process_time if options.busy else time.perf_counter
    if options.busy:
        torch.set_num_threads(1)
    bench = Bench(options.device, options.precision)
    machine = describe_machine(options.device) + (", CPU time" if options.busy else "")
    print(f"ViT-B-16 at 224 px, batch 1, {bench.model.dtype}; {machine}\n", flush=True)
    print_row(HEADER, options.markdown)
    if options.markdown:
        print_row(("---",) * len(HEADER), options.markdown)
    for case in CASES:
        if options.only in case.name:
            print_row(run_case(case, bench, options.repeats, clock).cells, options.markdown)
    if not options.no_memory and options.only in "memory":
        for row in memory_rows(options.device):
            print_row(row.cells, options.markdown)


if __name__ == "__main__":
    main()
