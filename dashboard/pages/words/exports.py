"""What can be taken away from the Words page: every number, every array, the lines of Python."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.word_measures import WordRelevance
from dashboard.case import Case
from dashboard.pages.words.results import Board, caption_of
from dashboard.pages.words.settings import WordsSettings
from dashboard.panels.page import Exports, File
from dashboard.snippets import import_methods, import_numerals, join, python_case, python_method
from data.store import to_csv


def words_exports(case: Case, own: WordsSettings, shown: Board) -> Exports:
    """The exports of the page; files are made when they are asked for."""
    files = {
        "CSV, a row a word": File("words.csv", lambda: to_csv(words_table(shown))),
        "NPZ, all arrays": File("words.npz", lambda: words_npz(shown)),
        "JSON, settings and words": File("words.json", lambda: words_json(case, own, shown)),
    }
    return Exports(python=python_words(case, own, [*shown.found]), files=files)


def words_table(shown: Board) -> pd.DataFrame:
    """One row per measure and unit: measure, position, unit, relevance to the image, and what the number is."""
    frames = [
        pd.DataFrame(
            {
                "measure": name,
                "position": np.arange(len(shown.target.units)),
                "word": shown.target.units,
                "relevance": found.image,
                "unit": found.unit,
            }
        )
        for name, found in shown.found.items()
    ]
    return pd.concat(frames, ignore_index=True)


def words_npz(shown: Board) -> bytes:
    """Units (u,), per measure `<name>_image` (u,) and `<name>_patches` (gh, gw, u), and the agreement (m, m)."""
    arrays = {"units": np.array(shown.target.units), "feature": shown.target.feature.float().cpu().numpy()}
    for name, found in shown.found.items():
        arrays[f"{name}_image"] = found.image
        if found.patches is not None:
            arrays[f"{name}_patches"] = found.patches
    if shown.agreement is not None:
        arrays |= {"measures": np.array(shown.agreement.names), "agreement": shown.agreement.rho}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def words_json(case: Case, own: WordsSettings, shown: Board) -> bytes:
    """Every setting, and per measure the relevance of every unit to the image; null where there is none."""
    measures = {name: _values(found) for name, found in shown.found.items()}
    content: dict[str, object] = {"case": asdict(case), "settings": asdict(own), "caption": shown.target.text}
    content |= {"units": list(shown.target.units), "measures": measures, "missing": dict(shown.missing)}
    if shown.agreement is not None:
        rows = [[_number(value) for value in row] for row in shown.agreement.rho]
        content["agreement"] = {"measures": shown.agreement.names, "spearman": rows}
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _values(found: WordRelevance) -> Mapping[str, object]:
    gap = {} if found.gap is None else {"completeness_gap": found.gap}
    return {"unit": found.unit, "relevance": [_number(value) for value in found.image], **gap}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def python_words(case: Case, own: WordsSettings, measures: list[str]) -> str:
    """`found[measure]`, with `.image` (u,) and `.patches` (gh, gw, u), and the numbers of the table."""
    imports = [
        "from surgery import encode_dense",
        *import_methods([case.method_a]),
        *import_numerals("signed"),
        "from analysis.word_measures import word_relevance",
        "from analysis.word_targets import read_target",
    ]
    baseline = "" if own.baseline == "padding" else f", baseline={own.baseline!r}"
    shown = "one.image" if case.patch is None else f"one.patches[{case.patch[0]}, {case.patch[1]}]"
    body = [
        f"method = {python_method(case, case.method_a)}",
        "features = encode_dense(model, pixels, method)",
        f"target = read_target(model, {caption_of(case)!r})",
        f"measures = {measures!r}",
        f"found = {{m: word_relevance(model, features, target, m, pixels=pixels{baseline}) for m in measures}}",
        "for name, one in found.items():",
        f'    print(name, *(f"{{word}} {{signed(value)}}" for word, value in zip(target.units, {shown}, strict=True)))',
    ]
    return join(python_case(case, "pixels"), imports, body)
