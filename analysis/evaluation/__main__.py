"""`python -m analysis.evaluation toy|explanations` prints tables of the README on the toy model."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from analysis.evaluation.explained import SECTION as EXPLAINED_SECTION
from analysis.evaluation.explained import evaluate_explained, explained_study, explained_table
from analysis.evaluation.toy import SECTION, evaluate_toy, toy_study, toy_table
from analysis.studies.study import FRESH_SEED
from analysis.tables import replace_section


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the options, evaluate, print and write."""
    parser = argparse.ArgumentParser(prog="python -m analysis.evaluation", description=__doc__)
    parser.add_argument("what", choices=("toy", "explanations"), help="all methods, or all explanations, on toy scenes")
    parser.add_argument("--n", type=int, default=200, help="number of scenes, for toy >= 64 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=FRESH_SEED, help="of the scenes (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the study there; the same command then goes on")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between its markers in FILE")
    options = parser.parse_args(arguments)
    try:
        chosen = options.what == "explanations"
        study = (explained_study if chosen else toy_study)(options.n, options.seed)
        evaluate = evaluate_explained if chosen else evaluate_toy
        with tqdm(total=options.n, unit="scene", disable=None) as bar:
            report = evaluate(study, options.folder, options.device, lambda progress: bar.update(progress.done - bar.n))
        table = explained_table(report) if chosen else toy_table(report)
        print(table)
        if options.write:
            replace_section(options.write, EXPLAINED_SECTION if chosen else SECTION, table)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
