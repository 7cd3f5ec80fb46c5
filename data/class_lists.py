"""Class files of the segmentation protocols: a line a class, its names separated by comma and space.

Those of the public data sets lie in `data/classes/`; a user's own are read by path.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "classes"
CLASS_LISTS: tuple[str, ...] = tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))
"""Names of the lists that come along; `voc21_synonyms` is SCLIP's file of PASCAL VOC with background, and so on."""


def read_class_list(source: str | Path) -> tuple[tuple[str, ...], ...]:
    """Reads a class file.

    Args:
        source: one of `CLASS_LISTS`, or the path of a file.

    Returns:
        One tuple of names a class, in label order. Blank lines at the end are no classes.

    Raises:
        FileNotFoundError: neither a list that comes along nor a file.
        ValueError: no class, or a line without a name.

    >>> read_class_list("cityscapes")[-2:]
    (('motorcycle',), ('bicycle',))
    """
    path = FOLDER / f"{source}.txt" if str(source) in CLASS_LISTS else Path(source)
    if not path.is_file():
        choices = ", ".join(CLASS_LISTS)
        raise FileNotFoundError(
            f"Expected the class file to be one of {choices}, or an existing file, but got {str(source)!r}"
        )
    lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    if not lines:
        raise ValueError(f"Expected {path.name} to hold a line for each class, but got an empty file")
    classes = tuple(tuple(filter(None, (name.strip() for name in line.split(",")))) for line in lines)
    for number, names in enumerate(classes, start=1):
        if not names:
            raise ValueError(f"Expected every line of {path.name} to name a class, but got an empty line {number}")
    return classes
