"""The linked parts of the Words page that the browser draws: the table of measures, and words against patches."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from analysis.agreement import RankAgreement
from analysis.regions import Region
from analysis.word_measures import WORD_MEASURES, WordRelevance
from dashboard.case import Case
from dashboard.figures.theme import NEGATIVE_RGB, POSITIVE_RGB, shared_limit
from dashboard.figures.words import patch_order
from dashboard.pages.words.results import Board
from dashboard.pages.words.settings import WordsSettings
from dashboard.panels.mapview import FOLDER, script

HERE = Path(__file__).resolve().parent
COLOURS = {"positive": ",".join(map(str, POSITIVE_RGB)), "negative": ",".join(map(str, NEGATIVE_RGB))}
SLOW = "slow here: press “maps of every measure”"


def _component(name: str) -> Callable[..., Any]:
    return st.components.v2.component(
        f"clip_theatre_words_{name}",
        html=f'<div class="{name}"></div>',
        css=(HERE / f"{name}.css").read_text(encoding="utf-8"),
        js=script(FOLDER / "dom.js", FOLDER / "patches.js", HERE / f"{name}.js"),
    )


_board, _pairs = _component("board"), _component("pairs")


def render_board(data: Mapping[str, Any], on_event: Callable[[Mapping[str, Any]], None]) -> None:
    """Draws the table from `board_payload`; events are {"type": "word", "index"} and {"type": "measure", "name"}."""
    _render(_board, "words board", data, on_event)


def render_pairs(data: Mapping[str, Any], on_event: Callable[[Mapping[str, Any]], None]) -> None:
    """Draws the matrix from `pairs_payload`; its events are those of a map view's patches."""
    _render(_pairs, "words pairs", data, on_event)


def _render(
    component: Callable[..., Any], key: str, data: Mapping[str, Any], on_event: Callable[[Mapping[str, Any]], None]
) -> None:
    def happened() -> None:
        event = st.session_state[key].event
        if isinstance(event, Mapping):
            on_event(event)

    component(key=key, data=data, on_event_change=happened)


def board_payload(case: Case, own: WordsSettings, shown: Board, chosen: int, grid: tuple[int, int]) -> dict[str, Any]:
    """What the table shows; pure.

    Args:
        case: any case.
        own: settings of the page.
        shown: its measures.
        chosen: the marked unit.
        grid: rows and columns of patches.
    """
    target = shown.target
    words, starts = set(target.word_units), target.first_units
    signs = {start: "+" if term.weight > 0 else "−" for start, term in zip(starts, target.terms, strict=True)}
    units = [
        {"text": name, "special": index not in words, "sign": signs.get(index, "") if len(signs) > 1 else ""}
        for index, name in enumerate(target.units)
    ]
    return {
        "units": units,
        "measures": [_measure(name, shown) for name in own.measures],
        "agreement": None if shown.agreement is None else _agreement(own, shown.agreement),
        "chosen": chosen,
        "measure": own.measure,
        "patch": None if case.patch is None else list(case.patch),
        "grid": list(grid),
        "colours": COLOURS,
    }


def _measure(name: str, shown: Board) -> dict[str, Any]:
    kind, found = WORD_MEASURES[name], shown.found.get(name)
    if found is None:
        return _row(name, kind.title, kind.unit, None, "", 1.0, 1.0, shown.missing.get(name, ""))
    patches = "" if found.patches is None else _floats(found.patches)
    limits = [word_limit(found, values) for values in (found.image, found.patches) if values is not None]
    note = SLOW if found.patches is None else ""
    return _row(name, kind.title, kind.unit, _numbers(found.image), patches, limits[0], limits[-1], note)


def _row(
    name: str,
    title: str,
    unit: str,
    image: list | None,
    patches: str,
    image_limit: float,
    patch_limit: float,
    note: str,
) -> dict[str, Any]:
    limits = {"image_limit": image_limit, "patch_limit": patch_limit}
    return {"name": name, "title": title, "unit": unit, "image": image, "patches": patches, "note": note} | limits


def _agreement(own: WordsSettings, found: RankAgreement) -> dict[str, Any]:
    """Its matrix in the order of the table's rows, with empty places for measures without values."""
    at = {name: index for index, name in enumerate(found.names)}
    rho = [
        [_number(found.rho[at[a], at[b]]) if a in at and b in at else None for b in own.measures] for a in own.measures
    ]
    return {"rho": rho, "items": found.items, "critical": min(found.critical, 9.0), "note": agreement_note(found)}


def agreement_note(found: RankAgreement) -> str:
    """From which size on a correlation is more than chance, in words. Pure."""
    if not np.isfinite(found.critical):
        return f"No correlation of {found.items} words can be told from chance (5 %)."
    return f"From {found.critical:.2f} on, underlined, it is not chance (5 %, each pair alone)."


def pairs_payload(case: Case, found: WordRelevance, region: Region | None, chosen: int) -> dict[str, Any]:
    """What the matrix shows: words against patches, those of the region first; pure. Needs the maps of all patches."""
    patches = found.patches
    grid = patches.shape[:2]
    foreground = None if region is None else region.foreground
    order = patch_order(foreground, grid[0] * grid[1])
    return {
        "title": f"{WORD_MEASURES[found.measure].title}: words against patches",
        "units": list(found.target.units),
        "values": _floats(patches.reshape(len(order), -1)[order].T),
        "order": order.tolist(),
        "first": 0 if foreground is None else int(foreground.sum()),
        "limit": word_limit(found, patches),
        "unit": found.unit,
        "hint": "Left of the dots the patches of the region." if foreground is not None else "Patches row by row.",
        "chosen": chosen,
        "patch": None if case.patch is None else list(case.patch),
        "grid": list(grid),
        "colours": COLOURS,
    }


def word_limit(found: WordRelevance, values: np.ndarray) -> float:
    """The end of a measure's scale: it holds its words; start and end token can be far larger, and run over. Pure."""
    words = values[..., list(found.target.word_units)]
    return shared_limit([words[np.isfinite(words)]])


def _floats(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
