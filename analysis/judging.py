"""Which map explains the model best? Every method and explainer of one image and text, by five figures, side by side.

score contrast, flip AUC, pointing    whether the map lights up the object; they need a region, and judge the model
                                      together with the map: a faithful map of a model that looks elsewhere scores low
insertion, deletion                   whether the cosine rises and falls as what the map puts first is shown and hidden;
                                      they need no region

Known weaknesses, which no figure here escapes: images with hidden patches are unlike what the model was trained on, so
insertion and deletion mix what the map knows with how the model takes a hole (Hooker et al. 2019, "A Benchmark for
Interpretability Methods in Deep Neural Networks", arXiv 1806.10758), and they move with what is put in the hole; both
favour maps in one piece. Pointing looks at one patch and favours the centre, where photographs have their subject.
Score contrast follows the single lowest and highest value. So two baselines stand beside the maps: "random", which
orders the patches by a seed, and "centre", nearer the middle being better; what does not beat them says nothing.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

from analysis.explainers import EXPLAINERS, explain, usable_explainers
from analysis.explainers.explanation import start_pass
from analysis.insertion import InsertionDeletion, end_scores, insertion_deletion
from analysis.metrics import flip_auc, pointing_game, score_contrast
from analysis.passes import iterate_walks
from analysis.regions import Region
from surgery import TITLES, Method, Model, similarity, usable_methods
from surgery.dense import dense_features_of, fit_method
from surgery.graph import cosines
from surgery.maps import TiedMapWarning

GROUPS = ("method", "explainer", "baseline")
BASELINES: dict[str, str] = {"random": "Random order", "centre": "Nearness to the centre"}
FIGURES: dict[str, bool] = {
    "score_contrast": True, "flip_auc": True, "pointing": True, "insertion": True, "deletion": False,
}  # fmt: skip
"""The figures of a table, and whether more is better."""
BATCH = 32
"""Images with hidden patches that go through the model together."""


@dataclass(frozen=True, slots=True, eq=False)
class ExplanationMap:
    """The maps of one explanation for t texts.

    Attributes:
        group: one of `GROUPS`.
        title: as its paper writes it.
        unit: what the numbers are.
        values: (gh, gw, t).
    """

    group: str
    title: str
    unit: str
    values: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class JudgedMap:
    """One explanation of one text, judged.

    Attributes:
        name: of a method, an explainer or one of `BASELINES`.
        map: what was judged; t is 1.
        score_contrast, flip_auc, pointing: see `analysis.metrics`; NaN without region.
        curves: insertion and deletion; None where they were not asked for.
        constant: whether the map has one value everywhere and so orders nothing, as a relevance that is zero.
    """

    name: str
    map: ExplanationMap
    score_contrast: float
    flip_auc: float
    pointing: float
    curves: InsertionDeletion | None
    constant: bool


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """All explanations of one image and text.

    Attributes:
        maps: judged, methods first, baselines last.
        cosine: of the image with the text, the last point of every insertion curve.
        model: name of the model.
    """

    maps: tuple[JudgedMap, ...]
    cosine: float
    model: str

    def table(self) -> pd.DataFrame:
        """A row a map: group, name, title, unit, the `FIGURES` and whether it is constant."""
        rows = [
            {
                "group": judged.map.group,
                "name": judged.name,
                "title": judged.map.title,
                "unit": judged.map.unit,
                "score_contrast": judged.score_contrast,
                "flip_auc": judged.flip_auc,
                "pointing": judged.pointing,
                "insertion": np.nan if judged.curves is None else judged.curves.insertion_auc,
                "deletion": np.nan if judged.curves is None else judged.curves.deletion_auc,
                "constant": judged.constant,
            }
            for judged in self.maps
        ]
        return pd.DataFrame(rows)


def judge_explanations(
    model: Model,
    pixels: Tensor,
    text: Tensor,
    region: Region | None = None,
    *,
    methods: Mapping[str, Method] | None = None,
    explainers: Sequence[str] | None = None,
    steps: int = 28,
    seed: int = 0,
) -> Judgement:
    """Judges every method and explainer by one image and text, with a random and a centred map beside them.

    Args:
        model: see `surgery.load_model`.
        pixels: (1, 3, H, W) or (3, H, W) from `model.preprocess`.
        text: (d,) or (1, d) text feature.
        region: where the text is; None leaves insertion and deletion only.
        methods: name -> method; None takes the classic presets that have a meaning for the tower.
        explainers: names; None takes all that have a meaning for the tower.
        steps: points of the insertion and deletion curves after the first; 0 leaves them out. Each costs two passes a
            map.
        seed: of the random map.

    Raises:
        ValueError: more than one image or text, an unknown name, or a region of another grid.
    """
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    text = text.reshape(-1, text.shape[-1])
    if len(pixels) != 1 or len(text) != 1:
        raise ValueError(f"Expected one image and one text, but got {len(pixels)} and {len(text)}")
    methods = usable_methods(model.tower) if methods is None else methods
    names = usable_explainers(model.tower) if explainers is None else explainers
    found = explanation_maps(model, pixels, text, methods, names, seed)
    judge = Judge(model, pixels, text)
    maps = tuple(iterate_judged(judge, found, region, steps))
    return Judgement(maps, float(judge.cosines(pixels)[0, 0]), model.name)


def iterate_judged(
    judge: "Judge", maps: Mapping[str, ExplanationMap], region: Region | None, steps: int
) -> Iterator[JudgedMap]:
    """Every map judged by the first text of the judge, one after the other; arguments as in `judge_explanations`."""
    for name, one in maps.items():
        values = one.values[..., 0]
        curves = judge.curves(0, {name: values}, steps)[name] if steps else None
        constant = bool(values.min() == values.max())
        yield JudgedMap(name=name, map=one, curves=curves, constant=constant, **figures_of(values, region))


def explanation_maps(
    model: Model,
    pixels: Tensor,
    text: Tensor,
    methods: Mapping[str, Method],
    explainers: Sequence[str],
    seed: int = 0,
) -> dict[str, ExplanationMap]:
    """Name -> maps of one image for all texts: methods, explainers, then `BASELINES`.

    Args:
        model: see `surgery.load_model`.
        pixels: (1, 3, H, W).
        text: (t, d).
        methods: name -> method.
        explainers: names of explainers.
        seed: of the random map.
    """
    fitted = {name: fit_method(model.tower, method) for name, method in methods.items()}
    own: dict[str, ExplanationMap] = {}
    for walk, some in iterate_walks(model, pixels, fitted):
        for name, method in some.items():
            cosine = similarity(dense_features_of(walk, method), text).patches[0].cpu().numpy()
            own[name] = ExplanationMap("method", TITLES.get(name, name), "cosine", cosine)
    found = {name: own[name] for name in methods}
    for name in explainers:
        patches = explain(model, pixels, text, name).patches[0]
        found[name] = ExplanationMap("explainer", EXPLAINERS[name].title, EXPLAINERS[name].unit, patches)
    for name, values in baseline_maps(model.tower.grid_of(pixels), len(text), seed).items():
        found[name] = ExplanationMap("baseline", BASELINES[name], "order", values)
    return found


def baseline_maps(grid: tuple[int, int], texts: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The maps of `BASELINES`, (gh, gw, t) each."""
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in grid)
    centre = -np.hypot(rows[:, None] / grid[0], columns / grid[1])
    order = np.random.default_rng(seed).random((*grid, texts))
    return {"random": order, "centre": np.repeat(centre[..., None], texts, axis=2)}


