"""What the Study page hands out: every plot and table as numbers, one HTML file with all of them, and their Python."""

import html
from collections.abc import Iterator
from functools import partial
from typing import Any

from dashboard.case import method_title
from dashboard.exports import Exports, File
from dashboard.pages.study import compare, layout, more, plots, results, segmentation
from dashboard.pages.study.pieces import Piece
from dashboard.pages.study.results import Shown
from data.store import to_csv

MOST_ROWS = 200
"""Rows of a table in the report; the files have all."""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2rem auto; color: #1b2228; }}
pre {{ background: #f3f5f7; padding: 1rem; overflow: auto; }} table {{ border-collapse: collapse; font-size: 13px; }}
details {{ overflow: auto; }}
td, th {{ padding: .2rem .8rem; border-bottom: 1px solid #ccd; text-align: right; }}</style>
<h1>{title}</h1><p>{words}</p>{parts}<h2>How to make it again</h2><pre>{python}</pre></html>
"""
HEAD = """\
from analysis.studies import Study, compare_studies, open_study, run_study
from analysis.studies.curves import SweepLine, method_figures, read_figure, read_sweep, turning_shares
from analysis.studies.groups import split_flipped
from analysis.studies.paired import blame_groups, difference_groups, most_changed
from analysis.studies.pairs import read_columns, read_pairs
"""


def study_exports(shown: Shown) -> Exports:
    """Every plot and table of the page."""
    found = list(pieces_of(shown))
    python = python_of(shown, found)
    files = {"Report, one HTML file": File("study-report.html", partial(report, shown, found, python), "all plots")}
    for piece in found:
        files[f"CSV, {piece.title}"] = File(f"study-{piece.name}.csv", partial(_csv, piece))
    return Exports(python, files, _words(shown))


def pieces_of(shown: Shown) -> Iterator[Piece]:
    """Every plot and table that is on the page, in its order."""
    if len(shown.seen):
        yield Piece("maps", "Maps", lambda: shown.seen.table(shown.kept), ("maps = pairs.table(kept)",))
        yield from plots.pieces(shown)
        yield from more.pieces(shown)
    yield from segmentation.pieces(shown)
    if len(shown.seen):
        yield from layout.pieces(shown)
        yield from compare.pieces(shown)


def _csv(piece: Piece) -> bytes:
    return to_csv(piece.table())


def python_of(shown: Shown, found: list[Piece]) -> str:
    """The study again, and every table of the page from it."""
    settings, request = shown.settings, shown.folder.request["study"]
    if not shown.folder.study.data.startswith("toy"):
        request = request | {"data": f"path/to/{shown.folder.request['data set']}"}
    chosen = {"text": settings.text, "low": settings.low, "high": settings.high, "images": settings.chosen}
    given = "".join(f", {name}={value!r}" for name, value in chosen.items() if value not in ("", None, ()))
    lines = [
        HEAD,
        f"study = Study.from_json({_wrapped(request)})",
        'run_study(study, "out/study")  # goes on where it was stopped',
        'folder = open_study("out/study")',
        "pairs = read_pairs(folder)",
        f"method, other = {settings.method!r}, {settings.other!r}",
        f"kept = pairs.chosen(method{given})",
    ]
    for piece in found:
        lines += ["", f"# {piece.title}", *piece.python, f"print({piece.variable})"]
    return "\n".join(lines)


def _wrapped(request: dict[str, Any]) -> str:
    """A request as a Python dictionary, a field a line."""
    inner = "".join(f"\n    {name!r}: {value!r}," for name, value in request.items())
    return f"{{{inner}\n}}"


def report(shown: Shown, found: list[Piece], python: str) -> bytes:
    """One HTML file that needs no network."""
    parts, plotly = [], True
    for piece in found:
        parts.append(f"<h2>{html.escape(piece.title)}</h2>")
        if piece.figure is not None:
            parts.append(piece.figure().to_html(full_html=False, include_plotlyjs=plotly))
            plotly = False
        table = piece.table()
        words = f"{len(table):,} rows" + (f", the first {MOST_ROWS}" if len(table) > MOST_ROWS else "")
        rows = table.head(MOST_ROWS).round(4).to_html(index=False)
        parts.append(f"<details{'' if piece.figure else ' open'}><summary>{words}</summary>{rows}</details>")
    escaped = {"title": html.escape(shown.title), "words": html.escape(_words(shown)), "python": html.escape(python)}
    return PAGE.format(**escaped, parts="".join(parts)).encode()


def _words(shown: Shown) -> str:
    kept, said = int(shown.kept.sum()), f"{shown.title}. {results.state_of(shown.key)}."
    if not kept:
        return said
    share = float(shown.seen.flipped(shown.settings.method)[shown.kept].mean())
    return f"{said} {kept:,} maps, {share:.0%} of them flipped by {method_title(shown.settings.method)}."
