"""Optional steps around one attention among patches, which together with the kind sim@l are SC-CLIP.

    repair             patches that stand apart in the stream that enters the last block become their neighbours' mean
    before@-4          patches are averaged with those that are similar in the stream behind block -4, then attended to
    levels@-9..-3      the same attention over the sum of the streams behind these blocks is added
    cls*0.3            0.3 times CLS is added to every patch, for each attention
    after@-9           what comes out is averaged with what is similar in the stream behind block -9

They are written in any order with " + " between them and always done in this one: repair, before, attention, levels,
cls, after. Blocks are counted from the end, -1 being the last. Everything reads the one recorded pass.

Source: Bai et al. 2024, "Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation" (SC-CLIP), arXiv
2411.15869.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from surgery.mixtures import parse_blocks, write_blocks

_STEP = re.compile(r"(?:(?P<flag>repair)|(?P<name>before|after|levels)@(?P<blocks>[^*@]+)|cls\*(?P<factor>[^*@]+))")


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done around the attention; see the module docstring.

    Attributes:
        repair: whether patches that stand apart are replaced.
        before, after: block behind which similarity is read, None for no such step.
        cls: factor of CLS.
        levels: blocks whose streams are summed.
    """

    repair: bool = False
    before: int | None = None
    levels: tuple[int, ...] = ()
    cls: float = 0.0
    after: int | None = None

    @property
    def reach(self) -> int:
        """How many last blocks they look at."""
        return max((-block for block in (self.before, self.after, *self.levels) if block is not None), default=0)


@lru_cache(maxsize=256)
def parse_steps(text: str) -> Steps | None:
    """Reads steps; None for no text, which is no step.

    Raises:
        ValueError: it holds something else, or a step twice; the message names it.

    >>> parse_steps("repair + cls*0.3 + levels@-9..-8")
    Steps(repair=True, before=None, levels=(-9, -8), cls=0.3, after=None)
    """
    if not isinstance(text, str):
        raise _error(text)
    found: dict[str, object] = {}
    for part in text.split("+") if text.strip() else ():
        name, value = _parse_step(part.strip())
        if name in found:
            raise _error(part.strip())
        found[name] = value
    return Steps(**found) if found else None


def write_steps(steps: Steps | None) -> str:
    """The text that `parse_steps` reads as these steps.

    >>> write_steps(Steps(repair=True, after=-9))
    'repair + after@-9'
    """
    if steps is None:
        return ""
    parts = [
        "repair" if steps.repair else "",
        f"before@{steps.before}" if steps.before is not None else "",
        f"levels@{write_blocks(steps.levels)}" if steps.levels else "",
        f"cls*{steps.cls:.12g}" if steps.cls else "",
        f"after@{steps.after}" if steps.after is not None else "",
    ]
    return " + ".join(filter(None, parts))


def _parse_step(part: str) -> tuple[str, object]:
    found = _STEP.fullmatch(part)
    if found is None:
        raise _error(part)
    if found["flag"]:
        return "repair", True
    if found["factor"]:
        return "cls", _factor(found["factor"], part)
    blocks = parse_blocks(found["blocks"])
    if blocks is None or (found["name"] != "levels" and len(blocks) != 1):
        raise _error(part)
    return found["name"], blocks if found["name"] == "levels" else blocks[0]


def _factor(text: str, part: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _error(part) from None
    if not math.isfinite(value) or value == 0:
        raise _error(part)
    return value


def _error(part: object) -> ValueError:
    return ValueError(
        'Expected steps to be some of "repair", "before@-4", "levels@-9..-3", "cls*0.3" and "after@-9", each once, '
        f'with other blocks and factors as wanted, joined by " + ", but got {part!r}'
    )