class Judge:
    """Insertion and deletion of any number of maps of one image.

    Args:
        model: half precision is judged in float32.
        pixels: (1, 3, H, W).
        text: (t, d).
    """

    def __init__(self, model: Model, pixels: Tensor, text: Tensor) -> None:
        with torch.inference_mode(False):
            self._run = start_pass(model, pixels, text, "bicubic")
        self._ends: dict[int, np.ndarray] = {}
        self._known: dict[tuple[int, int, bytes], InsertionDeletion] = {}

    @torch.inference_mode()
    def cosines(self, pixels: Tensor) -> Tensor:
        """The model's own cosines (n, t) of images (n, 3, H, W) of this size."""
        return cosines(self._run.encode(pixels.to(self._run.pixels)), self._run.text)

    def curves(self, text: int, maps: Mapping[str, np.ndarray], steps: int) -> dict[str, InsertionDeletion]:
        """Curves by name for one of the texts and maps (gh, gw); maps of one order are followed once."""
        score = lambda x: self.cosines(x)[:, text]  # noqa: E731
        pixels = self._run.pixels[0]
        if text not in self._ends:
            self._ends[text] = end_scores(score, pixels)
        orders = {name: (text, steps, rankdata(values).tobytes()) for name, values in maps.items()}
        for name, values in maps.items():
            if orders[name] not in self._known:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", TiedMapWarning)  # `JudgedMap.constant` says it
                    settings = {"steps": min(steps, values.size), "batch_size": BATCH, "ends": self._ends[text]}
                    self._known[orders[name]] = insertion_deletion(score, pixels, values, **settings)
        return {name: self._known[order] for name, order in orders.items()}


def figures_of(values: np.ndarray, region: Region | None) -> dict[str, float]:
    """Score contrast, flip AUC and pointing of a map (gh, gw); NaN without region."""
    if region is None:
        return dict.fromkeys(("score_contrast", "flip_auc", "pointing"), float("nan"))
    return {
        "score_contrast": score_contrast(values, region),
        "flip_auc": flip_auc(values, region),
        "pointing": pointing_game(values, region),
    }


def iterate_best(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(figure, name of the map that is best by it) of a table of `Judgement.table`; none where all are NaN."""
    for figure, more in FIGURES.items():
        column = table[figure].dropna()
        if len(column):
            yield figure, str(table.loc[column.idxmax() if more else column.idxmin(), "name"])
