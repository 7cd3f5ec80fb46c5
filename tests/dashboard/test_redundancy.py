"""The Redundancy page without a browser: label set, maps with and without a label, figures, downloads."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.label_set import label_set_effect
from analysis.numerals import number
from dashboard import services
from dashboard.case import Case
from dashboard.figures.redundancy import (
    effect_table,
    label_ticks,
    mean_correlation,
    plot_channels,
    plot_correlation,
    plot_effect,
)
from dashboard.pages.redundancy import body as panel
from dashboard.pages.redundancy import results
from dashboard.pages.redundancy.exports import python_redundancy, redundancy_exports
from dashboard.pages.redundancy.settings import RedundancySettings
from data.samples import load_sample
from surgery import METHODS, encode_dense, feature_surgery, load_model
from tests.dashboard.conftest import component_data, error_texts

SCENE = load_sample("toy-1")
CASE = Case(image="toy-1", prompts=SCENE.prompts, region=f"object:{next(iter(SCENE.masks))}")
MARKUP = Case(image="toy-1", prompts=("<b>bold</b>", "%{z}", "sand"))


def views(app) -> list[dict]:
    return component_data(app, "clip_theatre_map_view")


def cell_values(cell: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(cell["values"]), "<f4").reshape(14, 14)


def test_the_page_shows_what_is_common_and_every_map_before_and_after(open_app) -> None:
    app = open_app(CASE, page="redundancy")
    assert not app.exception and not app.error and not app.info
    stages, common, share = views(app)
    found = results.redundancy(CASE)
    np.testing.assert_array_equal(cell_values(common["rows"][0]["cells"][0]), found.map[0])
    np.testing.assert_array_equal(cell_values(share["rows"][0]["cells"][0]), 100 * found.share[0])
    assert (common["scale"], share["scale"]) == ("signed", "positive")
    assert [len(row["cells"]) for row in stages["rows"]] == [2] * len(CASE.prompts)
    weights = [row["share"]["text"] for row in stages["rows"]]
    assert weights == [f"weight {number(weight)}" for weight in found.weights[0]]
    difference = [cell_values(cell) for cell in stages["rows"][0]["cells"]]
    expected = difference[0] * found.weights[0, 0] - found.map[0]
    np.testing.assert_allclose(difference[1], expected, atol=1e-5)


def test_a_struck_label_gives_a_third_column_without_it(open_app) -> None:
    struck = CASE.prompts[1]
    app = open_app(CASE, page="redundancy")
    next(box for box in app.selectbox if "Strike" in box.label).set_value(struck).run()
    assert app.session_state["view"].of(RedundancySettings).struck == struck
    cells = [row["cells"][2] for row in views(app)[0]["rows"]]
    assert [cell["error"] for cell in cells] == ["", "struck out", "", ""]
    model = load_model("toy")
    rest = [prompt for prompt in CASE.prompts if prompt != struck]
    pixels = model.preprocess([SCENE.image.to_pil()])
    expected = feature_surgery(encode_dense(model, pixels, METHODS["clip_surgery"]), model.encode_text(rest)).patches
    np.testing.assert_allclose(cell_values(cells[2]), expected[0, :, :, 1], atol=1e-5)


def test_labels_are_edited_in_place(open_app) -> None:
    app = open_app(CASE, page="redundancy")
    box = app.multiselect[0]
    box.set_value([*CASE.prompts[:2], "a blue ring"]).run()
    assert app.session_state["view"].case.prompts == (*CASE.prompts[:2], "a blue ring")
    assert not app.exception and len(views(app)[0]["rows"]) == 3
    assert app.text_area[0].value == ", ".join((*CASE.prompts[:2], "a blue ring"))


def test_labels_are_tidied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel.state, "clear_problem", lambda name: None)
    assert panel.set_labels(CASE, ["  a   cat", "a cat", " ", "dog"]).prompts == ("a cat", "dog")


def test_one_label_is_compared_with_the_empty_text_and_the_page_says_so(open_app) -> None:
    app = open_app(Case(image="toy-1", prompts=("sand",)), RedundancySettings("sand"), page="redundancy")
    assert not app.exception and not app.error
    assert "empty text" in " ".join(warning.value for warning in app.warning)
    assert len(views(app)[0]["rows"][0]["cells"]) == 2


def test_two_labels_say_that_a_third_is_needed_and_one_can_be_struck(open_app) -> None:
    app = open_app(Case(image="toy-1", prompts=("sand", "grass")), RedundancySettings("grass"), page="redundancy")
    assert not app.exception and not app.error
    assert "until there are 3" in " ".join(info.value for info in app.info)
    assert any("empty text" in warning.value for warning in app.warning)
    assert [len(row["cells"]) for row in views(app)[0]["rows"]] == [3, 3]


def test_no_label_says_what_to_do_and_labels_can_be_added(open_app) -> None:
    app = open_app(Case(image="toy-1", patch=(1, 1)), page="redundancy")
    assert "There is no prompt." in error_texts(app)
    app.multiselect[0].set_value(["sand", "grass"]).run()
    assert not app.error and app.session_state["view"].case.prompts == ("sand", "grass")


def test_the_chosen_patch_has_its_share_in_words(open_app) -> None:
    app = open_app(Case(image="toy-1", prompts=SCENE.prompts, patch=(7, 5)), page="redundancy")
    share = 100 * results.redundancy(CASE).share[0, 7, 5]
    assert f"patch row 7, column 5: {number(share)} %" in views(app)[2]["rows"][0]["cells"][0]["note"]


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What callbacks write into case and settings."""
    found: list[dict] = []
    monkeypatch.setattr(panel.state, "update", lambda **change: found.append(change))
    monkeypatch.setattr(panel.state, "adjust", lambda _kind, **change: found.append(change))
    monkeypatch.setattr(panel.state, "settings", lambda _kind: RedundancySettings("b"))
    return found


