"""Explainers on pages: relevance in units of its own, each map over its own largest value."""

from dataclasses import replace

import numpy as np

from analysis import Region
from analysis.explainers import EXPLAINERS, Explanation, explain
from analysis.numerals import number
from dashboard import jobs, services
from dashboard.case import Case
from dashboard.panels.mapview import Cell
from dashboard.panels.notes import region_note
from dashboard.snippets import Script

UNIT = "relevance, share of each map's largest"
EMPTY = "Zero everywhere: nothing speaks for this text, and 0/0 is not drawn."


def explained(case: Case, name: str, texts: tuple[str, ...] | None = None) -> Explanation:
    """Relevance of the case's prompts, or of `texts`, by one explainer."""
    interpolation = EXPLAINERS[name].position_interpolation
    return _explained(services.trace_key(case, interpolation), services.text_key(case, texts), name, case, texts)


@services.cached(max_entries=64)
def _explained(
    key: services.TraceKey, wanted: services.TextKey, name: str, _case: Case, _texts: tuple[str, ...] | None
) -> Explanation:
    loaded, picture, text = services.model(_case), services.original(_case), services.text(_case, _texts)
    rows, columns = services.grid(_case)
    parts = text.split(len(text) if rows * columns <= services.SMALL_PATCHES else 1)
    found = []
    with services.turn(_case):
        pixels = loaded.preprocess([picture.to_pil()], key.size, fit=key.fit)
        for index, part in enumerate(parts):  # between two of them it can be stopped
            jobs.report(index / len(parts), f"{EXPLAINERS[name].title}, {index + 1} of {len(parts)}")
            found.append(explain(loaded, pixels, part, name))
    patches, empty = (np.concatenate([getattr(one, field) for one in found], -1) for field in ("patches", "empty"))
    return replace(found[0], patches=patches.astype(np.float32), empty=empty)


def explained_cell(found: Explanation, prompt: int, region: Region | None, note: str | None = None) -> Cell:
    """The map of one text over its own largest magnitude, which the tooltip names; `note` in place of the figures."""
    explainer = EXPLAINERS[found.explainer]
    values = found.patches[0, :, :, prompt]
    if found.empty[0, prompt]:
        return Cell(explainer.title, error=EMPTY)
    largest = float(np.abs(values).max())
    said = region_note(values, region) if note is None else note
    return Cell(explainer.title, values / largest, note=said, hint=f"{explainer.unit}, largest {number(largest)}")


def scale_of(found: list[Explanation]) -> str:
    """The scale of a view of these: both signs only where one of them has both."""
    return "signed" if any(one.signed for one in found) else "positive"


def python_explained(names: list[str]) -> Script:
    """`explained[name]`, (gh, gw, t) in the explainer's own unit; needs `model`, `pixels` and `text`."""
    if not names:
        return Script()
    body = (
        "explained = {  # gradients and attention, each in a unit of its own",
        f"    name: explain(model, pixels, text, name).patches[0] for name in {names!r}",
        "}",
        "for name, values in explained.items():",
        '    print(name, "largest", values.max(axis=(0, 1)))',
    )
    return Script(("from analysis.explainers import explain",), body)
