"""The Python that pages hand out runs, prints the numbers that the pages show, and uses all that it defines."""

import ast
import io
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis import contrast, flip_auc
from analysis.decomposition import Component
from analysis.numerals import auc, signed
from dashboard import services, snippets, state
from dashboard.case import UPLOAD, Case, is_judged, pin_of
from dashboard.pages.affinity import results as affinity_results
from dashboard.pages.affinity.exports import python_affinity
from dashboard.pages.affinity.settings import AffinitySettings
from dashboard.pages.compare.exports import python_compare
from dashboard.pages.compare.results import side_of
from dashboard.pages.flip import results as flip_results
from dashboard.pages.flip.exports import python_flip
from dashboard.pages.layers.exports import python_layers
from dashboard.pages.maps.mask_snippet import python_masks
from dashboard.pages.maps.settings import MapsSettings
from dashboard.pages.maps.snippet import python_maps
from dashboard.pages.redundancy.exports import python_redundancy
from dashboard.pages.space.exports import python_space
from dashboard.pages.space.results import layout, projection_of
from dashboard.pages.space.settings import SpaceSettings
from dashboard.pages.words.exports import python_words
from dashboard.pages.words.settings import WordsSettings
from dashboard.snippets import merge_imports, python_case
from data.images import LoadedImage
from data.samples import load_sample
from surgery import CLASSIC, METHODS, Method
from tests.dashboard.conftest import carried_out

SCENE = load_sample("toy-1")
REGION = f"object:{next(iter(SCENE.masks))}"
BOX = Case(image="toy-1", prompts=("grass",), region="box:10,20,120,160", templates="photo")
MAPS = {
    "default": Case(image="toy-1", prompts=SCENE.prompts, region=REGION),
    "custom": Case(image="toy-1", prompts=("grass",), methods=("custom",), custom=Method("kk", 2, 0.5, 1.5, True)),
    "surgery of one text": Case(
        image="toy-1", prompts=("grass",), methods=("gem",), feature_surgery=True, templates="photo"
    ),
    "surgery": Case(image="toy-1", prompts=SCENE.prompts, methods=("clip",), feature_surgery=True, templates="photo"),
    "larger": Case(image="toy-1", prompts=("grass",), methods=("clip_surgery", "gem"), size=168),
    "box": replace(BOX, methods=("clip",)),
    "random weights": Case(model="ViT-S-32-alt", weights="random", image="toy-1", prompts=("grass", "sand")),
    "polygon": Case(image="toy-1", prompts=("grass",), methods=("clip",), region="polygon:10,20,120,20,120,160"),
}
CHOSEN = replace(MAPS["default"], patch=(3, 4), layer=2, head=1)


def python_space_of(case: Case, own: SpaceSettings) -> str:
    return python_space(case, own, layout(case, own, carried_out(projection_of(case, own))))


def python_compare_of(*cases: Case) -> str:
    pins = [pin_of(case, 0, case.methods[0]) for case in cases]
    return python_compare([side_of(letter, "", pin) for letter, pin in zip("AB", pins, strict=True)])


def python_affinity_of(case: Case) -> str:
    return python_affinity(case, affinity_results.affinity(case, AffinitySettings().kinds), (7, 5))


