"""A case as the few lines of Python that give the same numbers in a notebook. A test runs them.

`python_case` writes what a page starts from: model, image, and of text, pixels, trace and region what it needs. The
page adds its own lines, and in the end prints the figures that it shows:

    def python_norms(case: Case) -> str:
        imports = ["from analysis import compute_norms"]
        body = ["norms = compute_norms(trace, region)", "print(norms.residual.shape)"]
        return join(python_case(case, "trace", "region"), imports, body)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath

from dashboard import services, state, studies
from dashboard.case import RANDOM, STUDY, Case
from dashboard.regions import unknown_pixels
from surgery import METHODS, Method


@dataclass(frozen=True, slots=True)
class Script:
    """Lines of Python: imports, then the body."""

    imports: tuple[str, ...] = ()
    body: tuple[str, ...] = ()


def join(script: Script, imports: Sequence[str] = (), body: Sequence[str] = ()) -> str:
    """The script with more lines, as text."""
    return "\n".join([*merge_imports([*script.imports, *imports]), "", *script.body, *body]) + "\n"


def merge_imports(lines: Iterable[str]) -> list[str]:
    """Sorted imports, one line a package; of its names constants first, then classes.

    >>> merge_imports(["from surgery import load_model", "import torch", "from surgery import METHODS, Method"])
    ['import torch', 'from surgery import METHODS, Method, load_model']
    """
    modules, packages = set(), {}
    for line in lines:
        package, _, names = line.removeprefix("from ").partition(" import ")
        if names:
            packages.setdefault(package, set()).update(names.split(", "))
        else:
            modules.add(line)
    ordered = {
        package: sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
        for package, names in sorted(packages.items())
    }
    return [*sorted(modules), *(f"from {package} import {', '.join(names)}" for package, names in ordered.items())]


def python_case(case: Case, *needs: str) -> Script:
    """`model`, `image` (PIL), and what is asked for.

    Args:
        case: any case.
        needs: of "text" (`prompts`, and `text` (t, d)), "pixels", "trace", and "region", which brings `pixels`; a case
            without a region has none.
    """
    wanted = {need for need in needs if need != "region" or case.region}
    parts = [_python_model(case), _python_image(case)]
    if "text" in wanted:
        text = f"text = model.encode_text(prompts, templates={case.templates!r})"
        parts.append(Script(body=(f"prompts = {list(case.prompts)!r}", text)))
    if wanted & {"pixels", "trace", "region"}:
        fit = "" if case.fit == "stretch" else f", fit={case.fit!r}"
        parts.append(Script(body=(f"pixels = model.preprocess([image], size={case.size}{fit})",)))
    if "trace" in wanted:
        parts.append(Script(body=("trace = model.trace(pixels)",)))
    if "region" in wanted:
        parts.append(_python_region(case))
    imports = [line for part in parts for line in part.imports]
    return Script(tuple(imports), tuple(line for part in parts for line in part.body))


def python_method(case: Case, name: str) -> str:
    """An expression for the method called `name`; `import_methods` brings what it needs."""
    return f"METHODS[{name!r}]" if name in METHODS else python_custom(case.custom)


def python_custom(method: Method) -> str:
    """A method as the call that makes it."""
    return repr(method).replace(", steps='')", ")")


def python_methods(case: Case, names: Iterable[str]) -> list[str]:
    """Lines that make `methods`, name -> method."""
    return ["methods = {", *(f"    {name!r}: {python_method(case, name)}," for name in names), "}"]


def import_numerals(*names: str) -> list[str]:
    """Imports of what writes numbers as the pages do: "auc", "number", "signed"."""
    return [f"from analysis.numerals import {', '.join(names)}"]


ARRAYS = 'np.set_printoptions(formatter={"float": number})  # three significant digits'
"""The line after which arrays are printed as the pages write numbers; `IMPORT_ARRAYS` brings what it needs."""

IMPORT_ARRAYS = ("import numpy as np", "from analysis.numerals import number")


def python_empty(case: Case) -> list[str]:
    """The line that makes `empty`, which stands for the redundancy of a single text; none for more texts."""
    return [f'empty = model.encode_text([""], templates={case.templates!r})'] if len(case.prompts) == 1 else []


def import_methods(names: Iterable[str]) -> list[str]:
    """Imports for the expressions of `python_method`."""
    return [f"from surgery import {'METHODS' if name in METHODS else 'Method'}" for name in names]


def _python_model(case: Case) -> Script:
    imports = ("from surgery import load_model",)
    if case.model.startswith("local:"):
        path = f"path/to/{case.model.removeprefix('local:')}"
        return Script(imports, (f"model = load_model({path!r})",))
    if case.weights == RANDOM:
        seed = "torch.manual_seed(0)  # as the dashboard draws random weights"
        return Script(("import torch", *imports), (seed, f"model = load_model({case.model!r}, pretrained={RANDOM!r})"))
    weights = f", pretrained={case.weights!r}" if case.weights else ""
    return Script(imports, (f"model = load_model({case.model!r}{weights})",))


def _python_image(case: Case) -> Script:
    if case.image.startswith(STUDY):
        id, index = studies.parse_picture(case.image)
        asked = studies.opened(id)
        where = asked.study.data if asked.study.data.startswith("toy") else f"path/to/{asked.request['data set']}"
        body = (
            f"sample = sample_of(open_dataset({where!r}, seed={asked.study.seed})[{index}])",
            "image = sample.image.to_pil()",
        )
        return Script(("from data.registry import open_dataset", "from data.samples import sample_of"), body)
    if case.upload is None:
        body = (f"sample = load_sample({case.image!r})", "image = sample.image.to_pil()")
        return Script(("from data.samples import load_sample",), body)
    name = PureWindowsPath(services.image(case).name).name  # splits at both kinds of slashes
    return Script(
        ("from data.images import load_image",), (f"image = load_image({name!r}).to_pil()  # the uploaded file",)
    )


def _python_region(case: Case) -> Script:
    kind, _, value = case.region.partition(":")
    size = "(image.height, image.width)"
    imports, labels = ["from analysis import Region"], []
    if kind == "object":
        call = f"from_mask(sample.masks[{value!r}], grid)"
    elif kind == "box":
        call = f"from_box(({value.replace(',', ', ')}), {size}, grid)"
    elif kind == "polygon":
        numbers = value.split(",")
        corners = ", ".join(f"({x}, {y})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))
        call = f"from_polygon([{corners}], {size}, grid)"
    else:
        imports.append("from data.images import decode_mask")
        labels = ['labels = decode_mask("mask.png")  # the uploaded mask']
        identifier, unknown = value.partition("#")[2], unknown_pixels(case.region, state.mask)
        chosen = f"labels == {int(identifier)}" if identifier else "labels > 0"
        if unknown is not None and unknown.any():
            imports.append("import numpy as np")
            labels = [f"{labels[0]}; 255 is unknown"]
            chosen = f"np.where(labels == 255, 255, {chosen})"
        call = f"from_mask({chosen}, grid, image_size={size})"
    lines = ["grid = model.tower.grid_for(tuple(pixels.shape[-2:]))", *labels]
    if case.fit != "stretch":
        lines.append(f"framing = model.framing({size}, {case.size}, {case.fit!r})")
        call = f"{call[:-1]}, framing=framing)"
    return Script(tuple(imports), (*lines, f"region = Region.{call}"))
