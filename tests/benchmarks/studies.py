"""`python -m tests.benchmarks.studies`: a study against the bare encode_image loop over the same images, same loader.

CPU time of one thread, side by side, so that what else the machine does meets both alike. ViT-B-16 with random weights
at 224 px, seven methods, 20 texts.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from analysis.studies import Engine, Study, run_part
from analysis.studies.images import iterate_items
from data.datasets import ToyScenes
from surgery.methods import CLASSIC

TEXTS = tuple(name for id, name in ToyScenes(0).classes.items() if id)[:20]
CASES = {("maps",): 1.4, ("maps", "layers", "blame"): 1.8}
"""Measures -> the most that a study may cost, in bare loops."""


def make_engine(measures: tuple[str, ...], images: int) -> Engine:
    """A study of toy scenes, which are rendered as they are asked for."""
    methods = CLASSIC
    return Engine(
        Study("ViT-B-16", "random", f"toy:{images}", methods=methods, measures=measures, texts=TEXTS), device="cpu"
    )


@torch.inference_mode()
def bare_loop(engine: Engine, images: int) -> None:
    """open_clip's own encode_image over the images of a study."""
    for items in iterate_items(engine._reader, engine.batches((0, images)), 0):
        engine.model.clip.encode_image(engine.model.normalise(torch.stack([item.rgb for item in items])))


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.studies", description=__doc__)
    parser.add_argument("--images", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for measures, limit in reversed(CASES.items()):
        engine = make_engine(measures, options.images)
        part = (0, options.images)
        run_part(engine, (0, min(8, options.images)))
        ratios = []
        for _ in range(options.repeats):
            bare = cpu_seconds(lambda engine=engine: bare_loop(engine, options.images))
            ratios.append(cpu_seconds(lambda engine=engine, part=part: run_part(engine, part)) / bare)
        ratio = statistics.median(ratios)
        verdict = "met" if ratio <= limit else "MISSED"
        print(f"{', '.join(measures):24} {ratio:5.2f} x bare loop  <= {limit} x  {verdict}  {options.images} images")


if __name__ == "__main__":
    main()
