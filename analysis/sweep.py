"""A grid of methods over many images: how contrast, flip AUC and IoU depend on kind, depth, residual, alpha and MLP.

The default grid is the alpha sweep of ClearCLIP (Lan et al. 2024, arXiv 2407.12442, section 3): X_sum = X_res + alpha *
X_attn in the last block, and as its last point the limit that the paper takes, the residual dropped altogether.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import product

import numpy as np
import pandas as pd
import torch

from analysis.alpha import iterate_cosines
from analysis.metrics import best_threshold_iou, contrast, flip_auc, score_contrast
from analysis.regions import Region, regions_from_labels
from data.datasets import Sample
from surgery import Method, Model
from surgery.dense import Walk, fit_method
from surgery.towers import Tower
from surgery.trace import Trace

METRICS = ("contrast", "score_contrast", "flip_auc", "iou")
POINT = ("kind", "blocks", "residual", "alpha", "mlp")
SETTINGS = ("model", "templates", "position_interpolation", "patch_rows", "patch_columns")
COLUMNS = ("image", "text", *POINT, *METRICS, "threshold", *SETTINGS)
NO_RESIDUAL = "no residual"


@dataclass(frozen=True, slots=True)
class SweepGrid:
    """Every combination of kinds, blocks, residuals, alphas and MLP.

    Attributes:
        kinds: kinds of attention, see `surgery.attention.parse_kind`.
        blocks: numbers of last blocks that are walked again.
        residual: factors of the residual.
        alpha: factors of the attention output.
        mlp: whether the walked blocks add their MLP.
        no_residual: whether each line over alpha ends with residual 0, alpha 1.
        position_interpolation: of the one pass that serves all points; no matter at the native size.

    Raises:
        ValueError: an empty list, or a value that `Method` refuses.
    """

    kinds: tuple[str, ...] = ("qk", "vv", "qq", "kk")
    blocks: tuple[int, ...] = (1,)
    residual: tuple[float, ...] = (1.0,)
    alpha: tuple[float, ...] = tuple(0.25 * step for step in range(1, 21))
    mlp: tuple[bool, ...] = (False,)
    no_residual: bool = True
    position_interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        for name in ("kinds", "blocks", "residual", "alpha", "mlp"):
            values = getattr(self, name)
            if isinstance(values, str) or not len(values):
                raise ValueError(f"Expected {name} to be a list of at least 1 value, but got {values!r}")
        self.methods()

    def methods(self, tower: Tower | None = None) -> tuple[Method, ...]:
        """The points of the grid, each once, alpha running fastest.

        Args:
            tower: give the points as this tower carries them out; None leaves them as they are.

        Raises:
            ValueError: a kind without meaning for the tower, or more blocks than it has.
        """
        scales = list(product(self.residual, self.alpha))
        if self.no_residual:
            scales.append((0.0, 1.0))
        points = [
            Method(kind, blocks, residual, alpha, mlp, self.position_interpolation)
            for kind, blocks, mlp, (residual, alpha) in product(self.kinds, self.blocks, self.mlp, scales)
        ]
        return tuple(dict.fromkeys(points if tower is None else (fit_method(tower, point) for point in points)))


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One point of the grid on one object of one image.

    Attributes:
        image: name of the sample.
        text: name of the class, the prompt.
        method: the point, as the tower carried it out.
        contrast: mean raw cosine over foreground minus background.
        score_contrast: the same of the min-max normalised map, in [-1, 1].
        flip_auc: probability that a foreground patch outscores a background one; below 0.5 the map is flipped.
        iou: of foreground patches among foreground and background, at the threshold that suits this map best.
        threshold: that threshold, a cosine.
        grid: rows and columns of patches.
        templates: name of the prompt templates.
        model: name of the model.
    """

    image: str
    text: str
    method: Method
    contrast: float
    score_contrast: float
    flip_auc: float
    iou: float
    threshold: float
    grid: tuple[int, int]
    templates: str
    model: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was left out.

    Attributes:
        image: name of the sample.
        text: name of the class; None for the whole image.
        reason: why.
    """

    image: str
    text: str | None
    reason: str


def iterate_sweep(
    model: Model,
    samples: Iterable[Sample],
    grid: SweepGrid,
    *,
    templates: str = "none",
    size: int | tuple[int, int] | None = None,
    on_skip: Callable[[Skipped], None] | None = None,
) -> Iterator[SweepRow]:
    """Runs a grid over images, one recorded pass each; stop whenever enough rows are there.

    Args:
        model: see `surgery.load_model`.
        samples: images with label masks, see `data.datasets`; wrap them in a progress bar if wanted.
        grid: the points.
        templates: name of prompt templates, see `surgery.prompts`.
        size: input size as in `Model.preprocess`; None for the native one.
        on_skip: called for every image that cannot be read and every class without foreground or background patches,
            for example `skipped.append`.

    Returns:
        Rows by image, then point of the grid, then class.

    Raises:
        ValueError: at once, a point that has no meaning for the tower.
    """
    methods = grid.methods(model.tower)
    return _iterate(model, samples, methods, templates, size, on_skip or (lambda skipped: None))


def _iterate(
    model: Model,
    samples: Iterable[Sample],
    methods: tuple[Method, ...],
    templates: str,
    size: int | tuple[int, int] | None,
    on_skip: Callable[[Skipped], None],
) -> Iterator[SweepRow]:
    encoded: dict[str, torch.Tensor] = {}
    for sample in samples:
        opened = open_sample(model, sample, size, on_skip)
        if opened is None:
            continue
        pixels, regions = opened
        trace = model.trace(pixels, methods[0].position_interpolation, keep=max(m.reach for m in methods))
        text = _encode(model, list(regions), templates, encoded)
        yield from measure_trace(trace, methods, text, regions, image=sample.name, templates=templates)


def measure_trace(
    trace: Trace,
    methods: Iterable[Method],
    text: torch.Tensor,
    regions: Mapping[str, Region],
    *,
    image: str = "",
    templates: str = "none",
) -> Iterator[SweepRow]:
    """The rows of one image, from a pass that is already recorded.

    Args:
        trace: one image, the blocks that the methods need kept.
        methods: the points, for example `SweepGrid().methods(trace.tower)`.
        text: (t, d) text features, one for each region.
        regions: name of the class -> where its map should light up, in the order of `text`.
        image: name of the image, for the rows.
        templates: name of the prompt templates, for the rows.
    """
    fitted = [fit_method(trace.tower, method) for method in methods]
    for method, cosines in zip(fitted, iterate_cosines(Walk(trace), fitted, text), strict=True):
        maps = cosines[0].movedim(-1, 0).cpu().numpy()  # (t, gh, gw)
        for (name, region), values in zip(regions.items(), maps, strict=True):
            yield SweepRow(image, name, method, *_measure(values, region), trace.grid, templates, trace.model)


def open_sample(
    model: Model, sample: Sample, size: int | tuple[int, int] | None, on_skip: Callable[[Skipped], None]
) -> tuple[torch.Tensor, dict[str, Region]] | None:
    """Pixels (1, 3, H, W) of a sample and the region of each class on its grid; None, and a report, without any."""
    try:
        image, labels = sample.image, sample.mask
    except (OSError, ValueError) as error:
        on_skip(Skipped(sample.name, None, str(error)))
        return None
    if labels.shape != image.size_px:
        on_skip(Skipped(sample.name, None, f"the mask is {labels.shape} and the image {image.size_px} (height, width)"))
        return None
    pixels = model.preprocess([image.to_pil()], size)
    names = {region.id: region.text for region in sample.regions()}
    regions = regions_from_labels(labels, names, model.tower.grid_of(pixels))
    for name in names.values():
        if name not in regions:
            on_skip(Skipped(sample.name, name, "it fills no patch by half, or leaves no background patch"))
    return (pixels, regions) if regions else None


def _encode(model: Model, texts: list[str], templates: str, encoded: dict[str, torch.Tensor]) -> torch.Tensor:
    """Text features (t, d), each text encoded once for all images."""
    missing = [text for text in texts if text not in encoded]
    if missing:
        encoded |= dict(zip(missing, model.encode_text(missing, templates), strict=True))
    return torch.stack([encoded[text] for text in texts])


def _measure(values: np.ndarray, region: Region) -> tuple[float, float, float, float, float]:
    """Contrast, score contrast, flip AUC, IoU and its threshold of a map (gh, gw)."""
    best = best_threshold_iou([values], [region.foreground], [region.foreground | region.background])
    return contrast(values, region), score_contrast(values, region), flip_auc(values, region), best.iou, best.threshold


def sweep_table(rows: Iterable[SweepRow]) -> pd.DataFrame:
    """Rows as a table of `COLUMNS`: a field of `SweepRow` each, the method spread over its own."""
    return pd.DataFrame([_flat(row) for row in rows], columns=COLUMNS)


def _flat(row: SweepRow) -> dict[str, object]:
    record = {field.name: getattr(row, field.name) for field in fields(row)}
    method = asdict(record.pop("method"))
    patch_rows, patch_columns = record.pop("grid")
    return {**record, **method, "kind": method["attention"], "patch_rows": patch_rows, "patch_columns": patch_columns}


def summarise(table: pd.DataFrame, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Mean over (image, class) of every point, with a bootstrap interval over images.

    Args:
        table: from `sweep_table`.
        confidence: of the interval, in (0, 1).
        resamples: bootstrap samples; every point sees the same ones.
        seed: of the resampling.

    Returns:
        One row a point in the order of the table: model, the point, `images`, `maps`, and for every metric its mean
        with `_low` and `_high`, the percentiles of the resampled means; NaN where only one image has the point.

    Raises:
        ValueError: a table without rows, or a confidence out of range.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile interval).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"Expected confidence to be between 0 and 1, but got {confidence}")
    if table.empty:
        raise ValueError("Expected table to hold at least 1 row, but got none")
    images = table["image"].unique()
    draws = np.random.default_rng(seed).multinomial(len(images), np.full(len(images), 1 / len(images)), resamples)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    keys = ["model", *POINT]
    rows = []
    for point, group in table.groupby(keys, sort=False):
        per_image = group.groupby("image")[list(METRICS)]
        counts = per_image.size().reindex(images, fill_value=0).to_numpy()
        row = dict(zip(keys, point, strict=True)) | {"images": int((counts > 0).sum()), "maps": len(group)}
        for metric, sums in per_image.sum().reindex(images, fill_value=0.0).items():
            low, high = _interval(draws, sums.to_numpy(), counts, tails) if row["images"] > 1 else (np.nan, np.nan)
            row |= {metric: group[metric].mean(), f"{metric}_low": low, f"{metric}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(draws: np.ndarray, sums: np.ndarray, counts: np.ndarray, tails: list[float]) -> np.ndarray:
    """Percentiles of the mean over maps when images are drawn (resamples, images) times."""
    maps = draws @ counts
    return np.quantile((draws @ sums)[maps > 0] / maps[maps > 0], tails)


def alpha_axis(table: pd.DataFrame) -> pd.DataFrame:
    """The lines over alpha, ready to be drawn.

    Args:
        table: from `sweep_table` or `summarise`.

    Returns:
        The rows of residual 1, and those of residual 0 and alpha 1 as the last point of each line, with two more
        columns: `position` on the axis, 0, 1, 2, ..., and its `label`, such as "0.25" or "no residual".
    """
    limit = (table["residual"] == 0) & (table["alpha"] == 1)
    axis = table[limit | (table["residual"] == 1)].assign(limit=limit)
    order = sorted(set(zip(axis["limit"], axis["alpha"], strict=True)))
    places = [order.index(place) for place in zip(axis["limit"], axis["alpha"], strict=True)]
    labels = [NO_RESIDUAL if order[place][0] else f"{order[place][1]:g}" for place in places]
    axis = axis.drop(columns="limit").assign(position=places, label=labels)
    return axis.sort_values("position", kind="stable").reset_index(drop=True)
