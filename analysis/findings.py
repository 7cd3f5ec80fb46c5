"""Three claims of this project, put to the test on toy scenes whose truth is known; figures are published as they come.

    python -m analysis.findings --scenes 200 --write README.md

1. Removing the component of most negative blame raises the contrast of the map more than removing a random one.
2. Blame, which is arithmetic, and ablation, which is causal, agree in rank.
3. The word for an object in a caption points at the object, and the word for the background at the background.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from tqdm import tqdm

from analysis.studies import Study, run_study, summarise_study
from analysis.studies.study import FRESH_SEED
from analysis.tables import replace_section

SECTION = "findings"
ABLATION = {
    "worst": "change of contrast, component of most negative blame removed",
    "random": "change of contrast, random component removed",
    "worst_minus_random": "the difference of the two",
    "rank_correlation": "rank correlation of blame and ablation within a map",
}
SIDES = {
    "object": "object phrases that point at their object",
    "background": "background words that point at the background",
}


def findings_study(scenes: int, seed: int = FRESH_SEED) -> Study:
    """The study behind the table: every object of every scene."""
    return Study(data=f"toy:{scenes}", methods=("clip",), measures=("ablation", "words"), seed=seed)


def findings_table(folder: Path) -> str:
    """The findings of a finished `findings_study` as a Markdown table."""
    found = summarise_study(folder)
    ablation, words = found["ablation"].set_index("quantity"), found["words"]
    rows = [(title, ablation.loc[name]) for name, title in ABLATION.items()]
    points = words[words["quantity"] == "points_at_it"]
    for source in dict.fromkeys(points["source"]):
        for side, title in SIDES.items():
            (row,) = (row for _, row in points.iterrows() if (row["source"], row["of"]) == (source, side))
            rows.append((f"{title} ({source}; chance 0.5)", row))
    first = ablation.loc["worst"]
    head = f"| {first['rows']} objects in {first['images']} fresh toy scenes | mean (95 % bootstrap interval) |"
    lines = [head, "|---|---|"]
    return "\n".join([*lines, *(f"| {title} | {_estimate(row)} |" for title, row in rows)])


def _estimate(row: pd.Series) -> str:
    return f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def main() -> None:
    """Prints the table; with --write, puts it into a Markdown file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200, help="number of scenes (default 200)")
    parser.add_argument("--seed", type=int, default=FRESH_SEED, help="seed of the scenes")
    parser.add_argument("--write", type=Path, help="Markdown file with the markers of the section")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary, tqdm(total=options.scenes, unit="scene", disable=None) as bar:
        folder = Path(temporary) / "findings"
        study = findings_study(options.scenes, options.seed)
        run_study(study, folder, progress=lambda progress: bar.update(progress.done - bar.n))
        table = findings_table(folder)
    print(table)
    if options.write:
        replace_section(options.write, SECTION, table)


if __name__ == "__main__":
    main()
