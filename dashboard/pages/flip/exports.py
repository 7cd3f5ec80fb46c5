"""What can be taken away from the Flip page: the terms, every array, the report."""

import io
import json
from dataclasses import asdict, replace

import numpy as np

from analysis.decomposition import Component
from analysis.flip_tables import component_table
from analysis.flips import FlipReport
from dashboard.case import CUSTOM, Case, examined_prompt
from dashboard.pages.flip.look_files import look_files
from dashboard.pages.flip.results import can_be_removed, described_part, missing_removals, path_head, read_map
from dashboard.pages.flip.settings import FlipSettings
from dashboard.pages.flip.words import SCENES, SEED, SHOWN, list_name, samples_of
from dashboard.panels.page import Exports, File
from dashboard.removals import removed_parts
from dashboard.snippets import Script, import_numerals, join, python_case, python_custom
from data.store import to_csv


def flip_exports(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> Exports:
    """The exports of the page; files are made when they are asked for."""
    report = with_custom(case, report)
    return Exports(
        python=python_flip(
            case, chosen, not missing_removals(case, heads=False), python_look(case, own, report, chosen)
        ),
        files={
            "CSV, a row a component": File("flip.csv", lambda: to_csv(component_table(report))),
            "NPZ, all arrays": File("flip.npz", lambda: flip_npz(report)),
            "JSON, the report": File("flip.json", lambda: flip_json(case, own, report)),
            **look_files(case, own, report, chosen),
        },
    )


def with_custom(case: Case, report: FlipReport) -> FlipReport:
    """The report with the free method beside the presets, as the page shows it."""
    return replace(report, readings={**report.readings, CUSTOM: read_map(case, CUSTOM)})


def flip_npz(report: FlipReport) -> bytes:
    """Terms (k, gh, gw) and their labels, the map of every method, the lens contrast and the region."""
    arrays = {f"map_{name}": found.values for name, found in report.readings.items()}
    arrays |= {"terms": report.blame.terms[0, ..., 0], "labels": np.array(report.blame.labels)}
    arrays |= {"lens_contrast": report.lens_contrast}
    arrays |= {"foreground": report.region.foreground, "background": report.region.background}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def flip_json(case: Case, own: FlipSettings, report: FlipReport) -> bytes:
    """The case, the verdict and its figures."""
    methods = {
        name: {"method": asdict(found.method), "contrast": found.contrast, "flip_auc": found.flip_auc}
        for name, found in report.readings.items()
    }
    content = {
        "case": asdict(case),
        "settings": asdict(own),
        "text": report.text,
        "summary": report.summary,
        "lens_contrast": report.lens_contrast.tolist(),
        "turning_layer": report.turning_layer,
        "culprits": [{"component": culprit.label, "blame": culprit.blame} for culprit in report.culprits],
        "methods": methods,
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def python_flip(case: Case, chosen: Component | None, removals: bool = False, look: Script | None = None) -> str:
    """The report, the term map of the chosen component and, where it can be removed, the map without it.

    Args:
        case: any case with a region.
        chosen: the chosen component.
        removals: whether every attention output and every MLP is removed in turn.
        look: lines of what stands right of the maps, see `python_look`.
    """
    imports = ["from analysis import diagnose", "from analysis.numerals import auc, signed"]
    imports.append("from surgery import Method, usable_methods")
    call = f"model, image, {examined_prompt(case)!r}, region, methods, templates={case.templates!r}, size={case.size}"
    body = [
        "methods = usable_methods(model.tower)",
        f"methods[{CUSTOM!r}] = {python_custom(case.custom)}",
        f"report = diagnose({call}{', ablate=True' if removals else ''})",
        "print(report.summary)",
        "for name, reading in report.readings.items():",
        '    print(f"{name}: AUC {auc(reading.flip_auc)}, contrast {signed(reading.contrast)}")',
    ]
    if removals:
        body += [
            "for found in report.interventions:",
            '    print(f"{found.component.label}: blame {signed(found.blame)}, removal {signed(found.change)}")',
        ]
    ablated = chosen is not None and can_be_removed(chosen)
    parts = [] if chosen is None else [_python_term(chosen)]
    parts += [_python_without(case)] if ablated else []
    parts += [] if look is None else [look]
    imports += [line for part in parts for line in part.imports]
    body += [line for part in parts for line in part.body]
    return join(python_case(case, "region", *(["trace"] if ablated or look is not None else [])), imports, body)


def _python_term(chosen: Component) -> Script:
    body = (
        f"part = {chosen!r}",
        "blame = report.blame if part in report.blame.components else report.blame.merged()",
        "adds = blame.terms[0, blame.components.index(part), :, :, 0]  # (gh, gw)",
        "figures = signed(contrast(adds, region)), auc(flip_auc(adds, region))",
        'print(f"what {part.label} adds: contrast {figures[0]}, AUC {figures[1]}")',
    )
    return Script(("from analysis import Component, contrast, flip_auc",), body)


def _python_without(case: Case) -> Script:
    imports = ("from analysis import ablate", "from surgery import METHODS, dense_features, similarity")
    body = (
        f"feature = model.encode_text([{examined_prompt(case)!r}], templates={case.templates!r})",
        'changed = dense_features(ablate(trace, part), METHODS["clip"])',
        "without = similarity(changed, feature).patches[0, :, :, 0]  # (gh, gw)",
        'print(f"without: contrast {signed(contrast(without, region))}, AUC {auc(flip_auc(without, region))}")',
    )
    return Script(imports, body)


def python_look(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> Script | None:
    """What the look right of the maps shows; None for the figures of the blame, which the report holds."""
    feature = f"feature = model.encode_text([{examined_prompt(case)!r}], templates={case.templates!r})"
    head, parts = path_head(report, chosen), removed_parts(case)
    if own.look == "heads" and own.split == "reads" and head is not None:
        of = "region" if case.patch is None else repr(case.patch)
        body = (
            f"sources = head_sources(trace, feature, {of})  # .maps (heads, gh, gw)",
            "for part, total in zip(sources.components, sources.maps.sum(axis=(1, 2)) + sources.prefix, strict=True):",
            '    print(f"{part.label}: {signed(total)}")',
        )
        return Script(("from analysis import head_sources", *import_numerals("signed")), (feature, *body))
    if own.look == "path" and head is not None:
        body = (
            f"path = head_path(trace, {head!r}, feature, region, patch={case.patch!r})",
            'print(f"score {signed(path.score)}, written {signed(path.written)}")',
            "for part, query, key, value in zip(path.components, path.query, path.key, path.value, strict=True):",
            '    print(f"{part.label}: query {signed(query)}, key {signed(key)}, value {signed(value)}")',
        )
        return Script(("from analysis import Component, head_path", *import_numerals("signed")), (feature, *body))
    if own.look == "together" and parts:
        body = (
            f"joint = remove_together(trace, feature, region, {[*parts]!r})",
            'print(f"all at once {signed(joint.change)}, one by one {signed(joint.sum_of_changes)}")',
        )
        return Script(("from analysis import Component, remove_together", *import_numerals("signed")), (feature, *body))
    if own.look == "words" and (part := described_part(report, chosen)) is not None:
        return _python_words(case, own, part)
    return None


def _python_words(case: Case, own: FlipSettings, part: Component) -> Script:
    imports = ("from analysis import Component", "from analysis.text_span import describe_component")
    imports = (*imports, *import_numerals("number"))
    if samples_of(case, own) == "scenes":
        imports = (*imports, "from data.toy import make_scenes")
        images, tokens = f"[scene.image for scene in make_scenes({SCENES}, seed={SEED})]", "image"
    else:
        images, tokens = "[image]", "patches"
    body = (
        f"words = read_word_list({list_name(case)!r})  # or the path of a list of your own",
        f"images = {images}",
        f"said = describe_component(model, images, {part!r}, words, tokens={tokens!r},",
        f"                          templates={case.templates!r}, size={case.size!r}, count={SHOWN})",
        "for near in said.spanned:",
        '    print(f"{near.text}: {number(near.value)} of the variance")',
    )
    return Script((*imports, "from data.word_lists import read_word_list"), body)
