"""Published mIoU of training-free CLIP segmentation, as data, each with where it was printed.

Source: a, the repositories' own tables; b, ClearCLIP (arXiv 2407.12442), supplementary table 2; c, ResCLIP (arXiv
2411.15851), main tables, which quote the others; d, CLIP Surgery (arXiv 2304.05653), table 6, in its own protocol.
"""

from dataclasses import dataclass

from analysis.evaluation.presets import DATA_SETS

VIT_B, VIT_L = "ViT-B-16", "ViT-L-14"
SOURCES = {
    "a": "the method's repository",
    "b": "ClearCLIP, supplementary table 2",
    "c": "ResCLIP, main tables",
    "d": "CLIP Surgery, table 6, own protocol",
}


@dataclass(frozen=True, slots=True)
class Published:
    """One printed figure.

    Attributes:
        miou: in percent.
        source: a key of `SOURCES`.
        note: what differs between where it is printed and elsewhere; often empty.
    """

    miou: float
    source: str
    note: str = ""


_COLUMNS = DATA_SETS[:8]  # voc21, context60, coco_object, voc20, context59, coco_stuff, cityscapes, ade20k
_ROWS: dict[tuple[str, str], tuple[str, str]] = {
    ("clip", VIT_B): ("16.2 7.7 5.5 41.8 9.2 4.4 5.5 2.1", "c c c b b b b b"),
    ("maskclip", VIT_B): ("38.8 23.6 20.6 74.9 26.4 16.4 12.6 9.8", "c c c b b b b b"),
    ("clip_surgery", VIT_B): ("- - - - 29.3 21.9 31.4 -", "d d d d d d d d"),
    ("gem", VIT_B): ("46.2 32.6 - 79.9 35.9 23.7 30.8 15.7", "c c c b b b b b"),
    ("sclip", VIT_B): ("59.63 31.74 33.52 81.54 34.46 22.77 32.34 16.45", "a a a a a a a a"),
    ("clearclip", VIT_B): ("51.8 32.6 33.0 80.9 35.9 23.9 30.0 16.7", "c c c b b b b b"),
    ("naclip", VIT_B): ("58.9 32.2 33.2 79.7 35.2 23.3 35.5 17.4", "c c c c c c c c"),
    ("naclip_pamr", VIT_B): ("64.07 34.99 36.19 83.03 38.35 25.69 38.27 19.05", "a a a a a a a a"),
    ("resclip", VIT_B): ("61.1 33.5 35.0 86.0 36.8 24.7 35.9 18.0", "c c c c c c c c"),
    ("itaclip", VIT_B): ("67.9 37.5 37.7 - - 27.0 40.2 -", "a a a a a a a a"),
    ("clip", VIT_L): ("- - - 15.8 4.5 2.4 2.9 1.2", "b b b b b b b b"),
    ("maskclip", VIT_L): ("- - - 30.1 12.6 8.9 10.1 6.9", "b b b b b b b b"),
    ("gem", VIT_L): ("- - - 80.3 26.4 17.6 22.6 11.6", "b b b b b b b b"),
    ("sclip", VIT_L): ("44.4 22.3 24.9 60.3 20.5 13.1 17.0 7.1", "c c c b b b b b"),
    ("clearclip", VIT_L): ("48.7 28.3 29.7 80.0 29.6 19.9 27.9 15.0", "c c c b b b b b"),
    ("naclip", VIT_L): ("52.2 28.7 29.9 78.7 32.1 21.4 31.4 17.3", "c c c c c c c c"),
    ("resclip", VIT_L): ("54.1 30.9 32.5 85.5 34.5 23.4 33.7 18.2", "c c c c c c c c"),
}
_SCLIP_PAPER = "59.1 30.4 30.5 80.4 34.2 22.4 32.2 16.1"
_SCLIP_COMMON = "- - - 78.2 33.0 21.1 29.1 14.6"


def _cells(line: str) -> dict[str, str]:
    return {name: cell for name, cell in zip(_COLUMNS, line.split(), strict=True) if cell != "-"}


def _figures() -> dict[tuple[str, str, str], Published]:
    found = {}
    papers, notes = _cells(_SCLIP_PAPER), {}
    for name, value in papers.items():
        notes["sclip", VIT_B, name] = f"the paper prints {value}, its repository another figure"
    for (method, model), (figures, sources) in _ROWS.items():
        where = dict(zip(_COLUMNS, sources.split(), strict=True))
        for name, figure in _cells(figures).items():
            note = notes.get((method, model, name), "")
            if method == "clip_surgery" and name == "context59":
                note = 'printed as "PASCAL Context"'
            found[method, model, name] = Published(float(figure), where[name], note)
    return found


PUBLISHED: dict[tuple[str, str, str], Published] = _figures() | {
    ("sclip", VIT_B, "coco_stuff10k"): Published(25.91, "a")
}
"""(method, model, data set) -> figure; methods as in `analysis.evaluation.presets.METHOD_NAMES`."""

PUBLISHED_COMMON: dict[tuple[str, str, str], Published] = {
    key: figure for key, figure in PUBLISHED.items() if key[0] in ("clip", "maskclip", "gem", "clearclip")
} | {("sclip", VIT_B, name): Published(float(figure), "b") for name, figure in _cells(_SCLIP_COMMON).items()}
"""Figures of several methods in one protocol, ClearCLIP's."""


def published(method: str, model: str, data_set: str, common: bool = False) -> Published | None:
    """The printed figure, None where there is none.

    Args:
        method, data_set: as in `analysis.evaluation.PROTOCOLS`.
        model: an open_clip architecture; "-quickgelu" makes no difference.
        common: in the one protocol for all methods instead of the method's own.

    >>> published("sclip", "ViT-B-16-quickgelu", "voc21").miou
    59.63
    """
    table = PUBLISHED_COMMON if common else PUBLISHED
    return table.get((method, model.replace("/", "-").removesuffix("-quickgelu"), data_set))
