"""What can be taken away from the Flip page: a picture, the terms, every array, the report."""

import io
import json
from dataclasses import asdict

import numpy as np

from analysis.decomposition import Component
from analysis.flip_tables import component_table
from analysis.flips import FlipReport
from dashboard import services
from dashboard.case import Case, describe_image, describe_model, examined_prompt, method_title
from dashboard.overview import overview_png
from dashboard.panels.flip_results import can_be_removed, term_map
from dashboard.panels.page import Exports, File
from dashboard.snippets import join, python_case

CULPRIT_MAPS = 3


def flip_exports(case: Case, report: FlipReport, chosen: Component | None) -> Exports:
    """The exports of the page; files are made when they are asked for."""
    photo = services.image(case).rgb
    return Exports(
        python=python_flip(case, chosen),
        files={
            "PNG, the maps": File("flip.png", lambda: flip_png(case, report, chosen, photo)),
            "CSV, a row a component": File("flip.csv", lambda: component_table(report).to_csv(index=False).encode()),
            "NPZ, all arrays": File("flip.npz", lambda: flip_npz(report)),
            "JSON, the report": File("flip.json", lambda: flip_json(case, report)),
        },
    )


def flip_png(case: Case, report: FlipReport, chosen: Component | None, photo: np.ndarray) -> bytes:
    """The CLIP map, the maps of the chosen component and the worst ones, and those of the methods, on one scale."""
    parts = dict.fromkeys([*([chosen] if chosen else []), *(c.component for c in report.culprits[:CULPRIT_MAPS])])
    maps = {"CLIP": report.readings["clip"].values}
    maps |= {f"what {part.label} adds": term_map(report.blame, part) for part in parts}
    maps |= {method_title(name): found.values for name, found in report.readings.items() if name != "clip"}
    return overview_png(
        photo,
        np.stack([*maps.values()])[:, None],  # (maps, 1, gh, gw)
        [report.text],
        [*maps],
        title=f"Why does it flip? {describe_model(case.model, case.weights)} · {describe_image(case.image)[:20]}",
        unit="cosine",
        settings=report.summary,
    )


def flip_npz(report: FlipReport) -> bytes:
    """Terms (k, gh, gw) and their labels, the map of every method, the lens contrast and the region."""
    arrays = {f"map_{name}": found.values for name, found in report.readings.items()}
    arrays |= {"terms": report.blame.terms[0, ..., 0], "labels": np.array(report.blame.labels)}
    arrays |= {"lens_contrast": report.lens_contrast}
    arrays |= {"foreground": report.region.foreground, "background": report.region.background}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def flip_json(case: Case, report: FlipReport) -> bytes:
    """The case, the verdict and its figures."""
    methods = {
        name: {"method": asdict(found.method), "contrast": found.contrast, "flip_auc": found.flip_auc}
        for name, found in report.readings.items()
    }
    content = {
        "case": asdict(case),
        "text": report.text,
        "summary": report.summary,
        "lens_contrast": report.lens_contrast.tolist(),
        "turning_layer": report.turning_layer,
        "culprits": [{"component": culprit.label, "blame": culprit.blame} for culprit in report.culprits],
        "methods": methods,
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def python_flip(case: Case, chosen: Component | None) -> str:
    """The report, the term map of the chosen component and, where it can be removed, the map without it."""
    imports = ["from analysis import diagnose"]
    call = f"model, image, {examined_prompt(case)!r}, region, templates={case.templates!r}, size={case.size}"
    body = [f"report = diagnose({call})", "print(report.summary)"]
    if chosen is not None:
        imports.append("from analysis.decomposition import Component")
        body += [
            f"part = {chosen!r}",
            "blame = report.blame if part in report.blame.components else report.blame.merged()",
            "adds = blame.terms[0, blame.components.index(part), :, :, 0]  # (gh, gw)",
        ]
    if chosen is not None and case.ablate and can_be_removed(chosen):
        imports += [
            "from analysis.interventions import ablate",
            "from surgery import METHODS, dense_features, similarity",
        ]
        feature = f"model.encode_text([{examined_prompt(case)!r}], templates={case.templates!r})"
        body += [
            f"feature = {feature}",
            'without = dense_features(ablate(trace, part), METHODS["clip"])',
            "without = similarity(without, feature).patches[0, :, :, 0]  # (gh, gw)",
        ]
    return join(python_case(case), imports, body)
