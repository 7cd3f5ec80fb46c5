"""What can be taken away from the Compare page: maps, figures, blame, the two cases, and the lines that give them."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from dashboard import pins
from dashboard.case import case_of_pin
from dashboard.pages.compare import table
from dashboard.pages.compare.results import Side
from dashboard.pages.compare.settings import CompareSettings
from dashboard.panels.page import Exports, File
from dashboard.snippets import Script, import_methods, import_numerals, join, python_case, python_empty, python_method
from data.store import to_csv, to_json


def compare_exports(own: CompareSettings, sides: Sequence[Side]) -> Exports:
    """The exports of the page; files are made when they are asked for."""
    files = {
        "CSV, the figures": File("figures.csv", lambda: to_csv(table.figure_table(own, sides))),
        "CSV, a row a patch": File("maps.csv", lambda: to_csv(table.map_table(sides))),
        "NPZ, all arrays": File("compare.npz", lambda: compare_npz(sides)),
        "JSON, settings": File("compare.json", lambda: compare_json(own, sides)),
        "JSON, the two pins": File("pins.json", lambda: pins.write_pins([side.pin for side in sides])),
    }
    if all(side.depth is not None for side in sides):
        files["CSV, blame of A and B"] = File("blame.csv", lambda: to_csv(table.blame_table(sides)))
    about = "; ".join(f"{side.letter}: {pins.describe_pin(side.pin, side.pin.image)}" for side in sides)
    return Exports(python_compare(sides), files, about)


def compare_npz(sides: Sequence[Side]) -> bytes:
    """Per case the map (gh, gw) and, with a region, lens (L + 1,), terms (k,) and their labels."""
    arrays = {}
    for side in sides:
        arrays[f"map_{side.letter}"] = side.found.values
        if side.depth is not None:
            arrays[f"lens_{side.letter}"], arrays[f"terms_{side.letter}"] = side.depth.lens, side.depth.terms
            arrays[f"labels_{side.letter}"] = np.array([part.label for part in side.depth.components])
            arrays[f"foreground_{side.letter}"] = side.found.region.foreground
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def compare_json(own: CompareSettings, sides: Sequence[Side]) -> bytes:
    """Both cases, what differs, and the figures."""
    content = {
        "differences": pins.differences(sides[0].pin, sides[1].pin, str),
        "settings": asdict(own),
        "cases": {side.letter: to_json(side.pin) | {"unit": side.found.unit} for side in sides},
        "figures": {side.letter: table.figures_of(own, side) for side in sides},
    }
    return json.dumps(to_json(content), indent=2, ensure_ascii=False).encode(errors="backslashreplace")


def python_compare(sides: Sequence[Side]) -> str:
    """`map_a`, `map_b` (gh, gw) and, with regions, contrast, AUC, `lens_a`, `blame_a` and those of B."""
    imports, body = [], []
    for side in sides:
        more, lines = _python_side(side)
        imports += more
        body += [f"# case {side.letter}", *lines, ""]
    return join(Script(), imports, body[:-1])


def _python_side(side: Side) -> tuple[list[str], list[str]]:
    case, pin, name = case_of_pin(side.pin), side.pin, side.letter.lower()
    script = python_case(case, "text", "pixels", "region")
    imports = [*script.imports, *import_methods([pin.method]), "from surgery import encode_dense"]
    body = [
        *script.body,
        f"method = {python_method(case, pin.method)}",
        "features = encode_dense(model, pixels, method)",
    ]
    if not pin.feature_surgery:
        imports.append("from surgery import similarity")
        measure = "similarity(features, text)"
    else:
        imports.append("from surgery import feature_surgery")
        body += python_empty(case)
        measure = f"feature_surgery(features, text{', redundant=empty' if len(case.prompts) == 1 else ''})"
    body += [
        f"map_{name} = {measure}.patches[0, :, :, {pin.prompt}].cpu().numpy()  # (gh, gw)",
        f'print("{side.letter}", map_{name}.shape, f"mean {{signed(map_{name}.mean())}}")',
    ]
    imports += import_numerals("signed")
    if side.depth is not None:
        imports += import_numerals("auc")
        imports.append("from analysis import contrast, decompose, flip_auc, logit_lens")
        body += [
            f'print("contrast", signed(contrast(map_{name}, region)), "AUC", auc(flip_auc(map_{name}, region)))',
            "trace = model.trace(pixels, position_interpolation=method.position_interpolation)",
            f"feature = text[{pin.prompt} : {pin.prompt + 1}]",
            f"blame_{name} = decompose(trace, feature, method)",
            f"terms_{name} = blame_{name}.contrast(region)[0, :, 0]  # (k,), named by blame_{name}.labels",
            f"print(dict(zip(blame_{name}.labels, terms_{name}.round(3).tolist(), strict=True)))",
        ]
        if len(side.depth.lens):
            body += [
                f"lens_{name} = logit_lens(trace, feature).contrast(region)[0, :, 0]  # (blocks + 1,)",
                f"print(lens_{name}.round(3))",
            ]
    return imports, body
