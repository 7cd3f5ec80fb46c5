"""What can be taken away from the Layers page: the tables, every array."""

import io
import json
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd

from dashboard.case import Case, examined_prompt
from dashboard.pages.layers.results import LayerMeasures, can_be_swept, has_closed_form, sweep_grid
from dashboard.pages.layers.settings import LayersSettings
from dashboard.panels.page import Exports, File
from dashboard.snippets import ARRAYS, IMPORT_ARRAYS, import_numerals, join, python_case, python_custom
from data.store import to_csv


def layers_exports(case: Case, own: LayersSettings, measures: LayerMeasures, sweep: pd.DataFrame | None) -> Exports:
    """The exports of the page, with the alpha sweep where there is one; files are made when they are asked for."""
    files = {
        "CSV, a row a block": File("layers.csv", lambda: to_csv(layers_table(measures))),
        "NPZ, all arrays": File("layers.npz", lambda: layers_npz(measures)),
        "JSON, settings and means": File("layers.json", lambda: layers_json(case, own, measures)),
    }
    if sweep is not None:
        files["CSV, the alpha sweep"] = File("alpha_sweep.csv", lambda: to_csv(sweep))
    return Exports(python=python_layers(case), files=files)


def layers_table(measures: LayerMeasures) -> pd.DataFrame:
    """One row per block, stream and group: mean norm, Frobenius norm and mean cosine."""
    norms, cosines = measures.norms, measures.cosines
    rows = []
    for stream in norms.streams:
        for group in norms.groups:
            mean, frobenius = norms.mean(stream, group)[:, 0], norms.frobenius(stream, group)[:, 0]
            alike = cosines.mean(stream, group)[:, 0] if stream in cosines.streams else np.full(len(mean), np.nan)
            for block in range(len(mean)):
                row = {"block": block, "stream": stream, "group": group, "norm": mean[block]}
                rows.append({**row, "frobenius_norm": frobenius[block], "cosine_to_cls": alike[block]})
    return pd.DataFrame(rows)


def layers_npz(measures: LayerMeasures) -> bytes:
    """Per stream the norms and cosines of all tokens (blocks, tokens), the entropies, and the groups."""
    arrays = {}
    for name, measure in (("norm", measures.norms), ("cosine", measures.cosines)):
        arrays |= {f"{name}_{stream}": getattr(measure, stream)[:, 0] for stream in measure.streams}
    arrays |= {"entropy": measures.entropy.values[:, 0]}
    arrays |= {f"group_{name}": mask[0] for name, mask in measures.norms.groups.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def layers_json(case: Case, own: LayersSettings, measures: LayerMeasures) -> bytes:
    """The case and the means over the groups."""
    table = layers_table(measures).astype(object)
    rows = table.where(table.notna(), None).to_dict(orient="records")
    content = {"case": asdict(case), "settings": asdict(own), "measures": rows}
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def python_layers(case: Case) -> str:
    """Norms, cosines, entropy, outliers and, with a region, the alpha sweep."""
    region = ", region" if case.region else ""
    imports = [
        "from analysis import compute_cosine_to_cls, compute_entropy, compute_norms, outlier_tokens",
        *IMPORT_ARRAYS,
    ]
    body = [
        ARRAYS,
        f"norms = compute_norms(trace{region})",
        f"cosines = compute_cosine_to_cls(trace{region})",
        f"entropy = compute_entropy(trace{region})",
        "outliers = outlier_tokens(norms)",
        "for measure in (norms, cosines):",
        "    for stream in measure.streams:",
        "        for group in measure.groups:",
        "            print(measure.quantity, stream, group, measure.mean(stream, group)[:, 0])  # (blocks,)",
        'print("entropy", entropy.mean()[:, 0])  # (blocks, heads)',
        'print(len(outliers), "outlier tokens")',
    ]
    if can_be_swept(case):
        imports += import_numerals("signed")
        imports.append("from analysis.sweep import SweepGrid, measure_trace, sweep_table")
        text, grid, mode = examined_prompt(case), sweep_grid(case), case.custom.position_interpolation
        trace = "trace" if mode == "bicubic" else "swept"
        body += [
            *([] if mode == "bicubic" else [f"swept = model.trace(pixels, position_interpolation={mode!r})"]),
            f"feature = model.encode_text([{text!r}], templates={case.templates!r})",
            "points = SweepGrid(",
            *(f"    {field.name}={getattr(grid, field.name)!r}," for field in fields(grid)),
            ")",
            f"sweep = sweep_table(measure_trace({trace}, points.methods(model.tower), feature, {{{text!r}: region}}))",
            'print(sweep.pivot_table("contrast", ["residual", "alpha"], "kind").map(signed))',
        ]
        if has_closed_form(case):
            imports += ["from analysis.alpha import alpha_curve", "from surgery import Method"]
            body += [
                f"method = {python_custom(replace(case.custom, residual=1.0, alpha=1.0))}",
                "critical = {}  # every alpha at which the contrast changes its sign",
                "for kind in points.kinds:",
                f"    curve = alpha_curve({trace}, feature, replace(method, attention=kind))",
                "    critical[kind] = curve.critical_contrasts(region)[0][0]",
                "print({kind: alphas.round(3).tolist() for kind, alphas in critical.items()})",
            ]
            imports.append("from dataclasses import replace")
    return join(python_case(case, "trace", "region"), imports, body)
