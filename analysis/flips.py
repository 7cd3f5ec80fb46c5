"""Is the map flipped, where did its sign turn, which component wrote it, and what does every method do about it?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from analysis.decomposition import Blame, Component, decompose
from analysis.interventions import Intervention, iterate_interventions
from analysis.lens import logit_lens, turning_layer
from analysis.metrics import contrast, flip_auc, score_contrast
from analysis.regions import Region
from data.geometry import Framing
from data.images import to_rgb
from surgery import METHODS, TITLES, Method, Model, Trace, dense_features, similarity, usable_methods
from surgery.dense import fit_method

CULPRITS = 5


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
    """

    method: Method
    contrast: float
    score_contrast: float
    flip_auc: float
    values: np.ndarray


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
        """Whether the CLIP map is flipped, which its flip AUC decides, and whether its contrast says the opposite."""
        clip = self.readings["clip"]
        state = "Flipped" if clip.flip_auc < 0.5 else "Not flipped"
        return f"{state}, but AUC and contrast disagree" if _disagree(clip) else state

    @property
    def explanation(self) -> str:
        """Three or four sentences after the verdict, built from the figures."""
        parts = [_figures(self), _turn(self), _blamed(self), _remedy(self)]
        return " ".join(part for part in parts if part)

    @property
    def summary(self) -> str:
        """The verdict and its explanation."""
        return f"{self.verdict}. {self.explanation}"


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
) -> FlipReport:
    """Examines the map of one text on one image.

    Args:
        model: see `surgery.load_model`.
        image: PIL image.
        text: the prompt that should light up the region.
        region: a `Region` on the grid of the input, or a pixel mask (H, W) of the image's size for `Region.from_mask`.
        methods: name -> method; None for all presets that have a meaning for the tower. CLIP is always read.
        templates: prompt templates, see `surgery.prompts`.
        size: input size as in `Model.preprocess`; None for the native one. One pass serves all methods there; at
            another size one pass per position interpolation.
        fit: how the image is brought to the input, as in `Model.preprocess`; a pixel mask follows.
        ablate: also remove every attention output and every MLP in turn, at about half a pass each.

    Raises:
        ValueError: an empty prompt, a region that does not fit the image or the grid, a method without meaning for the
            tower.
    """
    if not text.strip():
        raise ValueError(f"Expected text to be a non-empty prompt, but got {text!r}")
    methods = usable_methods(model.tower) if methods is None else {"clip": METHODS["clip"], **methods}
    image = to_rgb(image)
    pixels = model.preprocess([image], size, fit=fit)
    region = _as_region(region, model.framing(image.size[::-1], size, fit), model.tower.grid_of(pixels), text)
    feature = model.encode_text([text], templates)
    passes = _Passes(model, pixels)
    readings = {name: _read(passes, feature, region, method) for name, method in methods.items()}
    trace = passes.trace(METHODS["clip"])
    return examine(trace, feature, region, readings, text=text, ablate=ablate)


def examine(
    trace: Trace,
    feature: Tensor,
    region: Region,
    readings: Mapping[str, MethodReading] | None = None,
    *,
    text: str = "the text",
    ablate: bool = False,
) -> FlipReport:
    """`diagnose` from a recorded pass: what the dashboard calls, which has the trace already.

    Args:
        trace: one image, every block kept.
        feature: (1, d) text feature.
        region: what should light up, on the grid of the trace.
        readings: per method; None reads all presets that have a meaning for the tower from this trace.
        text: the prompt, for the summary.
        ablate: see `diagnose`.
    """
    if readings is None:
        usable = usable_methods(trace.tower)
        readings = {name: read_method(trace, feature, region, method) for name, method in usable.items()}
    lens = logit_lens(trace, feature).contrast(region)[0, :, 0] if trace.tower.has_residual else np.zeros(0, np.float32)
    blame = decompose(trace, feature, METHODS["clip"])
    removed = tuple(iterate_interventions(trace, feature, region)) if ablate else ()
    turn = turning_layer(lens) if len(lens) else None
    return FlipReport(text, trace.model, region, readings, lens, turn, blame, find_culprits(blame, region), removed)