def test_clicks_choose_patches_and_strike_labels(changes: list[dict]) -> None:
    def click(curve: int, index: int) -> dict:
        return {"selection": {"points": [{"curve_number": curve, "point_index": index}]}}

    panel.take_patch({"type": "patch", "row": 1, "column": 2}, (14, 14))
    panel.take_label(click(1, 7), 1, ("a", "b", "c"), 3)  # third row
    panel.take_label(click(0, 1), 0, ("a", "b", "c"), 1)  # struck already: back again
    panel.take_label(click(0, 9), 0, ("a", "b", "c"), 1)
    panel.take_label(click(0, 1), 1, ("a", "b", "c"), 1)
    assert changes == [{"patch": (1, 2)}, {"struck": "c"}, {"struck": ""}]


def test_the_correlations_share_one_scale() -> None:
    figure = plot_correlation(results.redundancy(CASE))
    heats = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [heat.coloraxis for heat in heats] == ["coloraxis"] * 2
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-1, 1)
    np.testing.assert_allclose(heats[1].z, results.redundancy(CASE).correlation_after[0])


def test_numbers_are_white_in_strong_cells_only_and_fit_a_theme_in_the_others() -> None:
    found = results.redundancy(CASE)
    matrix = np.array([[1.0, -0.78, 0.2], [-0.78, 1.0, np.nan], [0.2, np.nan, 1.0]])
    found = replace(found, correlation_before=matrix[None], labels=("a", "b", "c"))
    written = [trace for trace in plot_correlation(found).data if trace.type == "scatter"]
    strong, weak = (trace for trace in written if trace.xaxis == "x")
    assert list(zip(strong.x, strong.y, strong.text, strict=True))[:2] == [(0, 0, "1.00"), (1, 0, "−0.780")]
    assert strong.textfont.color == "#ffffff"
    assert list(zip(weak.x, weak.y, weak.text, strict=True)) == [(2, 0, "0.200"), (0, 2, "0.200")]
    assert weak.textfont.color is None


def test_the_mean_correlation_leaves_the_diagonal_out() -> None:
    assert mean_correlation(np.array([[1, 0.5], [0.1, 1]])) == pytest.approx(0.3)
    assert np.isnan(mean_correlation(np.ones((1, 1))))


