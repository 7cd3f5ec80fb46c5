"""What the Maps page computes beside the maps themselves: how sure the verdict on each of them is."""

from dataclasses import dataclass

import numpy as np

from analysis import flip_auc
from analysis.flip_words import and_list
from analysis.numerals import auc
from analysis.uncertainty import auc_interval
from dashboard import services
from dashboard.case import RANDOM, Case, is_judged, method_of, method_title
from dashboard.pages.maps.settings import MapsSettings
from dashboard.panels.texts import shorten
from surgery import Method
from surgery.dense import fit_method

LISTED = 3
"""So many best methods are named; of more only their number."""

NO_REGION = "No region is chosen, so no map can be judged: choose one in the sidebar, or draw one on Flip."


@dataclass(frozen=True, slots=True)
class Reading:
    """Flip AUC of one map, and whether its interval tells it from chance."""

    auc: float
    sure: bool


def prompt_order(case: Case, own: MapsSettings) -> list[int]:
    """Indices of the prompts as the rows stand: as typed, or the most probable one first."""
    if not own.ranked:
        return [*range(len(case.prompts))]
    return np.argsort(-services.probabilities(case), kind="stable").tolist()


def readings(case: Case, names: tuple[str, ...]) -> tuple[str, dict[str, Reading]]:
    """The prompt that the region judges, and the reading of its map under every method; the case has a region.

    Args:
        case: any case.
        names: methods that have a meaning for the model.
    """
    index = next(i for i, prompt in enumerate(case.prompts) if is_judged(case, prompt))
    found = {}
    for name in names:
        chosen = method_of(case, name)
        method = fit_method(services.model(case).tower, chosen)
        key = services.trace_key(case, chosen.position_interpolation)
        rest = services.text_key(case), case.feature_surgery, case.region, index
        found[name] = _reading(key, method, *rest, name, case)
    return case.prompts[index], found


@services.cached(max_entries=256)
def _reading(
    key: services.TraceKey,
    method: Method,
    texts: services.TextKey,
    surgery: bool,
    region: str,
    index: int,
    _name: str,
    _case: Case,
) -> Reading:
    values, sides = services.maps(_case, _name).patches[:, :, index], services.region(_case)
    return Reading(flip_auc(values, sides), _case.weights != RANDOM and 0.5 not in auc_interval(values, sides))


def verdict(prompt: str, found: dict[str, Reading]) -> str:
    """The page's one sentence: which maps are flipped, and which is best. Pure.

    Args:
        prompt: that the region judges.
        found: from `readings`; at least one.
    """
    titles = {name: method_title(name) for name in found}
    flipped = [name for name, one in found.items() if one.sure and one.auc < 0.5]
    right = [name for name, one in found.items() if one.sure and one.auc > 0.5]
    parts = [f"flipped under {_named(flipped, titles, found)}"] if flipped else []
    if right:
        top = max(auc(found[name].auc) for name in right)
        best = [titles[name] for name in right if auc(found[name].auc) == top]
        named = and_list(best) if len(best) <= LISTED else f"{best[0]} and {len(best) - 1} more"
        parts.append(f"{'best' if len(right) > 1 else 'right'} under {named} ({top})")
    if not parts:
        return f"“{shorten(prompt, 24)}”: cannot tell under {_named([*found], titles, found)}"
    return f"“{shorten(prompt, 24)}” is {', '.join(parts)}"


def _named(names: list[str], titles: dict[str, str], found: dict[str, Reading]) -> str:
    first = f"{titles[names[0]]} (AUC {auc(found[names[0]].auc)})"
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"
