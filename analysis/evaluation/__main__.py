"""`python -m analysis.evaluation toy` prints the README's table of the toy model."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from analysis.evaluation.toy import SECTION, evaluate_toy, toy_study, toy_table
from analysis.studies.study import FRESH_SEED
from analysis.tables import replace_section


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the options, evaluate, print and write."""
    parser = argparse.ArgumentParser(prog="python -m analysis.evaluation", description=__doc__)
    parser.add_argument("what", choices=("toy",), help="toy: all methods on fresh toy scenes")
    parser.add_argument("--n", type=int, default=200, help="number of scenes, >= 64 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=FRESH_SEED, help="of the scenes (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the study there; the same command then goes on")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between its markers in FILE")
    options = parser.parse_args(arguments)
    try:
        study = toy_study(options.n, options.seed)
        with tqdm(total=options.n, unit="scene", disable=None) as bar:
            report = evaluate_toy(
                study, options.folder, options.device, lambda progress: bar.update(progress.done - bar.n)
            )
        table = toy_table(report)
        print(table)
        if options.write:
            replace_section(options.write, SECTION, table)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
