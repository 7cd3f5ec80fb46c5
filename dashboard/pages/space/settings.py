"""What Space sets for itself alone."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from dashboard.fields import Field, choice, read_method_name, read_natural, read_ranges, single, text, write_ranges
from dashboard.settings import Settings

TOKENS_OF = ("block", "method", "all_blocks")
PROJECTIONS = ("pca", "umap")
COLOURS = ("region", "nearest", "source")


def _block_or_method(value: str) -> str:
    return str(read_natural(value)) if value.isdecimal() else read_method_name(value)


@dataclass(frozen=True, slots=True)
class SpaceSettings(Settings):
    """Settings of the page Space.

    Attributes:
        tokens_of: what is laid out: the residual stream after a "block", the features of a "method", or "all_blocks"
            one after the other.
        overlay: what is laid out beside it: numbers of blocks and names of methods.
        projection: "pca" or "umap".
        colour: what points are coloured by: "region", "nearest" (prompt) or "source" (block or method).
        lit: patches lit up by a lasso or a box, counted row by row, ascending.
    """

    PAGE: ClassVar = "space"
    FIELDS: ClassVar = {
        "tokens_of": text("tokens", choice(*TOKENS_OF)),
        "overlay": Field("overlay", list, lambda values: tuple(_block_or_method(value) for value in values)),
        "projection": text("projection", choice(*PROJECTIONS)),
        "colour": text("colour", choice(*COLOURS)),
        "lit": single("lit", read_ranges, write_ranges),
    }

    tokens_of: str = "block"
    overlay: tuple[str, ...] = ()
    projection: str = "pca"
    colour: str = "region"
    lit: tuple[int, ...] = ()

    def fitted(self, grid: tuple[int, int]) -> Self:
        """Nothing is lit where a lit patch is not on the grid."""
        return replace(self, lit=()) if any(index >= grid[0] * grid[1] for index in self.lit) else self

    def of_new_image(self) -> Self:
        """Another image: nothing is lit."""
        return replace(self, lit=())
