"""The README's table of the toy model, a study: `python -m analysis.evaluation toy --write README.md`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from analysis.studies import Progress, Study, run_study, summarise_study
from analysis.studies.measures.retrieval import GROUP
from analysis.studies.study import FRESH_SEED
from data.datasets import ToyScenes
from surgery import METHODS, TITLES, Method
from surgery.method_names import write_method

SECTION = "toy-table"
DEPTH = 6
"""Blocks of the toy."""


@dataclass(frozen=True, slots=True)
class ToyReport:
    """What the table shows.

    Attributes:
        plain: method -> summary of its maps as cosines: quantity -> row.
        surgery: the same with feature surgery over all classes.
        retrieval: quantity -> row.
        study: what was asked for.
    """

    plain: dict[str, pd.DataFrame]
    surgery: dict[str, pd.DataFrame]
    retrieval: pd.DataFrame
    study: Study


def toy_methods() -> dict[str, Method]:
    """Title -> method: the presets, then CLIP Surgery over fewer blocks than published."""
    surgery, title = METHODS["clip_surgery"], TITLES["clip_surgery"]
    depths = range(min(surgery.blocks, DEPTH) - 1, 0, -1)
    presets = {TITLES[name]: method for name, method in METHODS.items() if method.reach <= DEPTH}
    return presets | {f"{title}, last {_count(n, 'block')} only": replace(surgery, blocks=n) for n in depths}


def toy_study(n: int = 200, seed: int = FRESH_SEED) -> Study:
    """The study of the table.

    Args:
        n: number of scenes, at least 64 for the retrieval.
        seed: of the scenes; the toy was trained on others for every seed below `data.toy.train.FIRST_TRAINING_SEED`.

    Raises:
        ValueError: too few scenes.
    """
    if n < GROUP:
        raise ValueError(f"Expected n to be at least {GROUP} scenes, among which captions are told apart, but got {n}")
    methods = tuple(write_method(method) for method in toy_methods().values())
    return Study(data=f"toy:{n}", methods=methods, measures=("maps", "maps_surgery", "retrieval"), seed=seed)


def evaluate_toy(
    study: Study, folder: Path | None = None, device: str = "cpu", progress: Callable[[Progress], None] | None = None
) -> ToyReport:
    """Runs the study, in a folder that is kept or in one that is not."""
    with TemporaryDirectory() as temporary:
        place = folder or Path(temporary) / "toy"
        run_study(study, place, device=device, progress=progress)
        found = summarise_study(place)
    maps, surgery = (
        {name: part.set_index("quantity") for name, part in found[measure].groupby("method")}
        for measure in ("maps", "maps_surgery")
    )
    return ToyReport(maps, surgery, found["retrieval"].set_index("quantity"), study)


def toy_table(report: ToyReport) -> str:
    """The report as Markdown."""
    first = next(iter(report.plain.values())).loc["flip_auc"]
    classes, retrieval = len(ToyScenes(0).classes) - 1, report.retrieval["mean"]
    lines = [
        f"{first['rows']} objects in {first['images']} fresh scenes (seed {report.study.seed}). Right: with feature "
        f"surgery over all {classes} classes. A negative mSC and a flip AUC below 0.5 mean that the map lights up the "
        "background.",
        "",
        "| method | mSC | flip AUC | mSC, feature surgery | flip AUC, feature surgery |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for title, name in zip(toy_methods(), report.study.methods, strict=True):
        means = [part[name]["mean"] for part in (report.plain, report.surgery)]
        cells = [f"{100 * mean['score_contrast']:+.1f} % | {mean['flip_auc']:.2f}" for mean in means]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        f"The right caption among {GROUP} comes first for {retrieval[f'image_to_text_of_{GROUP}']:.1%} of the scenes, "
        f"the right scene for {retrieval[f'text_to_image_of_{GROUP}']:.1%} of the captions "
        f"({report.retrieval.loc[f'image_to_text_of_{GROUP}', 'images']} scenes).",
    ]
    return "\n".join(lines)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
