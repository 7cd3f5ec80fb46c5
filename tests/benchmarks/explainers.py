"""Cost of explainers and presets against one bare pass: `python -m tests.benchmarks.explainers`.

CPU time of one thread, each measurement next to a bare pass of the same process, the median of a few; ViT-B-16 with
random weights at 224 px, GEM also at 448 px. Names as arguments time only what starts with them.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from analysis.explainers import explain
from surgery import METHODS, iterate_dense_features, load_model
from surgery.graph import image_blocks

REPEATS = 3
WANTED = {
    "all presets, old and new, from one trace": 1.0,
    "gem, 448 px": 0.3,
    "chefer, 1 text": 4,
    "chefer, 20 texts": 30,
    "chefer_all, 1 text": 4,
    "chefer_all, 20 texts": 30,
    "grad_eclip, 1 text": 4,
    "grad_eclip, 20 texts": 30,
    "legrad, 1 text": 4,
    "gradcam, 1 text": 4,
}
"""What is timed, and the most it should cost in bare passes."""


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process for one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def ratio(work: Callable[[], object], unit: Callable[[], object]) -> float:
    """Median of the cost of work over that of a unit, both after a first call that is not counted."""
    unit()
    work()
    costs = [(cpu_seconds(unit), cpu_seconds(work)) for _ in range(REPEATS)]
    return statistics.median(own / one for one, own in costs)


def main() -> None:
    """Prints a Markdown table."""
    torch.set_num_threads(1)
    model = load_model("ViT-B-16", "random", device="cpu")
    sizes = {side: torch.randn(1, 3, side, side) for side in (224, 448)}
    text = torch.randn(20, 512)

    @torch.inference_mode()
    def bare(side: int) -> None:
        tower = model.tower
        blocks = image_blocks(tower, tower.grid_of(sizes[side]))
        tower.pool(blocks.streams(tower.embed(sizes[side], blocks.grid, "bicubic"))[-1])

    def work_of(name: str, side: int) -> Callable[[], object]:
        kind, _, rest = name.partition(", ")
        if rest.endswith(" texts") or rest == "1 text":
            return lambda: explain(model, sizes[side], text[: int(rest.split()[0])], kind)
        methods = [METHODS["gem"]] if kind == "gem" else METHODS.values()
        trace = model.trace(sizes[side], "bicubic_antialias" if kind == "gem" else "bicubic")
        return lambda: list(iterate_dense_features(trace, methods))

    print("| what | bare passes | wanted |\n| --- | ---: | ---: |")
    for name, wanted in WANTED.items():
        if len(sys.argv) == 1 or name.startswith(tuple(sys.argv[1:])):
            side = 448 if "448" in name else 224
            print(f"| {name} | {ratio(work_of(name, side), partial(bare, side)):.2f} | <= {wanted:g} |", flush=True)


if __name__ == "__main__":
    main()
