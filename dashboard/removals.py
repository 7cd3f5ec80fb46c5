"""What the network sees without several of its parts: chosen on Flip, kept in `Case.removed`, also seen on Maps."""

from collections.abc import Sequence

from analysis.interventions import ablate, components_of
from analysis.readout import Component, parse_component
from dashboard import services
from dashboard.case import Case
from dashboard.services import Maps, TextKey, TraceKey
from surgery import METHODS, dense_features


def removed_parts(case: Case) -> tuple[Component, ...]:
    """The components that the case removes and its tower has; an unknown one of an old address is left out."""
    if not case.removed:
        return ()
    trace = services.trace(case)
    known = {*components_of(trace), *components_of(trace, heads=True)}
    return tuple(part for part in map(parse_component, case.removed) if part in known)


def title_without(parts: Sequence[Component]) -> str:
    """How the map without these parts is called. Pure."""
    names = [part.label for part in parts]
    return f"without {' + '.join(names)}" if len(names) <= 3 else f"without {len(names)} parts"


def maps_without(case: Case, parts: Sequence[Component], surgery: bool = False) -> Maps:
    """CLIP's maps of the case's prompts with all these parts mean-ablated at once, run again from the first of them."""
    labels = tuple(part.label for part in parts)
    return _maps_without(services.trace_key(case), services.text_key(case), labels, surgery, case)


@services.cached(max_entries=64)
def _maps_without(key: TraceKey, texts: TextKey, labels: tuple[str, ...], surgery: bool, _case: Case) -> Maps:
    trace, parts = services.trace(_case), [parse_component(label) for label in labels]
    with services.turn(_case):
        found = dense_features(ablate(trace, parts), METHODS["clip"])
    return services.read_maps(_case, found, surgery)
