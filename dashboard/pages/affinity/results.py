"""What the Affinity page computes, each once for all sessions."""

import numpy as np
import plotly.graph_objects as go

from analysis.affinity import Affinity, BestPartners, SameRegionMass, best_partners, compute_affinity, same_region_mass
from analysis.regions import Region
from dashboard import services
from dashboard.case import Case, Patch
from dashboard.figures.affinity import partners_by_chance, plot_best_partners, plot_mass
from dashboard.pages.affinity.settings import AffinitySettings
from dashboard.pages.affinity.view import MAX_HOVER_PATCHES, EncodedAffinity, encode_affinity
from dashboard.services import TraceKey, cached
from surgery.attention import KINDS


def kind_options(case: Case) -> tuple[str, ...]:
    """Kinds of attention that have a meaning for the case's model."""
    return services.model(case).tower.kinds or KINDS


def shown_kinds(case: Case, own: AffinitySettings) -> tuple[str, ...]:
    """The chosen kinds, without those that have no meaning for the model."""
    options = kind_options(case)
    return tuple(kind for kind in options if kind in own.kinds)


def shown_layer(case: Case) -> int:
    """The chosen block; the last one where none is chosen."""
    return len(services.model(case).tower.blocks) - 1 if case.layer is None else case.layer


def example_patch(grid: tuple[int, int], region: Region | None) -> Patch:
    """The patch that is shown while none is chosen: in the middle of the region, else of the grid."""
    if region is None:
        return grid[0] // 2, grid[1] // 2
    inside = np.argwhere(region.foreground)  # (n, 2)
    nearest = ((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin()
    return int(inside[nearest, 0]), int(inside[nearest, 1])


def affinity(case: Case, kinds: tuple[str, ...]) -> Affinity:
    """Attention weights of the chosen block and head under some kinds."""
    return _affinity(services.trace_key(case), kinds, shown_layer(case), case.head, case)


@cached(max_entries=8)
def _affinity(key: TraceKey, kinds: tuple[str, ...], layer: int, head: int | None, _case: Case) -> Affinity:
    trace = services.trace(_case)
    with services.turn(_case):
        return compute_affinity(trace, kinds, layer, head)


def encoded_affinity(case: Case, kinds: tuple[str, ...], shown: Patch) -> EncodedAffinity:
    """`affinity` as the browser gets it; on a large grid only the row of the patch that is shown."""
    rows, columns = services.grid(case)
    only = shown if rows * columns > MAX_HOVER_PATCHES else None
    return _encoded(services.trace_key(case), kinds, shown_layer(case), case.head, only, case)


@cached(max_entries=8)
def _encoded(
    key: TraceKey, kinds: tuple[str, ...], layer: int, head: int | None, only: Patch | None, _case: Case
) -> EncodedAffinity:
    return encode_affinity(affinity(_case, kinds), only)


def mass(case: Case, kinds: tuple[str, ...]) -> SameRegionMass:
    """Same-region mass of every block and head; the case has a region."""
    return _mass(services.trace_key(case), kinds, case.region, case)


@cached(max_entries=16)
def _mass(key: TraceKey, kinds: tuple[str, ...], region: str, _case: Case) -> SameRegionMass:
    trace, sides = services.trace(_case), services.region(_case)
    with services.turn(_case):
        return same_region_mass(trace, kinds, sides)


def partners(case: Case, kinds: tuple[str, ...]) -> BestPartners:
    """Where the strongest partners are in every block and head; the case has a region."""
    return _partners(services.trace_key(case), kinds, case.region, case)


@cached(max_entries=16)
def _partners(key: TraceKey, kinds: tuple[str, ...], region: str, _case: Case) -> BestPartners:
    trace, sides = services.trace(_case), services.region(_case)
    with services.turn(_case):
        return best_partners(trace, kinds, sides)


@cached(max_entries=32)
def region_figures(
    key: TraceKey, kinds: tuple[str, ...], region: str, layer: int, head: int | None, _case: Case
) -> tuple[go.Figure, go.Figure]:
    """Same-region mass and best partners, which do not depend on the patch, drawn once."""
    tokens = affinity(_case, kinds)
    chance = partners_by_chance(services.region(_case), tokens.has_cls, tokens.registers)
    return plot_mass(mass(_case, kinds), layer, head), plot_best_partners(partners(_case, kinds), layer, head, chance)
