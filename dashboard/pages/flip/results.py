"""What the Flip page computes: report, chosen component, its map, and the map without it. All of it is cached."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from analysis import contrast
from analysis.decomposition import Blame
from analysis.flips import FlipReport, MethodReading, examine, judge_map
from analysis.head_maps import HeadMaps, head_sources
from analysis.head_paths import HeadPath, head_path
from analysis.interventions import KINDS, Intervention, JointRemoval, ablate, components_of
from analysis.readout import Component, parse_component
from dashboard import services
from dashboard.case import CUSTOM, RANDOM, Case, examined_prompt
from dashboard.jobs import Job
from dashboard.removals import maps_without, removed_parts
from dashboard.services import TextKey, TraceKey
from surgery import METHODS, Method, Trace, dense_features, similarity, usable_methods


def flip_report(case: Case) -> FlipReport:
    """The report on the examined prompt and the region of the case, with the interventions computed so far.

    Raises:
        ValueError: no region, or one that the image does not have.
    """
    text = examined_prompt(case)
    report = _report(services.trace_key(case), services.text_key(case, (text,)), case.region, case)
    done = tuple(_intervention(report, part, values) for part, values in _removed(case).items())
    return replace(report, interventions=done)


@services.cached(max_entries=16)
def _report(key: TraceKey, texts: TextKey, region: str, _case: Case) -> FlipReport:
    found = services.region(_case)
    if found is None:
        raise ValueError("Expected region to be set, but got none")
    text, trace, feature = texts.texts[0], services.trace(_case), services.text(_case, texts.texts)
    readings = {name: read_map(_case, method) for name, method in usable_methods(trace.tower).items()}
    untrained = _case.weights == RANDOM
    with services.turn(_case):
        return examine(trace, feature, found, readings, text=text, random_weights=untrained)


def read_map(case: Case, method: str | Method) -> MethodReading:
    """The map of the examined prompt by one method, and its figures over the region."""
    region, found = services.region(case), examined_maps(case, method)
    return judge_map(found.method, found.patches[:, :, 0], region)


def examined_maps(case: Case, method: str | Method) -> services.Maps:
    """The map of the examined prompt alone, (gh, gw, 1), as raw cosines."""
    chosen = case.custom if method == CUSTOM else method
    return services.maps(replace(case, prompts=(examined_prompt(case),)), chosen, surgery=False)


def chosen_component(case: Case, blame: Blame) -> Component | None:
    """The component that the case means: `case.component` where it agrees with layer and head, else what they say.

    Args:
        case: any case.
        blame: of the case's model, one term per head.

    Returns:
        None where nothing is chosen, or the model has no such component.
    """
    named = parse_component(case.component)
    if named is not None and (named.block, named.head) == (case.layer, case.head):
        part = named
    elif case.layer is None:
        return None
    else:
        part = Component("attention", case.layer) if case.head is None else Component("head", case.layer, case.head)
    return part if part in (*blame.components, *blame.merged().components) else None


def worst_component(report: FlipReport) -> Component | None:
    """The head or MLP of most negative blame; None where no component pulls the contrast down."""
    return report.culprits[0].component if report.culprits else None


def choice_of(part: Component) -> dict[str, object]:
    """The changes of the case that choose a component. Pure."""
    return {"layer": part.block, "head": part.head, "component": part.label}


def term_map(blame: Blame, part: Component) -> np.ndarray:
    """What a component adds to the cosine of every patch with the text, (gh, gw)."""
    found = blame if part in blame.components else blame.merged()
    return found.terms[0, found.components.index(part), :, :, 0]


def can_be_removed(part: Component) -> bool:
    """Whether the component can be ablated: an attention output, a head or an MLP."""
    return part.kind in KINDS


def removable(case: Case, heads: bool = False) -> tuple[Component, ...]:
    """Everything in the case's tower that can be removed."""
    return components_of(services.trace(case), heads=heads)


def _removed(case: Case) -> dict[Component, np.ndarray]:
    key, texts = services.trace_key(case), services.text_key(case, (examined_prompt(case),))
    return dict(_removed_store(key, texts))


@services.cached(max_entries=16)
def _removed_store(key: TraceKey, texts: TextKey) -> dict[Component, np.ndarray]:
    """Maps (gh, gw) without a component, filled as they are asked for and shared by all sessions."""
    return {}


def map_without(case: Case, part: Component) -> np.ndarray:
    """The CLIP map (gh, gw) of the examined prompt without a component, mean-ablated and re-run from its block on."""
    texts = services.text_key(case, (examined_prompt(case),))
    store = _removed_store(services.trace_key(case), texts)
    if part not in store:
        trace, feature = services.trace(case), services.text(case, texts.texts)
        with services.turn(case):
            store[part] = _map_without(trace, feature, part)
    return store[part]


def _map_without(trace: Trace, feature: Tensor, part: Component) -> np.ndarray:
    changed = dense_features(ablate(trace, part), METHODS["clip"])
    return similarity(changed, feature).patches[0, :, :, 0].cpu().numpy()


