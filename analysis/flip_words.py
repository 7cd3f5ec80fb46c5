"""A `FlipReport` in words: verdict, headline, explanation. A verdict needs evidence, and a tie is called one."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.decomposition import Component
from analysis.lens import sign_changes
from analysis.numerals import auc, number, signed
from surgery import TITLES

if TYPE_CHECKING:
    from analysis.flips import FlipReport, MethodReading

LEAST_PATCHES = 5
"""Fewer patches on one side carry no verdict."""


def verdict(report: "FlipReport") -> str:
    """Whether the CLIP map is flipped, which its flip AUC decides; and whether its contrast says the opposite."""
    clip = report.readings["clip"]
    if _doubts(report):
        return "Cannot tell"
    state = "Flipped" if clip.flip_auc < 0.5 else "Not flipped"
    return f"{state}, but AUC and contrast disagree" if _disagree(clip) else state


def headline(report: "FlipReport", part: Component | None) -> str:
    """One line of figures; see `FlipReport.headline`."""
    clip = report.readings["clip"]
    interval = f" ({_ends(clip)})" if _doubts(report) else ""
    parts = [verdict(report), f"{_auc(clip)}{interval}"]
    first = _worst_parts(report)
    if part is None and len(first) > 1:
        total = signed(clip.contrast)
        parts.append(f"{and_list(first)} write {signed(report.culprits[0].blame)} each of {total}")
    part = part or (report.culprits[0].component if len(first) == 1 else None)
    if part is not None:
        blame = report.blame if part in report.blame.components else report.blame.merged()
        term = float(blame.contrast(report.region)[0, blame.components.index(part), 0])
        parts.append(f"{part.label} writes {signed(term)} of {signed(clip.contrast)}")
    best = _best(report)
    if best:
        parts.append(f"{and_list([TITLES.get(name, name) for name in best])} {_auc(report.readings[best[0]])[4:]}")
    return " · ".join(parts)


def explanation(report: "FlipReport") -> str:
    """Why there is no verdict, where there is none; then the figures, the lens, the blame, the other methods."""
    parts = [*_doubts(report), _figures(report), _turn(report), _blamed(report), _critical(report), _remedy(report)]
    return " ".join(part for part in parts if part)


def _doubts(report: "FlipReport") -> list[str]:
    """Sentences on what the evidence lacks; none where it carries a verdict."""
    clip, region = report.readings["clip"], report.region
    found = []
    if report.random_weights:
        found.append("The weights are random, so the map holds no knowledge of the text.")
    for name, side in (("region", region.foreground), ("background", region.background)):
        if side.sum() < LEAST_PATCHES:
            has = f"{side.sum()} patch{'es' if side.sum() > 1 else ''}"
            found.append(f"The {name} has only {has}; {LEAST_PATCHES} is the least that carries a verdict.")
    if 0.5 in clip.interval:
        found.append("The AUC is too near 0.5 for so few patches that are so alike.")
    return found


def _ends(reading: "MethodReading") -> str:
    return f"{reading.interval.low:.2f} to {reading.interval.high:.2f}"


def _disagree(reading: "MethodReading") -> bool:
    """Whether flip AUC and contrast lie on different sides of what chance gives."""
    return (reading.flip_auc - 0.5) * reading.contrast < 0


def _auc(reading: "MethodReading") -> str:
    return f"AUC {auc(reading.flip_auc)}"


def _figures(report: "FlipReport") -> str:
    clip = report.readings["clip"]
    interval = f"; the 95 % interval of the AUC is {_ends(clip)}"
    order = (
        f"In the CLIP map of “{report.text}” a foreground patch outscores a background one in "
        f"{100 * clip.flip_auc:.0f} % of the pairs ({_auc(clip)})"
    )
    if _disagree(clip):
        side = "below" if clip.contrast < 0 else "above"
        yet = f"yet the mean foreground lies {side} the mean background (contrast {signed(clip.contrast)})"
        return f"{order}, {yet}{interval}."
    return f"{order}, and the contrast is {signed(clip.contrast)}{interval}."


def _turn(report: "FlipReport") -> str:
    lens = report.lens_contrast
    if not len(lens):
        return "The attention pool is the only block, so there is no layer at which the sign could turn."
    sign, final = _side(lens[-1]), f"{signed(lens[-1])} after the last block"
    turns = sign_changes(lens)
    if not turns:
        return (
            f"Read out after every block, the contrast is {sign} throughout: "
            f"{signed(lens[0])} after the embedding, {final}."
        )
    told = [
        f"{_side(lens[depth])} in block {depth - 1}, from {signed(lens[depth - 1])} to {signed(lens[depth])}"
        for depth in turns
    ]
    end = "" if turns[-1] == len(lens) - 1 else f"; it is {final}"
    how = "turns" if len(turns) == 1 else f"turns {len(turns)} times:"
    return f"Read out after every block, the contrast {how} {'; '.join(told)}{end}."


def _side(value: float) -> str:
    return "negative" if value < 0 else "positive" if value > 0 else "zero"


def _worst_parts(report: "FlipReport") -> list[str]:
    """Labels of the worst components; several where they tie at the digits shown."""
    shown = [signed(culprit.blame) for culprit in report.culprits]
    return [culprit.label for culprit, blame in zip(report.culprits, shown, strict=True) if blame == shown[0]]


def _blamed(report: "FlipReport") -> str:
    if not report.culprits:
        return "No component pulls the contrast down."
    terms = report.blame.contrast(report.region)[0, :, 0]
    total, named = terms[terms < 0].sum(), sum(culprit.blame for culprit in report.culprits)
    listed = ", ".join(f"{culprit.label} ({signed(culprit.blame)})" for culprit in report.culprits)
    first = _worst_parts(report)
    tie = f" {and_list(first)} tie." if len(first) > 1 else ""
    share = f"{100 * named / total:.0f} % of all negative terms"
    return f"The pull to the background is written above all by {listed}: {share}.{tie}"


def _best(report: "FlipReport") -> list[str]:
    """The methods besides CLIP of largest flip AUC; several where they tie at the digits shown."""
    others = [name for name in report.readings if name != "clip"]
    top = max((report.flip_auc[name] for name in others), default=0.0)
    return [name for name in others if _shown(report.flip_auc[name]) == _shown(top)]


def _worst(report: "FlipReport") -> list[str]:
    others = [name for name in report.readings if name != "clip"]
    bottom = min((report.flip_auc[name] for name in others), default=0.0)
    return [name for name in others if _shown(report.flip_auc[name]) == _shown(bottom)]


def _shown(value: float) -> str:
    return f"{value:.2f}"


def and_list(names: Sequence[str]) -> str:
    """ "A", "A and B", "A, B and C"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _critical(report: "FlipReport") -> str:
    found = {kind: alpha for kind, alpha in report.critical_alpha.items() if not math.isnan(alpha)}
    if not report.critical_alpha:
        return ""
    bare = signed(report.contrast_without_attention)
    start = f"With the last block's attention left out and no MLP the contrast is {bare}"
    if not found:
        return f"{start}, and no weight of that attention, of any kind, changes its sign."
    listed = ", ".join(f"{kind[0]}-{kind[1]} at alpha {number(alpha)}" for kind, alpha in found.items())
    return f"{start}; weighted by alpha, that attention changes its sign: {listed}."


def _remedy(report: "FlipReport") -> str:
    best, worst = _best(report), _worst(report)
    if not best:
        return ""
    clip = _auc(report.readings["clip"])
    (first, does, top), (last, _, bottom) = (_named(report, names) for names in (best, worst))
    better = report.flip_auc[best[0]] > report.flip_auc["clip"]
    if best == worst:
        return f"{first} ({top}) {does} {'better' if better else 'no better'} than CLIP itself ({clip})."
    if better:
        return f"Of the other methods {first} {does} best ({top}) and {last} worst ({bottom})."
    comes, ends = ("come" if len(best) > 1 else "comes"), ("do" if len(worst) > 1 else "does")
    return (
        f"No other method does better than CLIP itself ({clip}): {first} {comes} closest ({top}), "
        f"{last} {ends} worst ({bottom})."
    )


def _named(report: "FlipReport", names: Sequence[str]) -> tuple[str, str, str]:
    """Methods that tie: their titles, the verb for so many, and the AUC that they share."""
    each = " each" if len(names) > 1 else ""
    does = "do" if len(names) > 1 else "does"
    return and_list([TITLES.get(name, name) for name in names]), does, f"{_auc(report.readings[names[0]])}{each}"
