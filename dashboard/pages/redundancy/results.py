"""What the Redundancy page computes, each once for all sessions."""

from dataclasses import replace

from analysis.label_set import LabelSetEffect, label_set_effect
from analysis.redundancy import Redundancy, compute_redundancy
from dashboard import services
from dashboard.case import Case, method_of
from dashboard.pages.redundancy.settings import RedundancySettings
from dashboard.services import Maps, TextKey, TraceKey, cached
from surgery import Method
from surgery.dense import fit_method

LEAST_LABELS = 3
"""So many labels are needed to leave one out, so that two stay."""


def fitted_method(case: Case) -> Method:
    """The method of the page as the model's tower carries it out.

    Raises:
        ValueError: the method has no meaning for the tower.
    """
    return fit_method(services.model(case).tower, method_of(case, case.method_a))


def struck_label(case: Case, own: RedundancySettings) -> str:
    """The label that is struck out; "" for none."""
    return own.struck if own.struck in case.prompts and len(case.prompts) > 1 else ""


def redundancy(case: Case) -> Redundancy:
    """What the case's prompts have in common; for a single prompt, what it shares with the empty text."""
    method = fitted_method(case)
    key = services.trace_key(case, method.position_interpolation)
    return _redundancy(key, method, services.text_key(case), case)


@cached(max_entries=64)
def _redundancy(key: TraceKey, method: Method, texts: TextKey, _case: Case) -> Redundancy:
    features, text, loaded = services.features(_case, method), services.text(_case), services.model(_case)
    with services.turn(_case):
        redundant = loaded.encode_text([""], templates=texts.templates) if len(text) == 1 else None
        return compute_redundancy(features, text, texts.texts, redundant)


def effect(case: Case) -> LabelSetEffect | None:
    """Every label left out once; None where there are too few."""
    if len(case.prompts) < LEAST_LABELS:
        return None
    method = fitted_method(case)
    key = services.trace_key(case, method.position_interpolation)
    return _effect(key, method, services.text_key(case), case.region, case)


@cached(max_entries=32)
def _effect(key: TraceKey, method: Method, texts: TextKey, region: str, _case: Case) -> LabelSetEffect:
    features, text, found = services.features(_case, method), services.text(_case), services.region(_case)
    with services.turn(_case):
        return label_set_effect(features, text, texts.texts, region=found)


def without(case: Case, label: str) -> tuple[tuple[str, ...], Maps]:
    """The labels that stay when one is struck out, and their maps after feature surgery."""
    rest = tuple(prompt for prompt in case.prompts if prompt != label)
    return rest, services.maps(replace(case, prompts=rest), case.method_a, surgery=True)
