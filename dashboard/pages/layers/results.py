"""What the Layers page computes: norms, cosines, entropy and the alpha sweep of one image. All of it is cached."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis import contrast
from analysis.affinity import SameRegionMass, same_region_mass
from analysis.alpha import alpha_curve, has_alpha_curve
from analysis.norms import Entropy, StreamMeasure, compute_cosine_to_cls, compute_entropy, compute_norms
from analysis.sweep import SweepGrid, SweepRow, measure_trace, sweep_table
from dashboard import services
from dashboard.case import Case, examinable_prompts, examined_prompt
from dashboard.figures.layers import KIND_ORDER, SweepPoint
from dashboard.jobs import Job, locked
from dashboard.services import TextKey, TraceKey
from surgery import Method
from surgery.dense import Walk, fit_method

ALPHAS = tuple(0.25 * step for step in range(21))
"""From 0, where all kinds agree, to 5."""

MASS_KINDS = ("qk", "vv")


@dataclass(frozen=True, slots=True, eq=False)
class LayerMeasures:
    """What is plotted over the blocks, of one image.

    Attributes:
        norms: L2 norms.
        cosines: cosines with the final CLS feature.
        entropy: of the model's own attention.
        mass: same-region mass of `MASS_KINDS`; None without a region.
    """

    norms: StreamMeasure
    cosines: StreamMeasure
    entropy: Entropy
    mass: SameRegionMass | None


def layer_measures(case: Case) -> LayerMeasures:
    """Norms, cosines and entropy of the case's image, with the groups of its region where it has one."""
    return _measures(services.trace_key(case), case.region, case)


@services.cached(max_entries=16)
def _measures(key: TraceKey, region: str, _case: Case) -> LayerMeasures:
    trace, found = services.trace(_case), services.region(_case)
    kinds = tuple(kind for kind in MASS_KINDS if kind in (trace.tower.kinds or MASS_KINDS))
    with services.turn(_case):
        return LayerMeasures(
            compute_norms(trace, found),
            compute_cosine_to_cls(trace, found),
            compute_entropy(trace, found),
            None if found is None else same_region_mass(trace, kinds, found),
        )


def sweep_grid(case: Case) -> SweepGrid:
    """The grid of the alpha sweep: the slider's depth, MLP and interpolation, the four kinds and its own. Pure."""
    kinds = tuple(dict.fromkeys((*KIND_ORDER, case.custom.attention)))
    method = case.custom
    return SweepGrid(
        kinds, (method.blocks,), alpha=ALPHAS, mlp=(method.mlp,), position_interpolation=method.position_interpolation
    )


def can_be_swept(case: Case) -> bool:
    """Whether there is an alpha sweep: it needs a residual, a text and a region."""
    return services.model(case).tower.has_residual and bool(case.region and examinable_prompts(case))


@dataclass(frozen=True, slots=True)
class SweepKey:
    """An alpha sweep in the caches."""

    trace: TraceKey
    texts: TextKey
    region: str
    grid: SweepGrid


def sweep_key(case: Case) -> SweepKey:
    """What the alpha sweep of the case depends on."""
    trace = services.trace_key(case, case.custom.position_interpolation)
    return SweepKey(trace, services.text_key(case, (examined_prompt(case),)), case.region, sweep_grid(case))


def alpha_sweep(case: Case) -> Callable[[Job[pd.DataFrame]], pd.DataFrame]:
    """Work: the alpha sweep of the examined prompt over the case's region, as `analysis.sweep.sweep_table` writes it.

    Raises:
        ValueError: the case has no region, or the tower no residual.
    """
    key, found = sweep_key(case), services.region(case)
    if found is None:
        raise ValueError("Expected region to be set, but got none")
    trace, text = services.trace(case, key.trace.interpolation), services.text(case, key.texts.texts)
    methods, lock = key.grid.methods(trace.tower), services.turn(case)
    regions = {key.texts.texts[0]: found}

    def work(job: Job[pd.DataFrame]) -> pd.DataFrame:
        rows: list[SweepRow] = []
        steps = measure_trace(trace, methods, text, regions, image=case.image, templates=key.texts.templates)
        for row in locked(lock, steps):
            rows.append(row)
            job.report(len(rows) / len(methods), f"{len(rows)} of {len(methods)} points")
        return sweep_table(rows)

    return work


def has_closed_form(case: Case) -> bool:
    """Whether the cosines of the slider's method are known for every alpha at once, see `analysis.alpha`."""
    tower = services.model(case).tower
    return has_alpha_curve(tower, fit_method(tower, case.custom))


def critical_contrasts(case: Case) -> dict[str, tuple[float, ...]] | None:
    """Per kind of the sweep every alpha at which the region's contrast changes its sign, from the closed form.

    Returns:
        None where there is no sweep, or no closed form (with MLP, or where the read-out is not linear).
    """
    if not (can_be_swept(case) and has_closed_form(case)):
        return None
    return _critical_contrasts(sweep_key(case), case)


@services.cached(max_entries=64)
def _critical_contrasts(key: SweepKey, _case: Case) -> dict[str, tuple[float, ...]]:
    trace, text = services.trace(_case, key.trace.interpolation), services.text(_case, key.texts.texts)
    region, walk = services.region(_case), Walk(trace)
    methods = {kind: replace(_case.custom, attention=kind, residual=1.0, alpha=1.0) for kind in key.grid.kinds}
    with services.turn(_case):
        curves = {kind: alpha_curve(trace, text, method, walk=walk) for kind, method in methods.items()}
        return {kind: tuple(curve.critical_contrasts(region)[0][0].tolist()) for kind, curve in curves.items()}


def turning_map(case: Case) -> np.ndarray | None:
    """Where the cosine of a patch turns as alpha of the slider's method grows from 0.

    Returns:
        (gh, gw): 1 / (1 + critical alpha), the share of the residual at the turn, positive where the cosine becomes
        positive there and negative where it becomes negative; 0 where it never turns. None without a closed form.
    """
    if not has_closed_form(case):
        return None
    method = replace(case.custom, alpha=1.0)
    key = services.trace_key(case, method.position_interpolation)
    return _turning_map(key, services.text_key(case, (examined_prompt(case),)), method, case)


@services.cached(max_entries=64)
def _turning_map(key: TraceKey, texts: TextKey, method: Method, _case: Case) -> np.ndarray:
    trace, text = services.trace(_case, key.interpolation), services.text(_case, texts.texts)
    with services.turn(_case):
        curve = alpha_curve(trace, text, method)
        alphas, first = curve.critical_alpha()[0, :, :, 0], curve.cosines(0.0)[0, :, :, 0].cpu().numpy()
    return np.nan_to_num(1 / (1 + alphas), nan=0.0) * -np.sign(first)


def slider_maps(case: Case) -> dict[str, services.Maps]:
    """CLIP's map, the map at the slider, and the same without the residual; each (gh, gw, 1)."""
    limit = replace(case.custom, residual=0.0, alpha=1.0)
    methods: dict[str, str | Method] = {"CLIP": "clip", "at the slider": case.custom, "no residual": limit}
    alone = replace(case, prompts=(examined_prompt(case),))
    return {name: services.maps(alone, method, surgery=False) for name, method in methods.items()}


def slider_point(case: Case, values: services.Maps) -> SweepPoint | None:
    """Where the slider stands in the sweep; None without a region."""
    region, method = services.region(case), values.method
    if region is None:
        return None
    return SweepPoint(method.attention, method.alpha, method.residual, contrast(values.patches[:, :, 0], region))
