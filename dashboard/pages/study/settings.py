"""What Study sets for itself alone."""

from dataclasses import dataclass
from typing import ClassVar

from dashboard.fields import (
    choice,
    optional,
    read_method_name,
    read_natural,
    read_number,
    read_ranges,
    single,
    text,
    write_ranges,
)
from dashboard.settings import Settings

SORTS = ("flipped", "lit", "contrast", "term", "order")
GROUPS = (
    "norm.residual",
    "norm.attention",
    "norm.mlp",
    "cosine.residual",
    "cosine.attention",
    "entropy",
    "mass.qk",
    "mass.vv",
)


PLACES = ("area", "row", "column")
SWEPT = ("contrast", "score_contrast", "flip_auc", "iou")
MOST_IMAGES = 1_000_000


def read_images(value: str) -> tuple[int, ...]:
    """Numbers of pictures, ascending, as `dashboard.fields.write_ranges` writes them.

    Raises:
        ValueError: no such numbers.
    """
    return read_ranges(value, MOST_IMAGES, "pictures")


@dataclass(frozen=True, slots=True)
class StudySettings(Settings):
    """Settings of the page Study.

    Attributes:
        id: the study that is shown, see `dashboard.studies`; "" for none yet.
        collection: what a new study runs over, see `dashboard.studies.collections`.
        zips: SHA-256 of the archives that were brought, separated by spaces.
        limit: a new study takes the first so many pictures; None for all.
        method, other: the two methods that are compared; the first is also that of the grid and of the blame.
        sort: one of `SORTS`: lowest AUC first, highest first, lowest contrast, most negative term, as in the data set.
        text: only this class; "" for all.
        low, high: only maps whose AUC is in this range.
        chosen: numbers of the images that a lasso or a click has chosen; empty for all.
        component: label of the chosen component.
        depth: the chosen depth of the lens.
        layers: the quantity of the layer curves, one of `GROUPS`.
        place: what the contrast is drawn against, one of `PLACES`.
        figure: "MEASURE.QUANTITY" of the figures of every method.
        line, swept: line of the alpha sweep, and what is drawn over alpha, one of `SWEPT`.
        page, segmented: page of the grid and of the label maps, from 0.
        against: id of the study that is compared; "" for none.
    """

    PAGE: ClassVar = "study"
    FIELDS: ClassVar = {
        "id": text("id"),
        "collection": text("collection"),
        "zips": text("zips"),
        "limit": optional("limit", read_natural),
        "method": text("method", read_method_name),
        "other": text("other", read_method_name),
        "sort": text("sort", choice(*SORTS)),
        "text": text("class"),
        "low": optional("low", read_number, repr),
        "high": optional("high", read_number, repr),
        "chosen": single("chosen", read_images, write_ranges),
        "component": text("component"),
        "depth": optional("depth", read_natural),
        "layers": text("layers", choice(*GROUPS)),
        "place": text("place", choice(*PLACES)),
        "figure": text("figure"),
        "line": text("line"),
        "swept": text("swept", choice(*SWEPT)),
        "page": single("page", read_natural),
        "segmented": single("segmented", read_natural),
        "against": text("against"),
    }

    id: str = ""
    collection: str = "toy"
    zips: str = ""
    limit: int | None = None
    method: str = "clip"
    other: str = "clip_surgery"
    sort: str = "flipped"
    text: str = ""
    low: float | None = None
    high: float | None = None
    chosen: tuple[int, ...] = ()
    component: str = ""
    depth: int | None = None
    layers: str = "norm.residual"
    place: str = "area"
    figure: str = "maps.flip_auc"
    line: str = ""
    swept: str = "contrast"
    page: int = 0
    segmented: int = 0
    against: str = ""
