"""What a page hands out: the lines of Python, its files, and everything it has drawn, as one ZIP with a README.

    Exports(python=..., files={"CSV, a row a patch": File("maps.csv", make, "cosines; row and column from 0")})

Pictures need no entry: `dashboard.panels.shown` knows what is on the page, and each becomes a PNG, an SVG and a PDF.
"""

import io
import textwrap
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
from matplotlib.figure import Figure

from dashboard.figure_png import KINDS, save_page

Draw = Callable[[], Figure]
IN_WORDS = frozenset({"model", "weights", "image", "p", "region", "patch", "block", "head", "word", "pin", "pair"})
"""Settings that the case names in words, or that are no part of a picture."""

SMALL, CHARS_AN_INCH = 5.5, 22
"""Points of the line below a picture that says what is looked at, and how many characters fit."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the ZIP.

    The function runs outside of the session: it closes over results, and calls nothing of `services` or `state`.

    Attributes:
        name: of the file.
        make: gives its content when it is asked for.
        about: units, columns, shapes, for the README.
    """

    name: str
    make: Callable[[], bytes]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Exports:
    """What a page hands out.

    Attributes:
        python: the lines that give the same numbers in a notebook; see `dashboard.snippets`.
        files: what it is, such as "CSV, a row a patch" -> file.
        about: what is looked at, in words; "" for the case on the table.
    """

    python: str = ""
    files: Mapping[str, File] = field(default_factory=dict)
    about: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """All that goes into the ZIP of a page.

    Attributes:
        name: of the page.
        title: of the page, and what it answers.
        case: what is looked at, in words.
        settings: name -> value, as in the address.
        exports: of the page.
        pictures: key -> title, and how to draw it.
    """

    name: str
    title: str
    case: str
    settings: Mapping[str, Sequence[str]]
    exports: Exports
    pictures: Mapping[str, tuple[str, Draw]]


def make_zip(archive: Archive) -> bytes:
    """The ZIP, whole or not at all: what cannot be drawn is named in the README with the reason."""
    stream, rows = io.BytesIO(), []
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for key, (title, draw) in archive.pictures.items():
            rows.append(_add_picture(target, archive, key, title, draw))
        for what, file in archive.exports.files.items():
            content = file.make()
            target.writestr(file.name, content)
            rows.append((file.name, what, "; ".join(filter(None, (file.about, layout_of(file.name, content))))))
        if archive.exports.python:
            target.writestr(f"{archive.name}.py", archive.exports.python)
            rows.append((f"{archive.name}.py", "Python, the same numbers in a notebook", ""))
        target.writestr("README.md", readme(archive, rows))
    return stream.getvalue()


def _add_picture(target: zipfile.ZipFile, archive: Archive, key: str, title: str, draw: Draw) -> tuple[str, str, str]:
    """Adds a picture in every kind, with what is looked at below it, and returns its row of the README."""
    rest = key.removeprefix(archive.name)
    stem = f"{archive.name}-{file_stem(rest)}" if rest else archive.name
    try:
        page = draw()
    except ValueError as error:
        return stem, title, f"not drawn: {error}"
    words = textwrap.fill(_caption(archive), round(CHARS_AN_INCH * page.get_figwidth()))
    page.text(0.01, -0.01, words, fontsize=SMALL, va="top", color="0.4", parse_math=False)
    for kind in KINDS:
        target.writestr(f"{stem}.{kind}", save_page(page, kind, tight=True))
    return f"{stem}.{', .'.join(KINDS)}", title, "as seen on the page"


def _caption(archive: Archive) -> str:
    """What is looked at, and every setting that this does not name."""
    settings = [f"{name} {', '.join(values)}" for name, values in archive.settings.items() if name not in IN_WORDS]
    return " · ".join(filter(None, (archive.case, *settings)))


def layout_of(name: str, content: bytes) -> str:
    """Columns of a table and arrays of an NPZ, as they are in the file; "" for other files."""
    if name.endswith(".csv"):
        head, _, rest = content.decode().partition("\n")
        return f"{rest.count(chr(10))} rows of {head.strip()}"
    if name.endswith(".npz"):
        with np.load(io.BytesIO(content)) as arrays:
            shapes = {key: " x ".join(map(str, arrays[key].shape)) or "one number" for key in arrays.files}
        return ", ".join(f"{key} ({shape})" for key, shape in shapes.items())
    return ""


def file_stem(key: str) -> str:
    """A name that every file system takes.

    >>> file_stem("lens, A − B")
    'lens-a-b'
    """
    words = "".join(c.lower() if c.isascii() and c.isalnum() else " " for c in key).split()
    return "-".join(words) or "figure"


def readme(archive: Archive, rows: Sequence[tuple[str, str, str]]) -> str:
    """What is in the ZIP, with which settings it was made, and how to make it again."""
    lines = [
        f"# {archive.title}",
        "",
        _inert(archive.case),
        "",
        "## Files",
        "",
        "| file | what it is | units and layout |",
        "|---|---|---|",
        *(f"| {' | '.join(_inert(cell) for cell in row)} |" for row in rows),
        "",
        "Pictures are drawn by matplotlib from the figures of the page; texts in SVG and PDF stay texts. Maps: hue is",
        "the sign, opacity the magnitude: the grey photograph alone is 0. Rows, columns, blocks, heads count from 0.",
        "",
        "## Settings",
        "",
        *(f"- {_inert(name)}: {_inert(', '.join(values) or 'none')}" for name, values in archive.settings.items()),
        "",
        "What is not named stands at its default.",
        "",
        "## How to make it again",
        "",
        f"`python {archive.name}.py`, with clip-theatre {version('clip-theatre')} installed, prints the numbers;",
        "or open the dashboard with the settings above in its address.",
        "",
    ]
    return "\n".join(lines)


def _inert(text: str) -> str:
    """A visitor's words in a line of a table: no markup, no line of its own."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text.replace("\n", " "))
