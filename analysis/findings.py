"""Three claims of this project, put to the test on toy scenes whose truth is known; figures are published as they come.

    python -m analysis.findings --scenes 200 --write README.md

1. Removing the component of most negative blame raises the contrast of the map more than removing a random one.
2. Blame, which is arithmetic, and ablation, which is causal, agree in rank.
3. The word for an object in a caption points at the object, and the word for the background at the background.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap, spearmanr
from tqdm import tqdm

from analysis.evaluation.toy import FRESH_SEED
from analysis.interventions import iterate_interventions
from analysis.regions import Region
from analysis.tables import replace_section
from analysis.text_tokens import WordHit, compute_token_relevance, leave_one_word_out, word_region_hits
from data.toy import Scene, make_scenes
from surgery import METHODS, Model, dense_features, load_model

SECTION = "findings"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over scenes with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class AblationFinding:
    """What mean-ablating one attention output or MLP does to the contrast of the CLIP map of an object.

    Attributes:
        worst: change of contrast without the component of most negative blame.
        random: the same for one drawn at random (its expectation: the mean over all components).
        difference: worst minus random, paired by scene.
        rank_correlation: Spearman correlation over the components of a scene between the change that blame predicts
            (minus the term) and the change that was measured.
        scenes: how many.
    """

    worst: Estimate
    random: Estimate
    difference: Estimate
    rank_correlation: Estimate
    scenes: int


@dataclass(frozen=True, slots=True)
class WordFinding:
    """How often phrases of a caption point at what they name: share of maps with a flip AUC above 0.5, by chance 0.5.

    Attributes:
        objects: phrases such as "a red circle" against their object.
        backgrounds: the word for the background against the patches without any object.
        source: which maps of the words were used.
        scenes: how many.
    """

    objects: Estimate
    backgrounds: Estimate
    source: str
    scenes: int


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean and 95 % percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13)."""
    data = np.asarray(values, dtype=float)
    if len(data) < 2:
        raise ValueError(f"Expected at least 2 values for an interval, but got {len(data)}")
    found = bootstrap((data,), np.mean, method="percentile", rng=np.random.default_rng(seed), n_resamples=2000)
    return Estimate(float(data.mean()), *(float(end) for end in found.confidence_interval))


def ablation_finding(model: Model, scenes: Sequence[Scene]) -> AblationFinding:
    """Claims 1 and 2, over the first object of every scene."""
    worst, random, ranks = [], [], []
    for scene in tqdm(scenes, desc="ablations", unit="scene", leave=False):
        trace = model.trace(model.preprocess([scene.image]))
        thing = scene.objects[0]
        region = Region.from_mask(thing.mask, trace.grid, name=thing.phrase)
        found = list(iterate_interventions(trace, model.encode_text([thing.phrase]), region))
        changes = [intervention.change for intervention in found]
        worst.append(min(found, key=lambda intervention: intervention.blame).change)
        random.append(float(np.mean(changes)))
        ranks.append(float(spearmanr([-intervention.blame for intervention in found], changes).statistic))
    difference = np.subtract(worst, random)
    return AblationFinding(estimate(worst), estimate(random), estimate(difference), estimate(ranks), len(scenes))


def word_finding(model: Model, scenes: Sequence[Scene], source: str = "token maps") -> WordFinding:
    """Claim 3, with CLIP Surgery's image features.

    Args:
        model: the toy.
        scenes: toy scenes with their captions.
        source: "token maps" (feature surgery over the caption's tokens) or "left out" (what leaving a word out takes
            from the cosine).
    """
    objects, backgrounds = [], []
    for scene in tqdm(scenes, desc=f"words, {source}", unit="scene", leave=False):
        features = dense_features(model.trace(model.preprocess([scene.image])), METHODS["clip_surgery"])
        compute = compute_token_relevance if source == "token maps" else leave_one_word_out
        hits = word_region_hits(compute(model, features, scene.caption), _targets(scene, features.patches.shape[1:3]))
        objects += [_points_at_it(hit) for hit in hits if hit.phrase != scene.background]
        backgrounds += [_points_at_it(hit) for hit in hits if hit.phrase == scene.background]
    return WordFinding(estimate(objects), estimate(backgrounds), source, len(scenes))


def _targets(scene: Scene, grid: tuple[int, int]) -> dict[str, Region]:
    targets = {thing.phrase: Region.from_mask(thing.mask, grid, name=thing.phrase) for thing in scene.objects}
    free = ~np.any([thing.mask for thing in scene.objects], axis=0)
    return {**targets, scene.background: Region.from_mask(free, grid, name=scene.background)}


def _points_at_it(hit: WordHit) -> float:
    return float(hit.auc > 0.5)


def findings_table(ablation: AblationFinding, words: Sequence[WordFinding]) -> str:
    """The findings as a Markdown table."""
    rows = [
        ("change of contrast, component of most negative blame removed", ablation.worst),
        ("change of contrast, random component removed", ablation.random),
        ("the difference of the two", ablation.difference),
        ("rank correlation of blame and ablation within a scene", ablation.rank_correlation),
    ]
    for word in words:
        rows.append((f"object phrases that point at their object ({word.source}; chance 0.5)", word.objects))
        rows.append((f"background words that point at the background ({word.source}; chance 0.5)", word.backgrounds))
    lines = [f"| over {ablation.scenes} fresh toy scenes | mean (95 % bootstrap interval) |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)])


def main() -> None:
    """Prints the table; with --write, puts it into a Markdown file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200, help="number of scenes (default 200)")
    parser.add_argument("--seed", type=int, default=FRESH_SEED, help="seed of the scenes")
    parser.add_argument("--write", type=Path, help="Markdown file with the markers of the section")
    options = parser.parse_args()
    model, scenes = load_model("toy"), make_scenes(options.scenes, options.seed)
    words = [word_finding(model, scenes, source) for source in ("token maps", "left out")]
    table = findings_table(ablation_finding(model, scenes), words)
    print(table)
    if options.write:
        replace_section(options.write, SECTION, table)


if __name__ == "__main__":
    main()