def missing_removals(case: Case, heads: bool) -> list[Component]:
    """The components whose removal has not been computed yet."""
    done = _removed(case)
    return [part for part in removable(case, heads) if part not in done]


@dataclass(frozen=True, slots=True)
class RemovalKey:
    """The removals of one case in the caches."""

    trace: TraceKey
    texts: TextKey
    heads: bool


def removal_key(case: Case, heads: bool) -> RemovalKey:
    """What the removals depend on."""
    return RemovalKey(services.trace_key(case), services.text_key(case, (examined_prompt(case),)), heads)


def removal_of_all(case: Case, heads: bool) -> Callable[[Job[int]], int]:
    """Work: the map without each component, what is missing only; returns how many were. What is done stays."""
    key, missing, lock = removal_key(case, heads), missing_removals(case, heads), services.turn(case)
    trace, feature = services.trace(case), services.text(case, key.texts.texts)
    store = _removed_store(key.trace, key.texts)

    def work(job: Job[int]) -> int:
        for index, part in enumerate(missing, start=1):
            with lock:
                store[part] = _map_without(trace, feature, part)
            job.report(index / len(missing), f"{index} of {len(missing)} components")
        return len(missing)

    return work


def _intervention(report: FlipReport, part: Component, values: np.ndarray) -> Intervention:
    blame = report.blame if part in report.blame.components else report.blame.merged()
    term = float(blame.contrast(report.region)[0, blame.components.index(part), 0])
    without = contrast(values, report.region)
    return Intervention(part, term, without, without - report.contrast["clip"])


def joint_map(case: Case) -> np.ndarray | None:
    """The CLIP map (gh, gw) of the examined prompt without all that the case removes together; None for nothing."""
    parts = removed_parts(case)
    return maps_without(replace(case, prompts=(examined_prompt(case),)), parts).patches[:, :, 0] if parts else None


def joint_removal(case: Case, report: FlipReport) -> JointRemoval | None:
    """What the case's removal does, beside what removing each part alone does; None where it removes nothing."""
    values = joint_map(case)
    if values is None:
        return None
    singles = tuple(_intervention(report, part, map_without(case, part)) for part in removed_parts(case))
    without = contrast(values, report.region)
    return JointRemoval(singles, without, without - report.contrast["clip"])


def head_maps(case: Case, report: FlipReport, split: str) -> HeadMaps:
    """One map a head: its term of every patch's cosine ("writes"), or the places it brings its term from ("reads").

    What is split by "reads" is the chosen patch's term, or without one the contrast's.
    """
    if split == "writes":
        blame = report.blame
        rows = [index for index, part in enumerate(blame.components) if part.kind in ("head", "mlp")]
        parts = tuple(blame.components[index] for index in rows)
        return HeadMaps(parts, blame.terms[0, rows, :, :, 0], np.zeros(len(rows)), blame.model)
    texts = services.text_key(case, (examined_prompt(case),))
    return _head_sources(services.trace_key(case), texts, case.region, case.patch, case)


@services.cached(max_entries=16)
def _head_sources(key: TraceKey, texts: TextKey, region: str, patch: tuple[int, int] | None, _case: Case) -> HeadMaps:
    trace, feature, found = services.trace(_case), services.text(_case, texts.texts), services.region(_case)
    with services.turn(_case):
        return head_sources(trace, feature, found if patch is None else patch)


def path_head(report: FlipReport, chosen: Component | None) -> Component | None:
    """The head whose path is shown: the chosen one, else that of largest blame in the chosen block, else of all."""
    if chosen is not None and chosen.kind == "head":
        return chosen
    terms = report.blame.contrast(report.region)[0, :, 0]
    heads = [
        (part, abs(term)) for part, term in zip(report.blame.components, terms, strict=True) if part.kind == "head"
    ]
    own = [found for found in heads if chosen is not None and found[0].block == chosen.block]
    return max(own or heads, key=lambda found: found[1])[0] if heads else None


def described_part(report: FlipReport, chosen: Component | None) -> Component | None:
    """The component that is said in words: the chosen one where it can be removed, else a head as in `path_head`."""
    return chosen if chosen is not None and can_be_removed(chosen) else path_head(report, chosen)


def path_of(case: Case, head: Component) -> HeadPath:
    """What fed a head, as the chosen patch or all patches of the region ask."""
    texts = services.text_key(case, (examined_prompt(case),))
    return _path(services.trace_key(case), texts, case.region, case.patch, head, case)


@services.cached(max_entries=64)
def _path(
    key: TraceKey, texts: TextKey, region: str, patch: tuple[int, int] | None, head: Component, _case: Case
) -> HeadPath:
    trace, feature, found = services.trace(_case), services.text(_case, texts.texts), services.region(_case)
    with services.turn(_case):
        return head_path(trace, head, feature, found, patch)