PAGES: dict[str, Callable[[], str]] = {
    **{f"maps, {name}": lambda case=case: python_maps(case) for name, case in MAPS.items()},
    "flip": lambda: python_flip(BOX, None),
    "flip, removals": lambda: python_flip(BOX, None, removals=True),
    "flip, ablated": lambda: python_flip(CHOSEN, Component("head", 2, 1)),
    "flip, an embedding": lambda: python_flip(CHOSEN, Component("embedding")),
    "layers": lambda: python_layers(CHOSEN),
    "layers, another interpolation": lambda: python_layers(replace(CHOSEN, custom=METHODS["clip_surgery"])),
    "layers, no region": lambda: python_layers(MAPS["custom"]),
    "affinity": lambda: python_affinity_of(BOX),
    "affinity, a head": lambda: python_affinity_of(CHOSEN),
    "affinity, no region": lambda: python_affinity_of(MAPS["custom"]),
    "redundancy": lambda: python_redundancy(CHOSEN),
    "redundancy, custom": lambda: python_redundancy(replace(CHOSEN, method_a="custom")),
    "redundancy, two labels": lambda: python_redundancy(replace(CHOSEN, prompts=("grass", "sand"))),
    "redundancy, one label": lambda: python_redundancy(BOX),
    "words": lambda: python_words(
        replace(BOX, caption="a red flower -- grass"), WordsSettings(), ["left_out", "chefer"]
    ),
    "words, a patch": lambda: python_words(CHOSEN, WordsSettings(baseline="empty"), ["gradients", "exclip"]),
    "maps, explainers": lambda: python_maps(BOX, ["clip"], ["legrad"]),
    "masks": lambda: python_masks(BOX, MapsSettings(), BOX.prompts[0]),
    "masks, points": lambda: python_masks(BOX, MapsSettings(mask_points=((9, 9, 1), (90, 9, 0))), BOX.prompts[0]),
    "compare": lambda: python_compare_of(BOX, replace(BOX, methods=("custom",), feature_surgery=True)),
    "compare, no region": lambda: python_compare_of(MAPS["surgery"], MAPS["random weights"]),
    "space": lambda: python_space_of(CHOSEN, SpaceSettings()),
    "space, methods": lambda: python_space_of(BOX, SpaceSettings("method", ("custom", "gem"))),
    "space, all blocks": lambda: python_space_of(BOX, SpaceSettings("all_blocks")),
}


def run(code: str) -> tuple[dict, str]:
    """What the lines define, and what they print."""
    found, printed = {}, io.StringIO()
    with redirect_stdout(printed):
        exec(code, found)
    return found, printed.getvalue()


def unused_names(code: str) -> set[str]:
    """Names that are imported or assigned, and never read."""
    tree = ast.parse(code)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    aliases = [alias.asname or alias.name for node in imports for alias in node.names]
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    written = {*aliases, *(node.id for node in names if isinstance(node.ctx, ast.Store))}
    return written - {node.id for node in names if isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_hands_out_lines_that_print_and_use_all_they_define(name: str) -> None:
    code = PAGES[name]()
    assert unused_names(code) == set()
    packages = [line.split()[1] for line in code.splitlines() if line.startswith("from ")]
    assert packages == sorted(packages) and max(Counter(packages).values()) == 1
    assert len(run(code)[1].splitlines()) >= 1
    assert all(len(line) <= 130 for line in code.splitlines())


def test_constants_come_first_in_an_import() -> None:
    lines = ["from surgery import load_model", "from surgery import METHODS, Method", "import torch", "import torch"]
    assert merge_imports(lines) == ["import torch", "from surgery import METHODS, Method, load_model"]


@pytest.mark.parametrize("name", MAPS)
def test_the_lines_give_the_maps_and_the_figures_under_them(name: str) -> None:
    case = MAPS[name]
    found, printed = run(python_maps(case))
    region = services.region(case)
    judged = [t for t, prompt in enumerate(case.prompts) if region is not None and is_judged(case, prompt)]
    for method in case.methods:
        expected = services.maps(case, method).patches
        np.testing.assert_allclose(found["maps"][method].numpy(), expected, atol=1e-5)
        if judged:
            maps = [expected[:, :, t] for t in judged]
            assert found["contrasts"][method] == pytest.approx([contrast(values, region) for values in maps], abs=1e-5)
            assert found["aucs"][method] == pytest.approx([flip_auc(values, region) for values in maps], abs=1e-3)
    if judged:
        first = found["contrasts"][case.methods[0]][0]
        assert printed.startswith(f"{case.methods[0]} contrast {signed(first)}, AUC ")
    assert printed.count("contrast") == (len(case.methods) if judged else 0)
    assert printed.count("mean") == (len(case.methods) if len(judged) < len(case.prompts) else 0)


def test_what_was_typed_stays_text() -> None:
    case = replace(MAPS["custom"], prompts=("it's \"x\"'); import os  #", "\\n"))
    assert tuple(run(python_maps(case))[0]["prompts"]) == case.prompts


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("street.jpg", "'street.jpg'"),
        ("C:\\photos\\a b.png", "'a b.png'"),
        ("../../etc/x.png", "'x.png'"),
        ("x'); import os  #.png", '"x\'); import os  #.png"'),
        ("a\nimport os.png", r"'a\nimport os.png'"),
        ("a\u202egnp.exe", r"'a\u202egnp.exe'"),
    ],
)
def test_an_uploaded_file_goes_by_its_own_name(monkeypatch: pytest.MonkeyPatch, name: str, written: str) -> None:
    picture = LoadedImage.from_rgb(np.zeros((8, 8, 3), np.uint8), name)
    monkeypatch.setattr(services, "image", lambda _case: picture)
    lines = python_case(Case(image=f"{UPLOAD}{picture.sha256}")).body
    assert lines[-1] == f"image = load_image({written}).to_pil()  # the uploaded file"
    assert ast.literal_eval(written) and len(lines) == 2


