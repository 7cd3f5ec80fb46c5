"""Cost of explainers and presets against one bare pass: `python -m tests.benchmarks.explainers`.

CPU time of one thread, each measurement next to a bare pass of the same process, the median of a few; ViT-B-16 with
random weights at 224 px.
"""

import statistics
import time
from collections.abc import Callable

import torch

from analysis.explainers import explain
from surgery import METHODS, iterate_dense_features, load_model

REPEATS = 3
WANTED = {
    "all presets, old and new, from one trace": 1.0,
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


def main() -> None:
    """Prints a Markdown table."""
    torch.set_num_threads(1)
    model = load_model("ViT-B-16", "random", device="cpu")
    pixels, text = torch.randn(1, 3, 224, 224), torch.randn(20, 512)
    trace = model.trace(pixels)

    @torch.inference_mode()
    def bare() -> None:
        model.clip.encode_image(pixels)

    def work_of(name: str) -> Callable[[], object]:
        explainer, _, texts = name.partition(", ")
        if not texts[0].isdecimal():
            return lambda: list(iterate_dense_features(trace, METHODS.values()))
        return lambda: explain(model, pixels, text[: int(texts.split()[0])], explainer)

    bare()
    print("| what | bare passes | wanted |\n| --- | ---: | ---: |")
    for name, wanted in WANTED.items():
        work = work_of(name)
        work()
        ratios = []
        for _ in range(REPEATS):
            unit = cpu_seconds(bare)
            ratios.append(cpu_seconds(work) / unit)
        print(f"| {name} | {statistics.median(ratios):.2f} | <= {wanted:g} |", flush=True)


if __name__ == "__main__":
    main()
