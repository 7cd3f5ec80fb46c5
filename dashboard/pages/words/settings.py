"""What Words sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from analysis.text_paths import BASELINES
from analysis.word_measures import WORD_MEASURES
from dashboard.fields import choice, switch, text
from dashboard.settings import Settings

SIDES = ("pairs", "blame")
CHEFER, GRAD_ECLIP = ("chefer", "chefer_all"), ("grad_eclip", "grad_eclip_own_heads")


@dataclass(frozen=True, slots=True)
class WordsSettings(Settings):
    """Settings of the page Words.

    Attributes:
        measure: whose matrix of words and patches is shown.
        chefer, grad_eclip: which of their two forms stands in the table.
        baseline: of integrated gradients.
        every: whether the maps of slow measures are computed too; those of the toy always are.
        side: "pairs" (words against patches) or "blame" (which part of the network wrote the cosine with the target).
    """

    PAGE: ClassVar = "words"
    FIELDS: ClassVar = {
        "measure": text("measure", choice(*WORD_MEASURES)),
        "chefer": text("chefer", choice(*CHEFER)),
        "grad_eclip": text("grad_eclip", choice(*GRAD_ECLIP)),
        "baseline": text("baseline", choice(*BASELINES)),
        "every": switch("every"),
        "side": text("side", choice(*SIDES)),
    }

    measure: str = "left_out"
    chefer: str = "chefer"
    grad_eclip: str = "grad_eclip"
    baseline: str = "padding"
    every: bool = False
    side: str = "pairs"

    @property
    def measures(self) -> tuple[str, ...]:
        """The rows of the table, from top to bottom."""
        return ("left_out", "tokens", "cosine", self.chefer, self.grad_eclip, "exclip", "gradients")
