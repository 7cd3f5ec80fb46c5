"""What Compare computes: lens and blame of each case, and which components of two networks stand for each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis import decompose, logit_lens
from analysis.decomposition import Component
from dashboard import services
from dashboard.case import Case, Pin, method_of
from dashboard.keys import ModelKey
from dashboard.pinned import PinnedMap, pinned_map, ready_case
from dashboard.pins import bare

FITTED = {"stretch": "stretched", "crop": "cropped", "letterbox": "letterboxed"}


@dataclass(frozen=True, slots=True, eq=False)
class Depth:
    """Lens and blame of one case.

    Attributes:
        lens: (L + 1,) contrast after every block of the original path; empty for a ResNet.
        components: what wrote the contrast of the case's method.
        terms: (k,) what each of them adds to it; of raw cosines, before any feature surgery.
        heads: heads of every block.
    """

    lens: np.ndarray
    components: tuple[Component, ...]
    terms: np.ndarray
    heads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two cases.

    Attributes:
        letter: "A" or "B".
        name: what it is called in the choice of cases.
        pin: the case.
        found: its map and figures.
        depth: lens and blame; None without a region.
    """

    letter: str
    name: str
    pin: Pin
    found: PinnedMap
    depth: Depth | None


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The components of two networks, each with the one that stands for it.

    Attributes:
        labels: (k,) names.
        kinds: (k,) kind of every component.
        first, second: (k,) terms; 0 where a network or method has no such part.
        note: what was matched with what, where that is not every head with itself; "" else.
    """

    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    note: str


def side_of(letter: str, name: str, pin: Pin) -> Side:
    """One case with all that is shown of it.

    Raises:
        DownloadNeeded, MissingImage, ValueError, OSError: as `dashboard.pinned.pinned_map`.
    """
    found = pinned_map(pin)
    case = ready_case(pin)
    depth = None if found.region is None else _depth(bare(pin), services.model_key(case), case)
    return Side(letter, name, pin, found, depth)


@services.cached(max_entries=64)
def _depth(pin: Pin, model: ModelKey, _case: Case) -> Depth:
    method, region = method_of(pin, pin.method), services.region(_case)
    trace = services.trace(_case, method.position_interpolation)
    text = services.text(_case, (pin.text,))
    with services.turn(_case):
        blame = decompose(trace, text, method)
        residual = trace.tower.has_residual
        lens = logit_lens(trace, text).contrast(region)[0, :, 0] if residual else np.zeros(0, np.float32)
    heads = tuple(block.heads for block in trace.tower.blocks)
    return Depth(lens, blame.components, blame.contrast(region)[0, :, 0], heads)


def why_no_difference(first: Side, second: Side) -> str:
    """Why A - B cannot be; "" where it can. Pure."""
    a, b = first.found, second.found
    if a.unit != b.unit:
        return f"A − B has no unit: A is {a.unit}, B {b.unit}."
    if a.values.shape != b.values.shape:
        sizes = [f"{found.values.shape[0]} x {found.values.shape[1]}" for found in (a, b)]
        return f"A − B has no grid: A has {sizes[0]} patches, B {sizes[1]}. Another input size may bring them together."
    if first.pin.fit != second.pin.fit:
        fits = [FITTED[side.pin.fit] for side in (first, second)]
        return f"A − B has no place: A is {fits[0]}, B {fits[1]}, so their patches lie elsewhere."
    return ""


def match(first: Depth, second: Depth) -> Matched:
    """Which components stand for each other. Pure.

    Heads match by their names where both networks have the same blocks and heads; attention outputs and MLPs by block
    where the blocks are as many; else the blocks of the deeper network are summed, so that a block of the other stands
    for those at the same share of its depth. All terms of a network are in one dot each: they add up to its contrast.
    """
    least = min(len(first.heads), len(second.heads))
    if first.heads == second.heads:
        note, sums = "", [_by_component(depth) for depth in (first, second)]
    else:
        sums = [_by_block(depth, least) for depth in (first, second)]
        counts = [len(depth.heads) for depth in (first, second)]
        note = "Heads differ: attention outputs and MLPs are matched by block."
        if counts[0] != counts[1]:
            note = f"A has {counts[0]} blocks, B {counts[1]}: blocks at the same share of the depth are summed."
    parts = tuple(dict.fromkeys((*sums[0], *sums[1])))
    values = [np.array([found.get(part, 0.0) for part in parts]) for found in sums]
    return Matched(tuple(part.label for part in parts), tuple(part.kind for part in parts), *values, note)


def _by_component(depth: Depth) -> dict[Component, float]:
    return dict(zip(depth.components, map(float, depth.terms), strict=True))


def _by_block(depth: Depth, blocks: int) -> dict[Component, float]:
    """Sums over heads, and over the blocks that fall together when the network is as deep as `blocks`."""
    sums: dict[Component, float] = {}
    for part, term in zip(depth.components, map(float, depth.terms), strict=True):
        kind = "attention" if part.kind in ("head", "bias") else part.kind
        block = None if part.block is None else _common_block(part.block, len(depth.heads), blocks)
        merged = Component(kind, block)
        sums[merged] = sums.get(merged, 0.0) + term
    return sums


def _common_block(block: int, own: int, blocks: int) -> int:
    return int((block + 0.5) / own * blocks)


def missing_regions(sides: Sequence[Side]) -> str:
    """Which cases have no region, in words; "" for none. Pure."""
    letters = [side.letter for side in sides if side.depth is None]
    if not letters:
        return ""
    which = "A and B have" if len(letters) == 2 else f"{letters[0]} has"
    return (
        f"{which} no region. Contrast, lens and blame set a region against the rest: choose one in the sidebar, or "
        "draw it on Flip, and pin the case again."
    )
