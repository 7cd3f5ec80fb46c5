"""The Flip page: its figures, what a click means, what is computed, and the page without a browser."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import Region
from analysis.flip_tables import component_table
from analysis.flips import examine
from analysis.numerals import auc, signed
from analysis.readout import Component, parse_component
from dashboard import events, services, state
from dashboard.case import Case, examinable_prompts, examined_prompt
from dashboard.figures import flip as figures
from dashboard.pages.flip import results
from dashboard.pages.flip.body import map_cells, method_cells, take_method
from dashboard.pages.flip.exports import flip_exports, python_flip, with_custom
from dashboard.pages.flip.region import MAX_CORNERS, written_region
from dashboard.pages.flip.settings import FlipSettings
from dashboard.settings import View
from data.samples import load_sample
from surgery import Method
from tests.dashboard.conftest import carried_out, component_data, error_texts

SCENE = load_sample("toy-2")
PHRASE = next(iter(SCENE.masks))
CASE = Case(image="toy-2", prompts=SCENE.prompts, region=f"object:{PHRASE}")
SHOWN = FlipSettings(beside=True)


@pytest.fixture(scope="module")
def report():
    trace = services.trace(CASE)
    region = Region.from_mask(SCENE.masks[PHRASE], trace.grid)
    return examine(trace, services.text(CASE, (PHRASE,)), region, text=PHRASE, ablate=True)


def test_the_bars_climb_from_zero_to_the_contrast(report) -> None:
    bars = figures.plot_waterfall(report).data[0]
    assert bars.x[0] == "embedding" and bars.x[-1] == "total"
    ends = np.add(bars.base, bars.y)
    np.testing.assert_allclose(ends[:-2], bars.base[1:-1], atol=1e-6)
    assert bars.y[-1] == pytest.approx(report.contrast["clip"], abs=1e-4)
    assert ends[-2] == pytest.approx(report.contrast["clip"], abs=1e-4)
    assert [c.label for c in figures.waterfall_components(report)] == list(bars.x[:-1])


def test_the_chosen_bar_stands_out(report) -> None:
    opacity = figures.plot_waterfall(report, Component("mlp", 1)).data[0].marker.opacity
    labels = figures.plot_waterfall(report).data[0].x
    assert {label for label, o in zip(labels, opacity, strict=True) if o == 1} == {"m1", "total"}


def test_the_lens_marks_where_the_sign_turns(report) -> None:
    turned = replace(report, lens_contrast=np.array([0.1, 0.05, -0.02, -0.2]), turning_layer=2)
    figure = figures.plot_lens(turned, layer=1)
    assert figure.layout.annotations[-1].text == "sign turns in block 1"
    many = replace(report, lens_contrast=np.array([0.1, -0.05, 0.02, -0.2]))
    assert figures.plot_lens(many).layout.annotations[-1].text == "sign turns in blocks 0, 1, 2"
    assert figures.plot_lens(replace(report, lens_contrast=-np.ones(4))).layout.annotations[-1].text == (
        "negative throughout"
    )
    assert np.argmax(figure.data[0].marker.size) == 2  # read out after block 1
    assert figures.lens_component(0) == Component("embedding")
    assert figures.lens_component(2) == Component("attention", 1)


def test_a_tower_without_a_lens_says_so(report) -> None:
    figure = figures.plot_lens(replace(report, lens_contrast=np.zeros(0), turning_layer=None))
    assert not figure.data and "no logit lens" in figure.layout.annotations[0].text


def test_every_cell_has_a_marker_of_its_own_component(report) -> None:
    figure = figures.plot_heads(report, Component("head", 1, 0))
    markers, heat = figure.data
    parts = figures.heads_components(report)
    terms = dict(zip(report.blame.components, report.blame.contrast(report.region)[0, :, 0], strict=True))
    assert len(parts) == len(markers.x) == np.isfinite(heat.z).sum()
    for part, x, y in zip(parts, markers.x, markers.y, strict=True):
        assert heat.z[y, x] == pytest.approx(terms[part])
    assert heat.zmax == -heat.zmin >= np.nanmax(np.abs(heat.z))
    frame = figure.layout.shapes[-1]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (-0.5, 0.5, 0.5, 1.5)
    assert figure.layout.yaxis.range == (heat.z.shape[0] - 0.5, -0.5)  # no ticks beside the blocks
    assert figure.layout.xaxis.ticktext[-1] == "MLP"


def test_a_dot_is_blame_against_change(report) -> None:
    figure = figures.plot_ablation(report, report.interventions[0].component)
    dots = figure.data[0]
    np.testing.assert_allclose(dots.x, [i.blame for i in report.interventions])
    np.testing.assert_allclose(dots.y, [i.change for i in report.interventions])
    assert dots.text[0] == report.interventions[0].component.label
    for axis, values in ((figure.layout.xaxis, dots.x), (figure.layout.yaxis, dots.y)):
        assert axis.range[0] < min(values) and max(values) < axis.range[1]
    empty = figures.plot_ablation(replace(report, interventions=()))
    assert not empty.data and "No component has been removed" in empty.layout.annotations[0].text


def test_methods_are_bars_of_flip_auc(report) -> None:
    figure = figures.plot_methods(report, chosen="gem")
    bars = figure.data[0]
    np.testing.assert_allclose(bars.x, list(report.flip_auc.values()))
    assert bars.y[0] == "CLIP" and bars.marker.opacity[0] == 1
    texts = [note.text for note in figure.layout.annotations]
    assert signed(report.contrast["gem"]) in texts


@pytest.mark.parametrize(
    "label", ["embedding", "a0", "a3.h1", "a10.bias", "m3", "read-out", "head mlp"]
)  # as in Component.label
def test_labels_are_read_back(label: str) -> None:
    assert parse_component(label).label == label


@pytest.mark.parametrize("label", ["", "a", "m3.h1", "x2", "a2.h", "a-1", "m1.bias"])
def test_other_words_are_no_component(label: str) -> None:
    assert parse_component(label) is None


def test_the_component_follows_block_and_head(report) -> None:
    blame = report.blame
    chosen = Case(**results.choice_of(Component("mlp", 3)))
    assert results.chosen_component(chosen, blame) == Component("mlp", 3)
    assert results.chosen_component(replace(chosen, layer=4), blame) == Component("attention", 4)
    assert results.chosen_component(replace(chosen, head=1), blame) == Component("head", 3, 1)
    assert results.chosen_component(replace(chosen, layer=None), blame) is None
    assert results.chosen_component(Case(component="embedding"), blame) == Component("embedding")
    assert results.chosen_component(Case(layer=77), blame) is None


def test_the_report_is_read_with_every_methods_own_map() -> None:
    found = results.flip_report(CASE)
    direct = services.maps(replace(CASE, prompts=(PHRASE,)), "gem").patches[:, :, 0]
    np.testing.assert_array_equal(found.readings["gem"].values, direct)
    with pytest.raises(ValueError, match="Expected region to be set, but got none"):
        results.flip_report(replace(CASE, region=""))


def test_removals_are_kept_and_agree_with_examine(report) -> None:
    case = replace(CASE, templates="photo", prompts=(PHRASE,))  # a key of its own in the shared cache
    missing = results.missing_removals(case, heads=False)
    assert carried_out(results.removal_of_all(case, heads=False)) == len(missing) > 0
    assert results.missing_removals(case, heads=False) == []
    carried_out(results.removal_of_all(CASE, heads=False))
    expected = {i.component: i.change for i in report.interventions}
    found = {i.component: i.change for i in results.flip_report(CASE).interventions}
    assert {part: found[part] for part in expected} == pytest.approx(expected, abs=1e-5)


def test_the_maps_of_a_component_and_without_it() -> None:
    part = Component("mlp", 2)
    case = replace(CASE, method_a="gem", **results.choice_of(part))
    found = results.flip_report(case)
    cells = map_cells(case, SHOWN, found, part)
    assert [cell.title for cell in cells] == ["CLIP", "what m2 adds", "without m2", "GEM"]
    assert "contrast" in cells[2].note and "AUC" in cells[2].note
    assert not np.allclose(cells[0].values, cells[2].values)
    whole = sum(results.term_map(found.blame, other) for other in found.blame.components)
    np.testing.assert_allclose(whole, cells[0].values, atol=1e-4)
    embedding = map_cells(case, SHOWN, found, Component("embedding"))
    assert [cell.title for cell in embedding] == ["CLIP", "what embedding adds", "GEM"]  # it cannot be removed
    assert [cell.title for cell in map_cells(case, FlipSettings(), found, None)] == ["CLIP"]


def test_a_small_map_a_method_and_the_chosen_one_is_marked() -> None:
    case = replace(CASE, method_a="gem")
    readings = with_custom(case, results.flip_report(case)).readings
    cells = method_cells(case, SHOWN, readings)
    assert [cell.title for cell in cells][:3] == ["CLIP", "MaskCLIP", "CLIP Surgery"] and len(cells) == 8
    assert [cell.title for cell in cells if cell.chosen] == ["GEM"]
    assert cells[0].note == f"AUC {auc(readings['clip'].flip_auc)}"


def test_a_click_on_a_small_map_puts_it_beside_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(CASE)
    monkeypatch.setattr(state, "case", lambda: view.case)
    monkeypatch.setattr(state, "settings", lambda kind: view.of(kind))
    changes: dict = {}
    monkeypatch.setattr(state, "adjust", lambda _kind, **change: changes.update(change))
    monkeypatch.setattr(state, "update", changes.update)
    names = ["clip", "gem", "sclip"]
    take_method({"type": "action", "row": 1, "column": 1}, names)
    assert changes == {"beside": True, "method_a": "gem"}
    view = View(replace(CASE, method_a="gem"), (SHOWN,))
    for column in (1, 0):
        changes.clear()
        take_method({"type": "action", "row": 1, "column": column}, names)
        assert changes == {"beside": False}
    changes.clear()
    take_method({"type": "action", "row": 0, "column": 1}, names)
    take_method({"type": "action", "row": 1, "column": 3}, names)
    assert not changes


@pytest.mark.parametrize(
    ("shape", "points", "region"),
    [
        ("box", [[50.2, 30], [10.6, -5]], "box:11,0,50,30"),
        ("lasso", [[0, 0], [10, 10.4], [500, 20]], "polygon:0,0,10,10,100,20"),
        ("none", [], ""),
    ],
)
def test_a_drawing_becomes_a_region_inside_the_image(shape: str, points: list, region: str) -> None:
    drawing = events.picked_drawing({"type": "region", "shape": shape, "points": points})
    assert written_region(*drawing, (200, 100)) == region


def test_a_long_lasso_is_thinned_for_the_address() -> None:
    turn = np.linspace(0, 2 * np.pi, 500)
    points = list(zip(50 + 40 * np.cos(turn), 50 + 40 * np.sin(turn), strict=True))
    assert written_region("lasso", points, (100, 100)).count(",") <= 2 * MAX_CORNERS


def test_the_regions_own_phrase_is_examined_first() -> None:
    case = Case(prompts=("a", "b"), region="object:c")
    assert examinable_prompts(case) == ("c", "a", "b")
    assert examined_prompt(case) == "c"
    assert examined_prompt(replace(case, prompt="b")) == "b"
    assert examined_prompt(replace(case, prompt="gone")) == "c"
    assert examined_prompt(replace(case, region="box:0,0,1,1")) == "a"
    with pytest.raises(ValueError, match="Expected prompts to hold at least one text"):
        examined_prompt(Case())


def test_the_page_gives_a_verdict_in_one_line(open_app) -> None:
    app = open_app(replace(CASE, component="m2", layer=2), page="flip")
    assert not app.exception and not app.error
    texts = [element.value.replace("\\", "").replace("\u2060", "") for element in app.markdown]
    (headline,) = [text for text in texts if text.startswith("## ")]
    report = with_custom(CASE, results.flip_report(CASE))
    assert headline == f"## {report.headline(Component('mlp', 2))}" and "m2 writes" in headline
    assert report.explanation in texts  # behind "more"
    view = component_data(app, "clip_theatre_map_view")[0]
    assert [cell["title"] for cell in view["rows"][0]["cells"]] == ["CLIP", "what m2 adds", "without m2"]
    assert view["draw"] and [row["chooses"] for row in view["rows"]] == [False, True]
    assert len(view["rows"][1]["cells"]) == 8 and len(app.get("plotly_chart")) == 4


def test_without_a_choice_the_worst_component_is_shown(open_app) -> None:
    view = component_data(open_app(CASE, page="flip"), "clip_theatre_map_view")[0]
    worst = results.flip_report(CASE).culprits[0].label
    assert view["rows"][0]["cells"][1]["title"] == f"what {worst} adds"


def test_random_weights_get_no_verdict(open_app) -> None:
    case = Case(model="ViT-S-32-alt", weights="random", image="toy-2", prompts=("grass",), region="box:20,20,120,140")
    app = open_app(case, page="flip")
    assert not app.exception and not app.error
    assert any(element.value.startswith("## Cannot tell") for element in app.markdown)


def test_the_free_method_counts_among_the_others() -> None:
    report = results.flip_report(CASE)
    shown = with_custom(replace(CASE, custom=Method("vv", 5, mlp=False)), report)
    assert [*shown.readings] == [*report.readings, "custom"]
    worst = replace(shown, readings={name: shown.readings[name] for name in ("clip", "custom")})
    assert "custom (AUC" in worst.summary


def test_without_a_region_the_page_says_what_to_draw(open_app) -> None:
    app = open_app(Case(image="china", prompts=("a pagoda",)), page="flip")
    assert not app.exception and not app.error
    assert any("Draw the region that should light up" in element.value for element in app.markdown)
    view = component_data(app, "clip_theatre_map_view")[0]
    assert view["draw"] and [cell["title"] for cell in view["rows"][0]["cells"]] == ["CLIP"]


def test_a_region_that_is_not_there_leaves_the_map_to_draw_on(open_app) -> None:
    app = open_app(replace(CASE, region="object:a unicorn"), page="flip")
    assert "The region has to be one of" in error_texts(app)
    assert component_data(app, "clip_theatre_map_view")[0]["draw"]


def test_a_resnet_is_examined_without_lens_and_mlp(open_app) -> None:
    case = Case(model="RN50", weights="random", image="toy-2", prompts=("grass",), region="box:20,20,120,140")
    app = open_app(replace(case, layer=0, head=1), page="flip")
    assert not app.exception and not app.error
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert "no logit lens" in figure["layout"]["annotations"][0]["text"]


def test_the_lines_give_the_numbers_of_the_page() -> None:
    part = Component("head", 3, 1)
    case = replace(CASE, **results.choice_of(part))
    report, found = results.flip_report(case), {}
    exec(python_flip(case, part), found)
    assert found["report"].contrast == pytest.approx(with_custom(case, report).contrast, abs=1e-4)
    assert not found["report"].interventions
    np.testing.assert_allclose(found["adds"], results.term_map(report.blame, part), atol=1e-5)
    np.testing.assert_allclose(found["without"], results.map_without(case, part), atol=1e-5)


def test_every_file_can_be_read() -> None:
    report = results.flip_report(CASE)
    files = {label: file.make() for label, file in flip_exports(CASE, SHOWN, report, Component("mlp", 2)).files.items()}
    arrays = np.load(io.BytesIO(files["NPZ, all arrays"]))
    np.testing.assert_allclose(arrays["terms"].sum(axis=0), arrays["map_clip"], atol=1e-4)
    content = json.loads(files["JSON, the report"])
    assert content["summary"] == with_custom(CASE, report).summary and "custom" in content["methods"]
    table = pd.read_csv(io.BytesIO(files["CSV, a row a component"]))
    parts = table[~table["component"].isin(["a0", "a1", "a2", "a3", "a4", "a5"])]
    assert parts["blame"].sum() == pytest.approx(report.contrast["clip"], abs=1e-4)
    assert component_table(report)["component"].is_unique
