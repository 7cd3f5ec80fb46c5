"""`python -m tests.benchmarks.study_memory`: peak memory of studies of 200 and 5,000 images."""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from analysis.studies import Study, run_study, summarise_study

SIZES = (200, 5000)
LIMIT = 1.05
"""The most that the larger study may take, in memory of the smaller one."""


def peak_mib(images: int) -> float:
    """Peak memory of this process after a study of so many toy scenes and its summary."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "study"
        run_study(Study(data=f"toy:{images}", measures=("maps",), methods=("clip",), batch=16), folder, device="cpu")
        summarise_study(folder)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the peaks and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.study_memory", description=__doc__)
    parser.add_argument("--images", type=int, help="one size, in this process")
    options = parser.parse_args()
    if options.images:
        print(peak_mib(options.images))
        return
    command = [sys.executable, "-m", "tests.benchmarks.study_memory", "--images"]
    few, many = (float(subprocess.check_output([*command, str(size)], text=True).split()[-1]) for size in SIZES)
    verdict = "met" if many <= LIMIT * few else "MISSED"
    sizes = f"{SIZES[0]} images {few:.0f} MiB, {SIZES[1]} images {many:.0f} MiB"
    print(f"{sizes}: {many / few:.3f} x  <= {LIMIT} x  {verdict}")


if __name__ == "__main__":
    main()
