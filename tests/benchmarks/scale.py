"""`python -m tests.benchmarks.scale`: a million image rows plan, resume and summarise; time a 100,000 and peak memory.

Parts are synthetic, written by the engine's own writer: one row an image and method with the columns of "maps".
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from analysis.studies import Study, open_study, summarise_study
from analysis.studies.folder import IMAGES, default_part_length, done_parts, parts_of, write_part, write_request
from analysis.studies.tables import to_table

NUMBERS = ("contrast", "score_contrast", "flip_auc", "pixel_contrast", "pixel_auc")
METHOD_NAMES = ("clip", "clip_surgery")


def write_synthetic(folder: Path, images: int) -> None:
    """A finished study of so many images."""
    length = default_part_length(images, 8)
    request = {"study": Study(measures=("maps",)).to_json(), "fingerprints": {}, "images": images, "classes": {}}
    write_request(folder, request | {"part length": length, "data set": "synthetic"})
    random = np.random.default_rng(0)
    for part in parts_of(images, length):
        index = np.repeat(np.arange(*part), len(METHOD_NAMES))
        count = part[1] - part[0]
        rows = {"index": index, "text": ["a cat"] * len(index), "method": list(METHOD_NAMES) * count}
        rows |= {name: random.random(len(index)) for name in NUMBERS}
        rows |= {
            f"{side}_histogram": random.integers(0, 99, (len(index), 101)) for side in ("foreground", "background")
        }
        names = [f"image-{number}" for number in range(*part)]
        listed = {"index": np.arange(*part), "name": names, "text": [None] * count, "problem": [None] * count}
        write_part(folder, part, {"maps": to_table(rows), IMAGES: to_table(listed)})


def main() -> None:
    """Print seconds a 100,000 images for each step, and the peak memory of this process."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "study"
        steps = {
            "write": lambda: write_synthetic(folder, options.images),
            "plan and resume": lambda: set(parts_of(options.images, 1024)) - set(done_parts(folder)),
            "state": lambda: open_study(folder).state,
            "one column": lambda: open_study(folder).table("maps", ["flip_auc"]),
            "summarise": lambda: summarise_study(folder),
        }
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds = (time.process_time() - start) / options.images * 100_000
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{name:16} {seconds:8.2f} s CPU a 100,000 images   peak so far {peak:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