def test_the_strongest_channels_come_first() -> None:
    found = results.redundancy(CASE)
    bars = plot_channels(found, count=5).data[0]
    np.testing.assert_allclose(bars.y, 100 * np.sort(found.channel_share[0])[::-1][:5], rtol=1e-5)


def test_every_cell_of_the_effect_can_be_clicked_and_the_struck_row_is_framed() -> None:
    effect = results.effect(CASE)
    figure = plot_effect(effect, CASE.prompts[2])
    t = len(CASE.prompts)
    markers = figure.data[1]
    assert markers.marker.opacity == 0 and (markers.x[t + 2], markers.y[t + 2]) == (2, 1)
    assert (figure.layout.shapes[0].y0, figure.layout.shapes[0].y1) == (1.5, 2.5)


def test_the_table_of_the_effect() -> None:
    model = load_model("toy")
    features = encode_dense(model, model.preprocess([SCENE.image.to_pil()]), METHODS["clip_surgery"])
    expected = label_set_effect(features, model.encode_text(CASE.prompts), CASE.prompts, region=services.region(CASE))
    table = effect_table(results.effect(CASE))
    assert list(table["left out"]) == list(CASE.prompts)
    np.testing.assert_allclose(table["mean change"], np.nanmean(expected.mean_change[0], axis=1), rtol=1e-4)
    change = expected.contrast[0] - expected.contrast_before[0]
    np.testing.assert_allclose(table["contrast change"], np.nanmean(change, axis=1), rtol=1e-3)


def test_labels_bring_no_markup() -> None:
    found = results.redundancy(MARKUP)
    for figure in (plot_correlation(found), plot_effect(results.effect(MARKUP))):
        content = figure.to_json().replace("\\u003c", "<")
        assert "<b>bold" not in content and '"%{z}"' not in content
    assert label_ticks(["x" * 40]) == ["x" * 17 + "…"]


def test_a_method_without_meaning_says_so(open_app) -> None:
    case = Case(model="RN50", weights="random", image="toy-1", prompts=("sand", "grass"), method_a="gem")
    app = open_app(case, page="redundancy")
    assert "The attention has to be one of qk, vv, identity" in error_texts(app) and not app.exception


@pytest.mark.parametrize("prompts", [SCENE.prompts, ("sand",)], ids=["set", "single"])
def test_the_lines_run_and_give_the_numbers_of_the_page(prompts: tuple[str, ...]) -> None:
    case = Case(image="toy-1", prompts=prompts, region=CASE.region, method_a="custom")
    found: dict = {}
    exec(python_redundancy(case), found)
    expected = results.redundancy(case)
    np.testing.assert_allclose(found["redundancy"].map, expected.map, atol=1e-5)
    np.testing.assert_allclose(found["redundancy"].weights, expected.weights, atol=1e-5)
    if len(prompts) > 2:
        np.testing.assert_allclose(found["effect"].contrast, results.effect(case).contrast, atol=1e-5)


def test_every_download_holds_the_numbers() -> None:
    found, effect = results.redundancy(CASE), results.effect(CASE)
    made = {
        label.split(",")[0]: file.make()
        for label, file in redundancy_exports(CASE, RedundancySettings(), found, effect).files.items()
    }
    table = pd.read_csv(io.BytesIO(made["CSV"]))
    np.testing.assert_allclose(table.weight, found.weights[0], rtol=1e-5)
    np.testing.assert_allclose(table[f"mean change of {CASE.prompts[0]}"], effect.mean_change[0, :, 0], rtol=1e-4)
    arrays = np.load(io.BytesIO(made["NPZ"]))
    np.testing.assert_array_equal(arrays["share"], found.share[0])
    np.testing.assert_array_equal(arrays["maps_after"], services.maps(CASE, "clip_surgery", surgery=True).patches)
    content = json.loads(made["JSON"])
    assert content["left_out"][CASE.prompts[0]][0] is None
    assert content["weights"][CASE.prompts[1]] == pytest.approx(float(found.weights[0, 1]))
