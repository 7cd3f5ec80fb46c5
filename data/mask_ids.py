"""From the ids in the mask files of public data sets to class labels 0 ... c - 1, 255 ignored.

Source: the conversion rules of mmsegmentation and of GroupViT's COCO-Object, read as tables.
"""

import numpy as np

IGNORE = 255
UNKNOWN = -1
COCO_GAPS = frozenset({11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90})
"""Ids 0..181 of the raw stuff maps that no class has."""
COCO_THINGS_END = 90
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The 19 evaluated classes in the maps of all 34."""
CONTEXT_IDS = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
"""The 59 frequent classes among the 459 of PASCAL Context, in the order of their ids."""


def table_of(pairs: dict[int, int], rest: int = UNKNOWN) -> np.ndarray:
    """Table int16 (65536,) from ids to labels; ids that are not among the pairs give `rest`."""
    table = np.full(1 << 16, rest, np.int16)
    for id, label in pairs.items():
        table[id] = label
    return table


def plain(classes: int) -> np.ndarray:
    """The ids are the labels, 255 is ignored."""
    return table_of({id: id for id in range(classes)} | {IGNORE: IGNORE})


def zero_reduced(classes: int) -> np.ndarray:
    """0 is ignored, and 1 ... c become 0 ... c - 1."""
    return table_of({0: IGNORE, IGNORE: IGNORE} | {id + 1: id for id in range(classes)})


def stuff_of_raw() -> np.ndarray:
    """COCO-Stuff's 171 classes from the raw stuff maps: the gaps are closed."""
    ids = [id for id in range(182) if id not in COCO_GAPS]
    return table_of({id: label for label, id in enumerate(ids)} | {IGNORE: IGNORE})


def object_of_raw() -> np.ndarray:
    """COCO-Object's 81 labels from the raw stuff maps: things are 1..80; stuff and the unlabelled are background."""
    things = [id for id in range(COCO_THINGS_END) if id not in COCO_GAPS]
    rest = {id: 0 for id in range(COCO_THINGS_END + 1, 182)}
    return table_of({id: label for label, id in enumerate(things, start=1)} | rest | {IGNORE: 0})


def cityscapes_of_raw() -> np.ndarray:
    """Cityscapes' 19 classes from the maps of all 34; the others are ignored."""
    everything = dict.fromkeys((*range(34), IGNORE), IGNORE)
    return table_of(everything | {id: label for label, id in enumerate(CITYSCAPES_IDS)})


def context_of_raw(background: bool) -> np.ndarray:
    """PASCAL Context's 59 classes from the maps of all 459; the others are background, or ignored without one."""
    rest = dict.fromkeys(range(460), 0 if background else IGNORE)
    return table_of(rest | {id: label for label, id in enumerate(CONTEXT_IDS, start=int(background))})


def relabel(ids: np.ndarray, table: np.ndarray, name: str) -> np.ndarray:
    """Labels uint8 (H, W) of a mask.

    Raises:
        ValueError: ids that the data set does not have; the message names the first ones.
    """
    labels = table[ids]
    if labels.min(initial=0) < 0:
        unknown = np.unique(ids[labels < 0])[:10].tolist()
        raise ValueError(
            f"Expected the mask {name} to hold ids of its data set, but got {unknown}; it belongs to another data set, "
            "or was converted already"
        )
    return labels.astype(np.uint8)
