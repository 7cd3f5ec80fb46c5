"""Attention as a mixture: a weighted sum of kinds, each the mean of its patterns in some blocks, all applied to one v.

    kk+gaussian                                the pattern of the walked block itself, as ever
    1.4*kk+gaussian + 0.6*qk@-6..-3            1.4 times that, and 0.6 times the mean of q-k over four blocks
    0.5*qq+kk + 0.5*qq+kk@-6|-5|-3             blocks may be named one by one, or as ranges, joined by "|"
    0.5*sim@-4 + 0.5*kk                        which tokens the stream behind block -4 has alike, the same for all heads

Terms are separated by " + " with spaces; "+" without spaces joins softmaxes of one kind. Blocks are counted from the
end of the tower, -1 being the last. Patterns of other blocks are those of the original path, so everything still comes
from one recorded pass, and stays linear in v.

sim@l is softmax(3 (cos - mean cos)) over the tokens whose cosine is not below the mean, cos being that of the streams
behind block l (SC-CLIP, arXiv 2411.15869); it needs its blocks named.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from surgery.attention import parse_kind

_TERM = re.compile(r"(?:(?P<weight>[^*@]+)\*)?(?:mean\((?P<inner>[^()]+)\)|(?P<plain>[^()]+))")
_BLOCKS = re.compile(r"(-\d+)(?:\.\.(-\d+))?")
SIMILARITY = "sim"
"""The kind that reads the residual stream instead of q, k and v."""


@dataclass(frozen=True, slots=True)
class Part:
    """One term of a mixture.

    Attributes:
        kind: see `surgery.attention.parse_kind`; or "sim".
        weight: factor of the mean pattern.
        blocks: blocks counted from the end (-1 is the last) over which the mean is taken; none for the walked block.
    """

    kind: str
    weight: float = 1.0
    blocks: tuple[int, ...] = ()


@lru_cache(maxsize=256)
def parse_mixture(text: str) -> tuple[Part, ...]:
    """Reads a kind of attention, or a mixture of several.

    Raises:
        ValueError: it is neither; the message names the term.

    >>> parse_mixture("0.5*qq@-1 + 0.5*mean(qq@-6..-3)")[1]
    Part(kind='qq', weight=0.5, blocks=(-6, -5, -4, -3))
    """
    if not isinstance(text, str) or (" + " not in text and not set("*@(") & set(text) and text != SIMILARITY):
        parse_kind(text)
        return (Part(text),)
    return tuple(_parse_part(term.strip()) for term in text.split(" + "))


def write_mixture(parts: tuple[Part, ...]) -> str:
    """The text that `parse_mixture` reads as these parts.

    >>> write_mixture(parse_mixture("0.50*qq@-1 + 0.5*mean(qq@-6..-3)"))
    '0.5*qq@-1 + 0.5*qq@-6..-3'
    """
    return " + ".join(_write_part(part) for part in parts)


def reach(parts: tuple[Part, ...]) -> int:
    """How many last blocks of the tower a mixture looks at, beside the walked ones."""
    return max((-block for part in parts for block in part.blocks), default=0)


def _parse_part(term: str) -> Part:
    found = _TERM.fullmatch(term)
    if found is None:
        raise _error(term)
    kind, _, blocks = (found["inner"] or found["plain"]).partition("@")
    if kind != SIMILARITY:
        parse_kind(kind)
    try:
        weight = float(found["weight"] or 1)
    except ValueError:
        raise _error(term) from None
    named = parse_blocks(blocks) if blocks else ()
    if not math.isfinite(weight) or named is None or ("@" in term and not named) or (kind == SIMILARITY and not named):
        raise _error(term)
    return Part(kind, weight, named)


def parse_blocks(text: str) -> tuple[int, ...] | None:
    """Blocks counted from the end, one by one or as ranges; None where the text names none.

    >>> parse_blocks("-6..-5|-3")
    (-6, -5, -3)
    """
    blocks: list[int] = []
    for run in text.split("|"):
        found = _BLOCKS.fullmatch(run.strip())
        first, last = (0, -1) if found is None else (int(found[1]), int(found[2] or found[1]))
        if found is None or not first <= last <= -1:
            return None
        blocks += range(first, last + 1)
    return tuple(blocks)


def _write_part(part: Part) -> str:
    weight = "" if part.weight == 1 else f"{part.weight:.12g}*"
    return f"{weight}{part.kind}{'@' if part.blocks else ''}{write_blocks(part.blocks)}"


def write_blocks(blocks: tuple[int, ...]) -> str:
    """The text that `parse_blocks` reads as these blocks."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and runs[-1][-1] == block - 1:
            runs[-1].append(block)
        else:
            runs.append([block])
    return "|".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _error(term: str) -> ValueError:
    return ValueError(
        'Expected every term of attention to be a kind, WEIGHT*KIND or WEIGHT*KIND@BLOCKS with blocks such as "-1", '
        f'"-6..-3" or "-6..-5|-3", joined by " + ", but got {term!r}'
    )
