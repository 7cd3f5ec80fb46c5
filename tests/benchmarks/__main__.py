"""Print the tables of speed and memory: `python -m tests.benchmarks`."""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import torch

from tests.benchmarks.cases import CASES, Bench, Case
from tests.benchmarks.harness import MIB, Row, child_peak_mib, compare, describe_load, describe_machine
from tests.benchmarks.memory import FEATURE_SURGERY_LIMIT_MIB, TASKS, feature_surgery_overhead_mib
from tests.benchmarks.pages import page_rows
from tests.browser.driver import find_chromium

HEADER = ("what", "measured", "target", "verdict", "details")


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


def network_rows(bench: Bench, repeats: int, clock: Callable[[], float], only: str) -> Iterator[Row]:
    """Time the cases that are asked for."""
    for case in CASES:
        if only in case.name:
            yield run_case(case, bench, repeats, clock)


def print_table(rows: Iterable[Row], title: str, markdown: bool) -> None:
    """Print each line as soon as it is known."""
    print(f"{title}\n", flush=True)
    print_row(HEADER, markdown)
    if markdown:
        print_row(("---",) * len(HEADER), markdown)
    for row in rows:
        print_row(row.cells, markdown)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default: %(default)s")
    parser.add_argument("--precision", default="auto", help="auto, fp32, fp16 or bf16 (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="most timed runs a case (default: %(default)s)")
    parser.add_argument("--only", default="", help="only lines that contain this text")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory lines out")
    browser = parser.add_mutually_exclusive_group()
    browser.add_argument("--no-browser", action="store_true", help="leave the table of the dashboard out")
    browser.add_argument("--only-browser", action="store_true", help="only the table of the dashboard")
    parser.add_argument("--busy", action="store_true", help="CPU time of one thread, for a machine with other work")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    return parser.parse_args()


def run_network(options: argparse.Namespace, machine: str) -> None:
    """The table of passes and methods."""
    clock = time.process_time if options.busy else time.perf_counter
    if options.busy:
        torch.set_num_threads(1)
    bench = Bench(options.device, options.precision)
    rows = network_rows(bench, options.repeats, clock, options.only)
    if not options.no_memory and options.only in "memory":
        rows = chain(rows, memory_rows(options.device))
    machine += ", CPU time of one thread" if options.busy else ""
    print_table(rows, f"ViT-B-16 at 224 px, batch 1, {bench.model.dtype}; {machine}", options.markdown)


def run_browser(options: argparse.Namespace, machine: str) -> None:
    """The table of the dashboard."""
    if find_chromium() is None:
        print("Dashboard skipped: no Chromium on this machine (Debian: apt-get install chromium)")
        return
    title = f"Dashboard in Chromium, model on the CPU; {machine}{describe_load()}"
    print_table(page_rows(options.only), title, options.markdown)


def main() -> None:
    """Measure everything, or the cases that are asked for."""
    options = parse_options()
    os.environ["CLIP_THEATRE_CACHE"] = "off"  # a text that comes from the disk would not be timed
    machine = describe_machine(options.device)
    if not options.only_browser:
        run_network(options, machine)
    if not options.no_browser:
        print()
        run_browser(options, machine)


if __name__ == "__main__":
    main()
