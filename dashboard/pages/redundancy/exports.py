"""What can be taken away from the Redundancy page: every measure, every array."""

import io
import json
from dataclasses import asdict, fields

import numpy as np
import pandas as pd

from analysis.label_set import LabelSetEffect
from analysis.redundancy import Redundancy
from dashboard import services
from dashboard.case import Case
from dashboard.pages.redundancy.settings import RedundancySettings
from dashboard.panels.page import Exports, File
from dashboard.services import Maps
from dashboard.snippets import ARRAYS, IMPORT_ARRAYS, import_methods, join, python_case, python_empty, python_method
from data.store import to_csv

STAGES = ("before", "after")


def redundancy_exports(
    case: Case, own: RedundancySettings, found: Redundancy, effect: LabelSetEffect | None
) -> Exports:
    """The exports of the page; files are made when they are asked for."""
    maps = tuple(services.maps(case, case.method_a, surgery=on) for on in (False, True))
    return Exports(
        python=python_redundancy(case),
        files={
            "CSV, a row a label": File("redundancy.csv", lambda: to_csv(label_table(found, effect))),
            "NPZ, all arrays": File("redundancy.npz", lambda: redundancy_npz(found, maps)),
            "JSON, settings and measures": File("redundancy.json", lambda: redundancy_json(case, own, found, effect)),
        },
    )


def label_table(found: Redundancy, effect: LabelSetEffect | None) -> pd.DataFrame:
    """One row per label: its weight, and per other label how far that map moves and stays alike without this one."""
    table = pd.DataFrame({"label": found.labels, "weight": found.weights[0]})
    if effect is not None:
        for index, label in enumerate(effect.labels):
            table[f"mean change of {label}"] = effect.mean_change[0, :, index]
            table[f"correlation of {label}"] = effect.correlation[0, :, index]
    return table


def redundancy_npz(found: Redundancy, maps: tuple[Maps, ...]) -> bytes:
    """Every array of the measure for this image, and the maps (gh, gw, t) before and after."""
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    arrays = {name: value[0] for name, value in values.items() if isinstance(value, np.ndarray)}
    arrays |= {f"maps_{stage}": of_stage.patches for stage, of_stage in zip(STAGES, maps, strict=True)}
    stream = io.BytesIO()
    np.savez_compressed(stream, labels=np.array(found.labels), **arrays)
    return stream.getvalue()


def redundancy_json(case: Case, own: RedundancySettings, found: Redundancy, effect: LabelSetEffect | None) -> bytes:
    """The case, weights, shares, correlations and strongest channels; NaN as null."""
    channels = found.strongest_channels()
    content = {
        "case": asdict(case),
        "settings": asdict(own),
        "method": asdict(found.method),
        "common": found.common,
        "weights": dict(zip(found.labels, found.weights[0].tolist(), strict=True)),
        "share_of_the_image": float(found.channel_share[0].sum()),
        "cls_share": float(found.cls_share[0]),
        "correlation_before": _rows(found.correlation_before[0]),
        "correlation_after": _rows(found.correlation_after[0]),
        "strongest_channels": {int(channel): float(found.channel_share[0, channel]) for channel in channels},
    }
    if effect is not None:
        content["left_out"] = dict(zip(effect.changes, _rows(effect.mean_change[0]), strict=True))
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _rows(values: np.ndarray) -> list[list[float | None]]:
    return [[float(value) if np.isfinite(value) else None for value in row] for row in values]


def python_redundancy(case: Case) -> str:
    """`redundancy`, and with three labels or more `effect` of leaving each out."""
    imports = [
        "from analysis import compute_redundancy",
        "from analysis.numerals import number, signed",
        "from surgery import encode_dense",
        *import_methods([case.method_a]),
    ]
    redundant = ", redundant=empty" if len(case.prompts) == 1 else ""
    body = [
        f"method = {python_method(case, case.method_a)}",
        "features = encode_dense(model, pixels, method)",
        *python_empty(case),
        f"redundancy = compute_redundancy(features, text, prompts{redundant})",
        "for label, weight in zip(prompts, redundancy.weights[0], strict=True):",
        '    print(f"{label}: weight {number(weight)}")',
        'print(redundancy.map.shape, f"mean {signed(redundancy.map.mean())}")',
        'print(f"CLS share {number(100 * redundancy.cls_share[0])} %")',
    ]
    if len(case.prompts) > 1:
        imports += IMPORT_ARRAYS
        body += [ARRAYS, "print(redundancy.correlation_before[0], redundancy.correlation_after[0])"]
    needs = ["text", "pixels"]
    if len(case.prompts) > 2:
        imports.append("from analysis import label_set_effect")
        needs.append("region")
        region = ", region=region" if case.region else ""
        body.append(f"effect = label_set_effect(features, text, prompts{region})")
        body.append("print(effect.mean_change[0])  # a row a label that is left out")
    return join(python_case(case, *needs), imports, body)
