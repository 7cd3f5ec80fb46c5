"""The README's table of the toy model: `python -m analysis.evaluation toy --write README.md`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from analysis.evaluation.maps import MapScores, MapSettings, evaluate_maps
from analysis.evaluation.recognition import Retrieval, evaluate_retrieval
from data.datasets import Sample, ToyScenes
from surgery import METHODS, TITLES, Method, Model, usable_methods

FRESH_SEED = 20_000
"""Of the scenes in the README: none that the toy was trained on."""
SECTION = "toy-table"

Progress = Callable[[Iterable[Sample]], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class ToyReport:
    """What the table shows.

    Attributes:
        plain: title -> maps of one method as cosines.
        surgery: title -> the same with feature surgery over all classes.
        retrieval: of captions.
        n, seed: number and seed of the scenes.
    """

    plain: dict[str, MapScores]
    surgery: dict[str, MapScores]
    retrieval: Retrieval
    n: int
    seed: int


def toy_methods(model: Model) -> dict[str, Method]:
    """Title -> method: the presets, then CLIP Surgery over fewer blocks than published."""
    presets = {TITLES[name]: method for name, method in usable_methods(model.tower).items()}
    surgery = METHODS["clip_surgery"]
    depths = range(min(surgery.blocks, len(model.tower.blocks)) - 1, 0, -1)
    title = TITLES["clip_surgery"]
    return presets | {f"{title}, last {_count(n, 'block')} only": replace(surgery, blocks=n) for n in depths}


def evaluate_toy(model: Model, n: int = 200, seed: int = 0, progress: Progress = iter) -> ToyReport:
    """Scores every method on fresh toy scenes.

    Args:
        model: the toy, or any other model.
        n: number of scenes, at least 64 for the retrieval.
        seed: of the scenes; the toy was trained on others for every seed below `data.toy.train.FIRST_TRAINING_SEED`.
        progress: wraps the scenes, such as `tqdm.tqdm`.
    """
    scenes, methods = ToyScenes(n, seed), toy_methods(model)
    plain, surgery = (
        evaluate_maps(model, progress(scenes), methods, MapSettings(feature_surgery=on)) for on in (False, True)
    )
    return ToyReport(plain, surgery, evaluate_retrieval(model, scenes), n, seed)


def toy_table(report: ToyReport) -> str:
    """The report as Markdown."""
    first, classes = next(iter(report.plain.values())), len(ToyScenes(0).classes) - 1
    retrieval = report.retrieval
    lines = [
        f"{first.maps} objects in {report.n} fresh scenes (seed {report.seed}). Right: with feature surgery over all "
        f"{classes} classes. A negative mSC and a flip AUC below 0.5 mean that the map lights up the background.",
        "",
        "| method | mSC | flip AUC | mSC, feature surgery | flip AUC, feature surgery |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for title, scores in report.plain.items():
        cells = [f"{s.msc:+.1f} % | {s.flip_auc:.2f}" for s in (scores, report.surgery[title])]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        f"The right caption among {retrieval.batch} comes first for {retrieval.image_to_text:.1%} of the scenes, the "
        f"right scene for {retrieval.text_to_image:.1%} of the captions ({retrieval.images} scenes).",
    ]
    return "\n".join(lines)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
