"""The Maps page as lines of Python."""

from collections.abc import Sequence

from dashboard.case import Case, is_judged
from dashboard.panels.explained import python_explained
from dashboard.removals import removed_parts, title_without
from dashboard.snippets import Script, import_methods, import_numerals, join, python_case, python_empty, python_methods


def python_maps(case: Case, methods: Sequence[str] | None = None, explainers: Sequence[str] = ()) -> str:
    """The maps of the Maps page, `maps[method]` is (gh, gw, t), and what stands under them.

    Args:
        case: any case.
        methods: those that have a meaning for the model; None for all of the case.
        explainers: those that are shown under the maps, `explained[name]`.
    """
    names = case.methods if methods is None else [name for name in methods if name in case.methods]
    imports = [*import_methods(names), "from surgery import encode_dense"]
    if case.feature_surgery:
        imports.append("from surgery import feature_surgery")
        redundant = ", redundant=empty" if len(case.prompts) == 1 else ""
        measure = f"feature_surgery(encode_dense(model, pixels, method), text{redundant})"
    else:
        imports.append("from surgery import similarity")
        measure = "similarity(encode_dense(model, pixels, method), text)"
    body = python_methods(case, names)
    body += python_empty(case) if case.feature_surgery else []
    body += ["maps = {", f"    name: {measure}.patches[0]  # (gh, gw, t)"]
    body += ["    for name, method in methods.items()", "}"]
    if case.removed:
        without = _python_without(case)
        imports, body = [*imports, *without.imports], [*body, *without.body]
    notes, more = _python_notes(case), python_explained([*explainers])
    lines = [*body, *notes.body, *more.body]
    return join(python_case(case, "text", "pixels", "region"), [*imports, *notes.imports, *more.imports], lines)


def _python_without(case: Case) -> Script:
    """The maps of CLIP without all that was removed together on Flip."""
    parts = removed_parts(case)
    measure = "similarity(changed, text)"
    if case.feature_surgery:
        measure = f"feature_surgery(changed, text{', redundant=empty' if len(case.prompts) == 1 else ''})"
    imports = ("from analysis import Component, ablate", "from surgery import dense_features, similarity")
    body = (
        f"removed = {[*parts]!r}",
        'changed = dense_features(ablate(model.trace(pixels), removed), "clip")',
        f"maps[{f'CLIP {title_without(parts)}'!r}] = {measure}.patches[0]",
    )
    return Script(imports, body)


def _python_notes(case: Case) -> Script:
    """Contrast and flip AUC of the prompts that the region judges, the mean of the others."""
    judged = [index for index, prompt in enumerate(case.prompts) if case.region and is_judged(case, prompt)]
    others = [index for index in range(len(case.prompts)) if index not in judged]
    imports, body = import_numerals("signed"), ["for name, values in maps.items():"]
    if judged:
        imports += ["from analysis import contrast, flip_auc", *import_numerals("auc")]
        body = [
            f"judged = {judged}  # the prompts that the region is about",
            "contrasts = {name: [contrast(values[..., t], region) for t in judged] for name, values in maps.items()}",
            "aucs = {name: [flip_auc(values[..., t], region) for t in judged] for name, values in maps.items()}",
            *body,
            "    figures = zip(contrasts[name], aucs[name], strict=True)",
            '    print(name, *(f"contrast {signed(value)}, AUC {auc(share)}" for value, share in figures))',
        ]
    if others:
        body.append(f'    print(name, "mean", *(signed(values[..., t].mean()) for t in {others}))')
    return Script(tuple(imports), tuple(body))
