"""Is the map flipped, where did its sign turn, which component wrote it, and what does every method do about it?"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image
from torch import Tensor

from analysis import flip_words
from analysis.alpha import alpha_curve, has_alpha_curve
from analysis.decomposition import Blame, Component, decompose
from analysis.interventions import Intervention, iterate_interventions
from analysis.lens import logit_lens, turning_layer
from analysis.metrics import contrast, flip_auc, score_contrast
from analysis.regions import Region
from analysis.uncertainty import Interval, auc_interval
from data.geometry import Framing
from data.images import to_rgb
from surgery import METHODS, Method, Model, Trace, dense_features, similarity, usable_methods
from surgery.dense import Walk, fit_method
from surgery.methods import POSITION_INTERPOLATIONS

CULPRITS = 5
CRITICAL_KINDS = ("qk", "vv", "qq", "kk")
"""Kinds of the last block's attention whose critical alpha a report holds."""
UNTRAINED = (None, "random")
"""`Model.pretrained` of weights that were drawn, not learned."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """A component that pulls the contrast of the CLIP map down.

    Attributes:
        component: head, MLP or other part.
        blame: what it adds to the contrast, negative.
    """

    component: Component
    blame: float

    @property
    def label(self) -> str:
        """Short name of the component."""
        return self.component.label


@dataclass(frozen=True, slots=True)
class MethodReading:
    """What one method's map says of the region.

    Attributes:
        method: as the tower carried it out.
        contrast: mean raw cosine over foreground minus background.
        score_contrast: the same of the min-max normalised map, in [-1, 1].
        flip_auc: probability that a foreground patch outscores a background one; below 0.5 the map is flipped.
        values: (gh, gw) the cosines.
        interval: of the flip AUC, see `analysis.uncertainty`.
    """

    method: Method
    contrast: float
    score_contrast: float
    flip_auc: float
    values: np.ndarray
    interval: Interval


@dataclass(frozen=True, slots=True)
class FlipReport:
    """Everything `diagnose` found about one image and one text.

    Attributes:
        text: the prompt.
        model: name of the model.
        region: what should light up.
        readings: per method, the map and its figures.
        lens_contrast: (L + 1,) contrast of the logit lens at every depth; empty for a ResNet, which has none.
        turning_layer: depth from which on the contrast keeps its final sign, see `analysis.lens.turning_layer`.
        blame: the decomposition of the original path, one term per head and MLP.
        culprits: up to five components of most negative blame, worst first.
        interventions: what removing components did; empty unless asked for.
        random_weights: whether the model was never trained, so that its map says nothing of the text.
        critical_alpha: per kind of `CRITICAL_KINDS`, the factor of the last block's attention at which the contrast
            changes its sign, residual kept and no MLP; NaN where no factor does. Empty where there is no closed form.
        contrast_without_attention: the contrast at factor 0, from where `critical_alpha` is reached; NaN without any.
    """

    text: str
    model: str
    region: Region
    readings: Mapping[str, MethodReading]
    lens_contrast: np.ndarray
    turning_layer: int | None
    blame: Blame
    culprits: tuple[Culprit, ...]
    interventions: tuple[Intervention, ...] = ()
    random_weights: bool = False
    critical_alpha: Mapping[str, float] = field(default_factory=dict)
    contrast_without_attention: float = float("nan")

    @property
    def contrast(self) -> dict[str, float]:
        """Contrast per method."""
        return {name: reading.contrast for name, reading in self.readings.items()}

    @property
    def flip_auc(self) -> dict[str, float]:
        """Flip AUC per method."""
        return {name: reading.flip_auc for name, reading in self.readings.items()}

    @property
    def score_contrast(self) -> dict[str, float]:
        """Score contrast per method."""
        return {name: reading.score_contrast for name, reading in self.readings.items()}

    @property
    def verdict(self) -> str:
        """ "Flipped", "Not flipped" or, where the evidence does not carry either, "Cannot tell"."""
        return flip_words.verdict(self)

    @property
    def explanation(self) -> str:
        """Some sentences after the verdict, built from the figures."""
        return flip_words.explanation(self)

    @property
    def summary(self) -> str:
        """The verdict and its explanation."""
        return f"{self.verdict}. {self.explanation}"

    def headline(self, part: Component | None = None) -> str:
        """One line: verdict, flip AUC, what a component writes of the contrast, and the best method.

        Args:
            part: a component of `blame` or of its merged form; None for the worst one.
        """
        return flip_words.headline(self, part)


def diagnose(
    model: Model,
    image: Image.Image,
    text: str,
    region: Region | np.ndarray | Tensor,
    methods: Mapping[str, Method] | None = None,
    *,
    templates: str = "none",
    size: int | tuple[int, int] | None = None,
    fit: str = "stretch",
    ablate: bool = False,
    position_interpolation: str | None = None,
) -> FlipReport:
    """Examines the map of one text on one image.

    Args:
        model: see `surgery.load_model`.
        image: PIL image.
        text: the prompt that should light up the region.
        region: a `Region` on the grid of the input, or a pixel mask (H, W) of the image's size for `Region.from_mask`.
        methods: name -> method; None for all presets that have a meaning for the tower. CLIP is always read.
        templates: prompt templates, see `surgery.prompts`.
        size: input size as in `Model.preprocess`; None for the native one, where one pass serves all methods.
        fit: how the image is brought to the input, as in `Model.preprocess`; a pixel mask follows.
        ablate: also remove every attention output and every MLP in turn, at about half a pass each.
        position_interpolation: off the native size, None carries out every method with its own, one pass for each; a
            name, such as "bicubic", gives all methods this one and needs one pass. Readings name what they had.

    Raises:
        ValueError: an empty prompt, a region that does not fit the image or the grid, a method without meaning for the
            tower.
    """
    if not text.strip():
        raise ValueError(f"Expected text to be a non-empty prompt, but got {text!r}")
    if position_interpolation not in (None, *POSITION_INTERPOLATIONS):
        choices = ", ".join(POSITION_INTERPOLATIONS)
        raise ValueError(f"Expected position_interpolation to be None, {choices}, but got {position_interpolation!r}")
    methods = usable_methods(model.tower) if methods is None else {"clip": METHODS["clip"], **methods}
    if position_interpolation is not None:
        methods = {n: replace(m, position_interpolation=position_interpolation) for n, m in methods.items()}
    image = to_rgb(image)
    pixels = model.preprocess([image], size, fit=fit)
    region = _as_region(region, model.framing(image.size[::-1], size, fit), model.tower.grid_of(pixels), text)
    feature = model.encode_text([text], templates)
    passes = _Passes(model, pixels)
    readings = {name: _read(passes, feature, region, method) for name, method in methods.items()}
    trace = passes.trace(methods["clip"])
    untrained = model.pretrained in UNTRAINED
    return examine(trace, feature, region, readings, text=text, ablate=ablate, random_weights=untrained)


def examine(
    trace: Trace,
    feature: Tensor,
    region: Region,
    readings: Mapping[str, MethodReading] | None = None,
    *,
    text: str = "the text",
    ablate: bool = False,
    random_weights: bool = False,
) -> FlipReport:
    """`diagnose` from a recorded pass: what the dashboard calls, which has the trace already.

    Args:
        trace: one image, every block kept.
        feature: (1, d) text feature.
        region: what should light up, on the grid of the trace.
        readings: per method; None reads all presets that have a meaning for the tower from this trace.
        text: the prompt, for the summary.
        ablate: see `diagnose`.
        random_weights: whether the model was never trained.
    """
    if readings is None:
        usable = usable_methods(trace.tower)
        readings = {name: read_method(trace, feature, region, method) for name, method in usable.items()}
    lens = logit_lens(trace, feature).contrast(region)[0, :, 0] if trace.tower.has_residual else np.zeros(0, np.float32)
    blame = decompose(trace, feature, METHODS["clip"])
    removed = tuple(iterate_interventions(trace, feature, region)) if ablate else ()
    turn = turning_layer(lens) if len(lens) else None
    worst = find_culprits(blame, region)
    critical, bare = critical_alphas(trace, feature, region)
    found = FlipReport(text, trace.model, region, readings, lens, turn, blame, worst, removed, random_weights)
    return replace(found, critical_alpha=critical, contrast_without_attention=bare)


def critical_alphas(trace: Trace, feature: Tensor, region: Region) -> tuple[dict[str, float], float]:
    """`FlipReport.critical_alpha` and `FlipReport.contrast_without_attention` of one image and one text."""
    methods = {kind: Method(kind, mlp=False) for kind in CRITICAL_KINDS}
    if not has_alpha_curve(trace.tower, methods["qk"]):
        return {}, float("nan")
    walk = Walk(trace)
    curves = {kind: alpha_curve(trace, feature, method, walk=walk) for kind, method in methods.items()}
    bare = float(curves["qk"].contrasts(0.0, region)[0, 0, 0])
    return {kind: float(curve.critical_contrast(region)[0, 0]) for kind, curve in curves.items()}, bare


def read_method(trace: Trace, feature: Tensor, region: Region, method: Method) -> MethodReading:
    """The map of one text by one method, and its figures over the region."""
    values = similarity(dense_features(trace, method), feature).patches[0, :, :, 0].cpu().numpy()
    return judge_map(fit_method(trace.tower, method), values, region)


def judge_map(method: Method, values: np.ndarray, region: Region) -> MethodReading:
    """A method's map (gh, gw) with its figures over the region."""
    figures = (contrast(values, region), score_contrast(values, region), flip_auc(values, region))
    return MethodReading(method, *figures, values, auc_interval(values, region))


