"""`python -m tests.soak.studies`: a study killed (-9) at random moments ends as an undisturbed one, to the bit.

A life begins when the process has its model and starts to measure; it is killed after a random share of the time that
the undisturbed run took, so that kills meet reading, measuring, writing and the beginning of each.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from analysis.studies import Study, run_study, summarise_study
from analysis.studies.folder import PARTS
from tests.conftest import ROOT

COMMAND = """
import sys, torch
torch.set_num_threads(1)
from analysis.studies import Study, run_study
study = Study(**{arguments!r})
run_study(study, {folder!r}, device="cpu", progress=lambda progress: print(progress.measured, flush=True))
"""


def study_arguments(images: int) -> dict[str, object]:
    """Toy scenes in parts of 32 images."""
    return {"data": f"toy:{images}", "measures": ("maps", "layers"), "methods": ("clip", "clip_surgery"), "batch": 8}


def one_life(arguments: dict[str, object], folder: Path, seconds: float | None) -> tuple[bool, int]:
    """Runs the study in a process, killed so many seconds after its first batch; None lets it end.

    Returns:
        Whether it was killed, and how many images it measured.
    """
    command = [sys.executable, "-c", COMMAND.format(arguments=arguments, folder=str(folder))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        if seconds is not None:
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        lines = [first, *process.stdout]
        process.wait()
    return process.returncode == -signal.SIGKILL, max((int(line) for line in lines if line.strip()), default=0)


def stamps(folder: Path) -> dict[str, int]:
    """Part -> when it was written."""
    place = folder / PARTS
    names = [name for name in os.listdir(place) if not name.startswith(".")] if place.is_dir() else []
    return {name: (place / name).stat().st_mtime_ns for name in names}


def main() -> int:
    """Print a line a life, and whether the summaries are the same; 1 where they are not."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.studies", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--images", type=int, default=1600, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments, arguments = random.Random(options.seed), study_arguments(options.images)
    kills = repeated = 0
    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = Path(temporary) / "whole", Path(temporary) / "killed"
        start = time.perf_counter()
        run_study(Study(**arguments), whole, device="cpu")
        most = (time.perf_counter() - start) / options.kills
        alive = True
        while alive and kills < options.kills:
            before = stamps(killed)
            alive, measured = one_life(arguments, killed, moments.uniform(0, 1.6 * most))
            kills += alive
            after = stamps(killed)
            assert {name: after[name] for name in before} == before, "a part that was done was written again"
            repeated = max(repeated, measured - 32 * (len(after) - len(before)))
            print(f"kill {kills}: {len(after)} parts done, {measured} images measured", flush=True)
        one_life(arguments, killed, None)
        for name, table in summarise_study(whole).items():
            pd.testing.assert_frame_equal(table, summarise_study(killed)[name], check_exact=True)
        leftovers = list((killed / PARTS).glob(".*"))
    print(f"{kills} kills: summaries identical, at most {repeated} images of a part lost a kill, {leftovers=}")
    return 0 if kills == options.kills and repeated <= 32 and not leftovers else 1


if __name__ == "__main__":
    sys.exit(main())
