"""The README's table of explanations on toy scenes, a study: `python -m analysis.evaluation explanations`."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from analysis.evaluation.toy import DEPTH
from analysis.explainers import EXPLAINERS
from analysis.judging import BASELINES
from analysis.studies import Progress, Study, run_study, summarise_study
from analysis.studies.measures.explanations import STEPS
from analysis.studies.study import FRESH_SEED
from surgery import METHODS, TITLES

SECTION = "explanations-table"
COLUMNS = {
    "score_contrast": "mSC, %",
    "flip_auc": "flip AUC",
    "pointing": "pointing",
    "insertion": "insertion",
    "deletion": "deletion",
}
FORMS = {"score_contrast": (100, "+.0f"), "insertion": (1, ".3f"), "deletion": (1, ".3f")}
HEADINGS = {"method": "methods", "explainer": "explainers", "baseline": "baselines"}


def explained_study(n: int = 200, seed: int = FRESH_SEED) -> Study:
    """Every preset that fits the toy, and every explainer.

    Args:
        n: number of scenes.
        seed: of the scenes, see `analysis.evaluation.toy.toy_study`.
    """
    methods = tuple(name for name, method in METHODS.items() if method.reach <= DEPTH)
    return Study(data=f"toy:{n}", methods=methods, measures=("explanations", "insertion"), seed=seed)


def evaluate_explained(
    study: Study, folder: Path | None = None, device: str = "cpu", progress: Callable[[Progress], None] | None = None
) -> pd.DataFrame:
    """Runs the study, in a folder that is kept or in one that is not, and summarises both measures in one table."""
    with TemporaryDirectory() as temporary:
        place = folder or Path(temporary) / "explanations"
        run_study(study, place, device=device, progress=progress)
        return pd.concat(summarise_study(place).values(), ignore_index=True)


def explained_table(summary: pd.DataFrame) -> str:
    """The summary as Markdown: a row an explanation, means with 95 % intervals over images."""
    first = summary[summary["quantity"] == "flip_auc"].iloc[0]
    lines = [
        f"{first['rows']} objects in {first['images']} fresh scenes; in brackets 95 % intervals over scenes "
        f"(bootstrap). Insertion and deletion are areas under the cosine at {STEPS + 1} points: more is better for "
        "insertion, less for deletion.",
        "",
        f"| explanation | {' | '.join(COLUMNS.values())} |",
        f"| --- |{' ---: |' * len(COLUMNS)}",
    ]
    for group, heading in HEADINGS.items():
        own = summary[summary["group"] == group]
        lines.append(f"| *{heading}* |{' |' * len(COLUMNS)}")
        for name, part in own.groupby("explanation", sort=False):
            figures = part.set_index("quantity")
            lines.append(f"| {_title(str(name))} | {' | '.join(_cell(figures.loc[key]) for key in COLUMNS)} |")
    return "\n".join(lines)


def _title(name: str) -> str:
    if name in EXPLAINERS:
        return EXPLAINERS[name].title
    return BASELINES.get(name) or TITLES.get(name, name)


def _cell(row: pd.Series) -> str:
    scale, form = FORMS.get(str(row.name), (1, ".2f"))
    mean, low, high = (format(scale * row[end], form) for end in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