def find_culprits(blame: Blame, region: Region, count: int = CULPRITS) -> tuple[Culprit, ...]:
    """The components of most negative blame for the contrast of the first text, worst first."""
    terms = blame.contrast(region)[0, :, 0]
    worst = [i for i in np.argsort(terms, kind="stable")[:count] if terms[i] < 0]
    return tuple(Culprit(blame.components[i], float(terms[i])) for i in worst)


class _Passes:
    """The recorded passes of one image, one per position interpolation that matters."""

    def __init__(self, model: Model, pixels: Tensor) -> None:
        self.model, self.pixels = model, pixels
        self.native = model.tower.grid_of(pixels) == tuple(model.tower.native_grid)
        self._traces: dict[str, Trace] = {}

    def trace(self, method: Method) -> Trace:
        mode = "bicubic" if self.native else method.position_interpolation
        if mode not in self._traces:
            self._traces[mode] = self.model.trace(self.pixels, mode)
        return self._traces[mode]


def _read(passes: _Passes, feature: Tensor, region: Region, method: Method) -> MethodReading:
    return read_method(passes.trace(method), feature, region, method)


def _as_region(region: Region | np.ndarray | Tensor, framing: Framing, grid: tuple[int, int], name: str) -> Region:
    if not isinstance(region, Region):
        return Region.from_mask(region, grid, image_size=framing.image_px, name=name, framing=framing)
    if region.grid != tuple(grid):
        raise ValueError(f"Expected region to be on the grid {tuple(grid)} of the input, but got {region.grid}")
    return region
