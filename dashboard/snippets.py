"""A case as the few lines of Python that give the same numbers in a notebook. Pure; a test runs them.

`python_case` writes what every page starts from: model, image, text, trace, region. A page adds its own lines:

    def python_norms(case: Case) -> str:
        return join(python_case(case), ["from analysis import compute_norms"], ["norms = compute_norms(trace, region)"])
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.case import CUSTOM, RANDOM, Case
from surgery import METHODS, Method


@dataclass(frozen=True, slots=True)
class Script:
    """Lines of Python: imports, then the body."""

    imports: tuple[str, ...]
    body: tuple[str, ...]


def join(script: Script, imports: Sequence[str] = (), body: Sequence[str] = ()) -> str:
    """The script with more lines, as text; imports sorted, each once."""
    lines = sorted({*script.imports, *imports}, key=lambda line: (line.startswith("from"), line))
    return "\n".join([*lines, "", *script.body, *body]) + "\n"


def python_case(case: Case, trace: bool = True) -> Script:
    """`model`, `image` (PIL), `text` (t, d), and where wanted `trace`; `region` where the case has one."""
    imports = ["from surgery import load_model"]
    body = [_model(case)]
    if case.weights == RANDOM:
        imports.append("import torch")
        body.insert(0, "torch.manual_seed(0)  # as the dashboard draws random weights")
    if case.upload is None:
        imports.append("from data.samples import load_sample")
        body += [f"sample = load_sample({case.image!r})", "image = sample.image.to_pil()"]
    else:
        imports.append("from PIL import Image")
        body.append('image = Image.open("image.png")  # the uploaded file')
    body.append(f"prompts = {list(case.prompts)!r}")
    body.append(f"text = model.encode_text(prompts, templates={case.templates!r})")
    if trace:
        body += [f"pixels = model.preprocess([image], size={case.size})", "trace = model.trace(pixels)"]
    if case.region:
        imports.append("from analysis import Region")
        if case.region.startswith("mask:"):
            imports += ["import numpy as np", "from data.images import decode_mask"]
        body += _region(case)
    return Script(tuple(imports), tuple(body))


def python_method(case: Case, name: str) -> str:
    """An expression for the method called `name`; needs METHODS and Method imported."""
    return f"METHODS[{name!r}]" if name in METHODS else python_custom(case.custom)


def python_custom(method: Method) -> str:
    """A method as the call that makes it."""
    return repr(method)


def _model(case: Case) -> str:
    if case.model.startswith("local:"):
        return f"model = load_model('path/to/{case.model.removeprefix('local:')}')"
    if case.weights == RANDOM:
        return f"model = load_model({case.model!r}, pretrained=None)"
    weights = f", pretrained={case.weights!r}" if case.weights else ""
    return f"model = load_model({case.model!r}{weights})"


def _region(case: Case) -> list[str]:
    kind, _, value = case.region.partition(":")
    size = "(image.height, image.width)"
    grid = "grid = model.tower.grid_for(tuple(pixels.shape[-2:]))"
    if kind == "object":
        return [grid, f"region = Region.from_mask(sample.masks[{value!r}], grid)"]
    if kind == "box":
        return [grid, f"region = Region.from_box(({value}), {size}, grid)"]
    if kind == "polygon":
        numbers = value.split(",")
        corners = ", ".join(f"({x}, {y})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))
        return [grid, f"region = Region.from_polygon([{corners}], {size}, grid)"]
    identifier = value.partition("#")[2]
    chosen = f"labels == {int(identifier)}" if identifier else "labels > 0"
    return [
        grid,
        'labels = decode_mask("mask.png")  # the uploaded mask; 255 is unknown',
        f"region = Region.from_mask(np.where(labels == 255, 255, {chosen}), grid, image_size={size})",
    ]


def python_maps(case: Case) -> str:
    """The maps of the Maps page: `maps[method]` is (gh, gw, t)."""
    imports = ["from surgery import METHODS, Method, encode_dense, similarity"]
    chosen = [f"    {name!r}: {python_method(case, name)}," for name in case.methods]
    body = ["methods = {", *chosen, "}"]
    measure = "similarity(encode_dense(model, pixels, method), text)"
    if case.feature_surgery:
        imports = ["from surgery import METHODS, Method, encode_dense, feature_surgery"]
        single = len(case.prompts) == 1
        redundant = f', redundant=model.encode_text([""], templates={case.templates!r})' if single else ""
        measure = f"feature_surgery(encode_dense(model, pixels, method), text{redundant})"
    body += ["maps = {", f"    name: {measure}.patches[0]  # (gh, gw, t)"]
    body += ["    for name, method in methods.items()", "}"]
    if case.region:
        imports.append("from analysis import flip_auc")
        body += ["aucs = {", "    name: [flip_auc(values[..., t], region) for t in range(len(prompts))]"]
        body += ["    for name, values in maps.items()", "}"]
    script = python_case(case)
    body_without_trace = tuple(line for line in script.body if not line.startswith("trace = "))
    return join(Script(script.imports, body_without_trace), imports, body)


__all__ = ["CUSTOM", "Script", "join", "python_case", "python_custom", "python_maps", "python_method"]
