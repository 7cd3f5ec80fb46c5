"""The deeper looks of Flip: thumbnails of all heads, the path of a head, words, and removals done together."""

import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.decomposition import Component
from analysis.head_paths import SIDES
from analysis.interventions import remove_together
from analysis.text_span import NearText
from dashboard import services, state
from dashboard.case import Case
from dashboard.figures.heads import encode_thumbnails, plot_head_maps
from dashboard.figures.paths import BARS, path_components, plot_path, plot_texts, plot_together
from dashboard.pages.flip import looks, results, words
from dashboard.pages.flip.body import map_cells
from dashboard.pages.flip.exports import python_flip, python_look
from dashboard.pages.flip.look_files import look_files
from dashboard.pages.flip.settings import LOOKS, FlipSettings
from dashboard.pages.maps.snippet import python_maps
from dashboard.removals import maps_without, removed_parts, title_without
from dashboard.snippets import Script
from data.samples import load_sample
from tests.dashboard.conftest import carried_out, component_data

SCENE = load_sample("toy-2")
PHRASE = next(iter(SCENE.masks))
PARTS = (Component("head", 3, 1), Component("mlp", 3))
CASE = Case(image="toy-2", prompts=SCENE.prompts, region=f"object:{PHRASE}")
JOINT = replace(CASE, removed=("a3.h1", "m3"))


@pytest.fixture(scope="module")
def report():
    return results.flip_report(CASE)


def click(curve: int, index: int) -> dict:
    return {"selection": {"points": [{"curve_number": curve, "point_index": index}]}}


def test_thumbnails_are_one_picture_with_each_map_in_its_place() -> None:
    photo = np.full((30, 30, 3), 100, np.uint8)
    maps = np.stack([np.ones((2, 2)), -np.ones((2, 2)), np.zeros((2, 2))])
    source = encode_thumbnails(maps, [(0, 0), (2, 1), (1, 0)], (2, 3), photo, 1.0)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
    height, width = sheet.shape[0] // 2, sheet.shape[1] // 3
    cells = sheet.reshape(2, height, 3, width, 4)[:, height // 2, :, width // 2]
    cells = cells.astype(int)
    assert cells[0, 0, 0] > cells[0, 0, 2] + 50 and cells[1, 2, 2] > cells[1, 2, 0] + 50  # orange, and blue
    np.testing.assert_allclose(cells[0, 1], [100, 100, 100, 255], atol=6)  # zero is the grey photograph
    assert cells[1, 0, 3] == 0  # no map, no picture


def test_every_head_has_a_thumbnail_of_its_blame_and_a_marker(report) -> None:
    found = results.head_maps(CASE, report, "writes")
    assert {part.kind for part in found.components} == {"head", "mlp"} and len(found.maps) == 18
    np.testing.assert_array_equal(found.maps[3], results.term_map(report.blame, found.components[3]))
    figure = plot_head_maps(found.components, found.maps, SCENE.image.rgb, "all", Component("head", 3, 1), ["x"] * 18)
    assert len(figure.data[0].x) == 18 and len(figure.layout.images) == 1
    assert figure.data[0].text[0] == "head 0 of block 0: x"
    frame = figure.layout.shapes[-1]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 1.5, 2.5, 3.5)


def test_sources_of_the_region_and_of_a_patch_add_up_to_the_blame(report) -> None:
    rows = [index for index, part in enumerate(report.blame.components) if part.kind == "head"]
    of_region = results.head_maps(CASE, report, "reads")
    terms = report.blame.contrast(report.region)[0, rows, 0]
    np.testing.assert_allclose(of_region.maps.sum(axis=(1, 2)) + of_region.prefix, terms, atol=1e-5)
    of_patch = results.head_maps(replace(CASE, patch=(3, 4)), report, "reads")
    np.testing.assert_allclose(
        of_patch.maps.sum(axis=(1, 2)) + of_patch.prefix, report.blame.terms[0, rows, 3, 4, 0], atol=1e-5
    )
    assert "patch row 3, column 4" in looks.describe_split(replace(CASE, patch=(3, 4)), "reads")


def test_the_path_is_that_of_the_chosen_head_or_of_the_worst_of_its_block(report) -> None:
    assert results.path_head(report, PARTS[0]) == PARTS[0]
    own = results.path_head(report, Component("mlp", 4))
    assert own.kind == "head" and own.block == 4 and results.path_head(report, None).kind == "head"


def test_bars_of_a_path_add_up_and_a_click_chooses_the_component(report, monkeypatch: pytest.MonkeyPatch) -> None:
    path = results.path_of(CASE, Component("head", 5, 0))
    figure = plot_path(path)
    changes: dict = {}
    monkeypatch.setattr(state, "update", lambda **new: changes.update(new))
    for curve, side in enumerate(SIDES):
        bars, parts = figure.data[curve], path_components(path, side)
        assert len(parts) == BARS and len(bars.x) == BARS + 2
        assert bars.x[-1] == path.total(side)
        assert sum(bars.x[:-1]) == pytest.approx(bars.x[-1])
        looks.take_part(parts, curve)(click(curve, 2))
        assert changes["component"] == parts[2].label
        changes.clear()
        looks.take_part(parts, curve)(click(curve, BARS + 1))  # the total
        assert not changes