def read_method(trace: Trace, feature: Tensor, region: Region, method: Method) -> MethodReading:
    """The map of one text by one method, and its figures over the region."""
    values = similarity(dense_features(trace, method), feature).patches[0, :, :, 0].cpu().numpy()
    figures = (contrast(values, region), score_contrast(values, region), flip_auc(values, region))
    return MethodReading(fit_method(trace.tower, method), *figures, values)


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


def _disagree(reading: MethodReading) -> bool:
    """Whether flip AUC and contrast lie on different sides of what chance gives."""
    return (reading.flip_auc - 0.5) * reading.contrast < 0


def _signed(value: float) -> str:
    """Three significant digits with a sign.

    >>> _signed(-0.00014), _signed(0.2), _signed(0.0)
    ('−0.000140', '+0.200', '0')
    """
    return f"{value:+#.3g}".rstrip(".").replace("-", "−") if value else "0"


def _auc(reading: MethodReading) -> str:
    """The flip AUC with two decimals; with four where two would hide on which side of 0.5 it lies."""
    text = f"AUC {reading.flip_auc:.2f}"
    return f"AUC {reading.flip_auc:.4f}" if text == "AUC 0.50" and reading.flip_auc != 0.5 else text


def _figures(report: FlipReport) -> str:
    clip = report.readings["clip"]
    order = (
        f'In the CLIP map of "{report.text}" a foreground patch outscores a background one in '
        f"{100 * clip.flip_auc:.0f} % of the pairs ({_auc(clip)})"
    )
    if _disagree(clip):
        side = "below" if clip.contrast < 0 else "above"
        return f"{order}, yet the mean foreground lies {side} the mean background (contrast {_signed(clip.contrast)})."
    return f"{order}, and the contrast is {_signed(clip.contrast)}."


def _turn(report: FlipReport) -> str:
    lens = report.lens_contrast
    if not len(lens):
        return "The attention pool is the only block, so there is no layer at which the sign could turn."
    sign, final = "negative" if lens[-1] < 0 else "positive", f"{_signed(lens[-1])} after the last block"
    if report.turning_layer is None:
        return (
            f"Read out after every block, the contrast is {sign} throughout: "
            f"{_signed(lens[0])} after the embedding, {final}."
        )
    before, after = lens[report.turning_layer - 1 : report.turning_layer + 1]
    end = "" if report.turning_layer == len(lens) - 1 else f"; it is {final}"
    return (
        f"Read out after every block, the contrast turns {sign} in block {report.turning_layer - 1}, "
        f"from {_signed(before)} to {_signed(after)}{end}."
    )


def _blamed(report: FlipReport) -> str:
    if not report.culprits:
        return "No component pulls the contrast down."
    terms = report.blame.contrast(report.region)[0, :, 0]
    total, named = terms[terms < 0].sum(), sum(culprit.blame for culprit in report.culprits)
    listed = ", ".join(f"{culprit.label} ({_signed(culprit.blame)})" for culprit in report.culprits)
    share = f"{100 * named / total:.0f} % of all negative terms"
    return f"The pull to the background is written above all by {listed}: {share}."


def _remedy(report: FlipReport) -> str:
    others = {name: reading for name, reading in report.readings.items() if name != "clip"}
    ranked = sorted(others, key=lambda name: (others[name].flip_auc, others[name].contrast), reverse=True)
    if not ranked:
        return ""
    title = {name: TITLES.get(name, name) for name in ranked}
    auc = {name: _auc(reading) for name, reading in report.readings.items()}
    best, worst = ranked[0], ranked[-1]
    better = report.flip_auc[best] > report.flip_auc["clip"]
    if len(ranked) == 1:
        how = "better" if better else "no better"
        return f"{title[best]} ({auc[best]}) does {how} than CLIP itself ({auc['clip']})."
    if better:
        return f"Of the other methods {title[best]} does best ({auc[best]}) and {title[worst]} worst ({auc[worst]})."
    return (
        f"No other method does better than CLIP itself ({auc['clip']}): {title[best]} comes closest ({auc[best]}), "
        f"{title[worst]} does worst ({auc[worst]})."
    )
