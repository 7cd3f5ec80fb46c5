"""`python -m analysis.evaluation toy` prints the README's table of the toy model."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from analysis.evaluation.toy import FRESH_SEED, SECTION, evaluate_toy, toy_table
from analysis.tables import replace_section
from surgery import load_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the options, evaluate, print and write."""
    parser = argparse.ArgumentParser(prog="python -m analysis.evaluation", description=__doc__)
    parser.add_argument("what", choices=("toy",), help="toy: all methods on fresh toy scenes")
    parser.add_argument("--n", type=int, default=200, help="number of scenes, >= 64 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=FRESH_SEED, help="of the scenes (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between its markers in FILE")
    options = parser.parse_args(arguments)
    try:
        model = load_model("toy", device=options.device)
        table = toy_table(
            evaluate_toy(model, options.n, options.seed, lambda scenes: tqdm(scenes, unit="scene", disable=None))
        )
        print(table)
        if options.write:
            replace_section(options.write, SECTION, table)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