def test_a_local_model_goes_by_its_name_as_text() -> None:
    line = python_case(Case(model="local:x'); import os  #")).body[0]
    (statement,) = ast.parse(line).body
    assert statement.value.args[0].value == "path/to/x'); import os  #"


@pytest.mark.parametrize("identifier", ["", "#255", "#7"])
@pytest.mark.parametrize("marked", [(0, 255), (0, 7), (0, 7, 255)], ids=str)
def test_an_uploaded_mask_is_read_as_the_page_reads_it(
    monkeypatch: pytest.MonkeyPatch, marked: tuple[int, ...], identifier: str
) -> None:
    if identifier and int(identifier[1:]) not in marked:
        return
    if identifier == "#255" and marked != (0, 255):
        return
    labels = np.zeros((224, 224), np.uint8)
    for index, value in enumerate(marked[1:]):
        labels[32 + 64 * index : 96 + 64 * index, 48:160] = value
    monkeypatch.setattr(state, "mask", lambda _sha256: labels)
    case = replace(BOX, region=f"mask:abc{identifier}")
    script = python_case(case, "region")
    code = snippets.join(script).replace('decode_mask("mask.png")', "labels_of_the_file")
    found = {"labels_of_the_file": labels}
    exec(code, found)
    expected = services.region(case)
    np.testing.assert_array_equal(found["region"].foreground, expected.foreground)
    np.testing.assert_array_equal(found["region"].background, expected.background)


def test_methods_without_meaning_for_the_model_are_left_out(open_app) -> None:
    case = Case(model="RN50", weights="random", image="toy-1", prompts=("sand",), methods=("clip", "gem"))
    app: AppTest = open_app(case, page="maps")
    (code,) = [code.value for code in app.code if "load_model" in code.value]
    assert "METHODS['clip']" in code and "gem" not in code


def test_the_flip_page_hands_out_custom_and_removals(open_app) -> None:
    case = replace(CHOSEN, component="a2.h1")
    app: AppTest = open_app(case, page="flip")
    (code,) = [code.value for code in app.code if "load_model" in code.value]
    found, printed = run(code)
    report = flip_results.flip_report(case)
    custom = flip_results.read_map(case, "custom")
    assert set(found["report"].readings) == {*CLASSIC, "custom"}
    assert f"custom: AUC {auc(custom.flip_auc)}, contrast {signed(custom.contrast)}" in printed
    removed = {i.component: i.change for i in report.interventions if i.component.kind != "head"}
    assert {i.component: i.change for i in found["report"].interventions} == pytest.approx(removed, abs=1e-5)
    np.testing.assert_allclose(found["without"], flip_results.map_without(case, Component("head", 2, 1)), atol=1e-5)
    assert "what a2.h1 adds: contrast" in printed and "without: contrast" in printed


def test_the_page_shows_the_lines(open_app) -> None:
    app: AppTest = open_app(MAPS["default"])
    assert python_maps(app.session_state["view"].case).strip() in [code.value.strip() for code in app.code]
