"""Peak memory: of feature surgery, and of tasks in their own process (`python -m tests.benchmarks.memory TASK`)."""

import argparse
import resource
import sys
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from analysis.flips import diagnose
from analysis.regions import Region
from surgery import Model, feature_surgery, load_model
from tests.benchmarks.cases import random_features
from tests.benchmarks.harness import MIB, peak_bytes

FEATURE_SURGERY_LIMIT_MIB = 20.0


def feature_surgery_overhead_mib(patches: int = 1024, texts: int = 171, width: int = 512, device: str = "cpu") -> float:
    """What feature surgery needs at its peak beyond its inputs and outputs."""
    features, text = random_features(patches, texts, width, device)
    result = feature_surgery(features, text)
    outputs = sum(z.untyped_storage().nbytes() for z in (result.cls, result.patches))
    return (peak_bytes(lambda: feature_surgery(features, text)) - outputs) / MIB


def diagnose_336(model: Model) -> None:
    """One diagnosis at the model's native size."""
    height, width = model.native_size
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 4 : width // 2] = True
    region = Region.from_mask(mask, model.tower.native_grid)
    diagnose(model, Image.new("RGB", (width, height), "gray"), "a dog", region)


def trace_504(model: Model) -> None:
    """One recorded pass of 36 x 36 patches, every block kept."""
    model.trace(model.preprocess([Image.new("RGB", (504, 504), "gray")], size=504))


TASKS: dict[str, tuple[str, Callable[[Model], None], float, str]] = {
    "diagnose-336": ("ViT-L-14-336", diagnose_336, 6.0, "diagnose, ViT-L/14 at 336 px"),
    "trace-504": ("ViT-L-14", trace_504, 8.0, "trace, ViT-L/14 at 504 px (36 x 36 patches)"),
}
"""Model, what is run, limit in GB, and its name in the table."""


def process_peak_mib(device: str) -> float:
    """Peak memory so far, libraries and weights included: of the process, or of the GPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def main() -> None:
    """Run one task and print the peak in MiB as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    name, task, _, _ = TASKS[options.task]
    task(load_model(name, "random", device=options.device))
    print(process_peak_mib(options.device))


if __name__ == "__main__":
    main()