def test_removed_together_beside_one_by_one(report) -> None:
    joint = results.joint_removal(JOINT, report)
    trace, feature = services.trace(CASE), services.text(CASE, (PHRASE,))
    expected = remove_together(trace, feature, report.region, PARTS)
    assert joint.change == pytest.approx(expected.change, abs=1e-5)
    assert joint.sum_of_changes == pytest.approx(expected.sum_of_changes, abs=1e-5)
    assert abs(joint.interaction) > 1e-3 and results.joint_removal(CASE, report) is None
    bars = plot_together(joint).data[0]
    assert list(bars.y) == ["a3.h1", "m3", "sum of these", "all at once"]
    assert bars.x[2] == pytest.approx(sum(bars.x[:2])) and bars.x[3] == joint.change
    cells = map_cells(JOINT, FlipSettings(), report, PARTS[0])
    assert [cell.title for cell in cells][-2:] == ["without a3.h1", "without a3.h1 + m3"]
    alone = map_cells(replace(CASE, removed=("a3.h1",)), FlipSettings(), report, PARTS[0])
    assert [cell.title for cell in alone].count("without a3.h1") == 1


def test_what_the_tower_does_not_have_is_not_removed() -> None:
    assert removed_parts(JOINT) == PARTS
    assert removed_parts(replace(CASE, removed=("a3.h1", "a77", "m99", "a1.h50"))) == PARTS[:1]
    assert title_without(PARTS) == "without a3.h1 + m3" and title_without(PARTS * 2) == "without 4 parts"


def test_maps_keeps_what_was_removed_together(open_app) -> None:
    app = open_app(replace(JOINT, methods=("clip",), feature_surgery=True))
    assert not app.exception and not app.error
    view = component_data(app, "clip_theatre_map_view")[0]
    assert [cell["title"] for cell in view["rows"][0]["cells"]] == ["CLIP", "CLIP without a3.h1 + m3"]
    assert view["rows"][0]["cells"][1]["action"] == ""
    assert any("without a3.h1" in button.label.replace("\\", "") for button in app.button)
    found: dict = {}
    exec(python_maps(JOINT, ["clip", "CLIP without a3.h1 + m3"]), found)
    np.testing.assert_allclose(found["maps"]["CLIP without a3.h1 + m3"], maps_without(JOINT, PARTS).patches, atol=1e-5)


def test_words_of_a_head_over_scenes_and_patches() -> None:
    features = carried_out(words._encoding(CASE, ("red", "grass", "a circle")))
    assert features.shape[0] == 3
    effects = carried_out(words.scene_effects(CASE))
    assert len(effects) == 6 * 4 and effects[PARTS[0]].shape[0] == words.SCENES
    figure = plot_texts([NearText("a", 0.5)], "t", "u", [NearText("b", 0.2), NearText("c", 0.1)])
    assert list(figure.data[0].x) == [0.5, -0.1, -0.2] and list(figure.layout.yaxis.ticktext) == ["a", "c", "b"]


@pytest.mark.parametrize("look", ["heads", "path", "words", "together"])
def test_every_look_stands_beside_the_maps(open_app, look: str) -> None:
    app = open_app(replace(JOINT, layer=3, head=1, component="a3.h1"), FlipSettings(look=look), page="flip")
    assert not app.exception and not app.error
    assert len(app.get("plotly_chart")) == (3 if look == "words" else 1)
    assert len(component_data(app, "clip_theatre_map_view")) == 1


def test_every_look_hands_out_its_numbers(report) -> None:
    files = {look: look_files(JOINT, FlipSettings(look=look), report, PARTS[0]) for look in LOOKS}
    made = {look: next(iter(found.values())).make() for look, found in files.items() if found}
    assert [*made] == ["heads", "path", "together"]
    arrays = np.load(io.BytesIO(made["heads"]))
    assert arrays["maps"].shape == (18, 14, 14) and arrays["labels"][2] == "m0"
    path = pd.read_csv(io.BytesIO(made["path"])).set_index("component")
    np.testing.assert_allclose(path.iloc[:-1].sum(), path.loc["total"], atol=1e-4)
    removals = pd.read_csv(io.BytesIO(made["together"])).set_index("component")["change"]
    assert removals["sum"] == pytest.approx(removals["a3.h1"] + removals["m3"]) != removals["all at once"]


def test_the_lines_of_every_look_give_its_numbers(report) -> None:
    case = replace(JOINT, patch=(2, 2), **results.choice_of(PARTS[0]))
    own = FlipSettings(split="reads", samples="patches")
    lines = [python_look(case, replace(own, look=look), report, PARTS[0]) for look in LOOKS[1:5]]
    assert python_look(case, own, report, PARTS[0]) is None  # the blame is in the report
    whole = Script(sum((part.imports for part in lines), ()), sum((part.body for part in lines), ()))
    found: dict = {}
    exec(python_flip(case, PARTS[0], look=whole), found)
    np.testing.assert_allclose(found["sources"].maps, results.head_maps(case, report, "reads").maps, atol=1e-5)
    np.testing.assert_allclose(found["path"].query, results.path_of(case, PARTS[0]).query, atol=1e-4)
    assert found["joint"].change == pytest.approx(results.joint_removal(case, report).change, abs=1e-5)
    features = carried_out(words._encoding(case, words.read_word_list("toy")))
    shown = words.component_words(case, own, PARTS[0], features)
    assert [near.text for near in found["said"].spanned] == [near.text for near in shown.spanned]
