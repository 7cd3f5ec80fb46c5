"""The Layers page: its figures, what a click means, the alpha sweep, and the page without a browser."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.norms import StreamMeasure, norm_scores
from analysis.sweep import NO_RESIDUAL, alpha_axis, summarise
from dashboard import services
from dashboard.case import Case
from dashboard.figures.affinity import mass_over_blocks
from dashboard.figures.blocks import plot_blocks
from dashboard.figures.layers import (
    SweepPoint,
    alpha_position,
    describe_crossings,
    plot_alpha_sweep,
    plot_entropy,
    plot_streams,
)
from dashboard.pages.layers import results
from dashboard.pages.layers.body import describe_measures, outlier_count, outlier_table, picked_anywhere, turning_cell
from dashboard.pages.layers.exports import layers_exports, layers_table, python_layers
from dashboard.pages.layers.settings import LayersSettings
from dashboard.pages.layers.sweep import picked_scales
from dashboard.panels.texts import plain
from data.samples import load_sample
from surgery import Method
from tests.dashboard.conftest import carried_out, component_data

SCENE = load_sample("toy-2")
CASE = Case(image="toy-2", prompts=SCENE.prompts, region=f"object:{next(iter(SCENE.masks))}")

FIRST = load_sample("toy-1")
TURNING = Case(prompts=FIRST.prompts, region=f"object:{next(iter(FIRST.masks))}")


def alpha_table(case: Case) -> pd.DataFrame:
    return carried_out(results.alpha_sweep(case))


def click(curve: int, index: int) -> dict:
    return {"selection": {"points": [{"curve_number": curve, "point_index": index}]}}


def test_a_panel_a_stream_and_a_line_a_group() -> None:
    norms = results.layer_measures(CASE).norms
    figure = plot_streams(norms, layer=2)
    lines = [trace for trace in figure.data if "markers" in trace.mode]
    assert [trace.name for trace in lines] == ["CLS", "foreground", "background"] * 3
    np.testing.assert_allclose(lines[4].y, norms.mean("attention", "foreground")[:, 0], rtol=1e-5)
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 6  # CLS is one token
    low, high = norms.quantiles("residual", "foreground", (0.05, 0.95))[:, :, 0]
    np.testing.assert_allclose(bands[0].y, [*high, *low[::-1]], rtol=1e-5)
    assert all(shape.x0 == 2 for shape in figure.layout.shapes) and figure.layout.shapes


def test_frobenius_is_the_root_of_the_sum_of_squares() -> None:
    norms = results.layer_measures(replace(CASE, region="")).norms
    figure = plot_streams(norms, frobenius=True)
    assert [trace.name for trace in figure.data] == ["CLS", "patches"] * 3
    expected = np.sqrt((norms.residual[:, 0, 1:].astype(float) ** 2).sum(axis=-1))
    np.testing.assert_allclose(figure.data[1].y, expected, rtol=1e-5)


def blocks_of(case: Case, **options: object):
    found = results.layer_measures(case)
    return plot_blocks(found.norms, found.cosines, found.entropy, found.mass, **options)


def test_measures_stand_aligned_under_their_streams_with_one_cursor() -> None:
    measures, figure = results.layer_measures(CASE), blocks_of(CASE, layer=2, head=0)
    titles = [note.text for note in figure.layout.annotations]
    assert titles[:3] == ["residual", "attention output", "MLP output"]
    assert titles[3:] == ["largest patch norm", "entropy, a dot a head", "same-region mass"]
    assert {(line.x0, line.x1) for line in figure.layout.shapes} == {(2, 2)} and len(figure.layout.shapes) == 9
    by_place = {(trace.xaxis, trace.name): trace for trace in figure.data if "markers" in trace.mode}
    lengths = measures.norms.mean("attention", "foreground")[:, 0]
    np.testing.assert_allclose(by_place["x2", "foreground"].y, lengths, rtol=1e-5)
    alike = measures.cosines.mean("mlp", "background")[:, 0]
    np.testing.assert_allclose(by_place["x6", "background"].y, alike, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        by_place["x7", "largest deviation"].y, norm_scores(measures.norms)[:-1, 0].max(-1), rtol=1e-5
    )
    expected = 100 * mass_over_blocks(measures.mass, 0)[1, :, 0]
    np.testing.assert_allclose(by_place["x9", "v-v"].y, expected, rtol=1e-5)


def test_without_a_region_there_is_no_mass() -> None:
    figure = blocks_of(replace(CASE, region=""))
    assert "v-v" not in {trace.name for trace in figure.data}
    assert results.layer_measures(replace(CASE, region="")).mass is None


def test_every_marker_says_its_block_and_dots_their_head() -> None:
    figure = blocks_of(CASE, layer=1, head=0)
    kinds = ["markers" in trace.mode for trace in figure.data]
    line, band = kinds.index(True), kinds.index(False)
    assert picked_anywhere(click(line, 3), figure) == (3, None)
    assert picked_anywhere(click(band, 3), figure) is None
    assert picked_anywhere(click(line, 99), figure) is None
    dots = next(index for index, trace in enumerate(figure.data) if trace.mode == "markers")
    heads = results.layer_measures(CASE).entropy.values.shape[2]
    assert picked_anywhere(click(dots, heads + 1), figure) == (1, 1)
    sizes = np.array(figure.data[dots].marker.size)
    assert np.flatnonzero(sizes == sizes.max()).tolist() == [heads]


def test_dots_of_entropy_stand_block_by_block() -> None:
    entropy = results.layer_measures(CASE).entropy
    figure = plot_entropy(entropy, layer=1, head=0)
    dots, heads = figure.data[0], entropy.values.shape[2]
    np.testing.assert_allclose(dots.y, entropy.mean()[:, 0].ravel(), rtol=1e-5)
    assert tuple(dots.customdata[heads + 1]) == (1, 1)


def test_outliers_are_named_with_their_stream() -> None:
    values = np.ones((2, 1, 5), np.float32)
    values[1, 0, 3] = 9
    groups = {"patches": np.array([[False, True, True, True, True]])}
    output = np.array([[1, 7, 1, 1, 1]], np.float32)
    norms = StreamMeasure("L2 norm", values, values, None, output, groups, (2, 2), "made")
    table = outlier_table(norms)
    assert table[["enters block", "row", "column"]].values.tolist() == [["1", 1, 0], ["output", 0, 0]]
    assert norm_scores(norms).shape == (3, 1, 4)
    assert outlier_table(replace(norms, residual=np.ones_like(values), output=np.ones_like(output))).empty


def test_the_sweep_is_a_line_a_kind_with_the_limit_last() -> None:
    table = alpha_table(CASE)
    figure = plot_alpha_sweep(table)
    lines = [trace for trace in figure.data if "lines" in trace.mode]
    assert [trace.name for trace in lines] == ["q-k", "q-q", "k-k", "v-v"]
    assert {len(trace.x) for trace in lines} == {len(results.ALPHAS) + 1}
    assert figure.layout.xaxis.ticktext[-1] == "<br>no<br>residual"
    assert len({round(trace.y[0], 5) for trace in lines}) == 1  # at alpha 0 all kinds agree


def test_the_slider_stands_on_its_line() -> None:
    case = replace(CASE, custom=Method("vv", 3, 1.0, 2.25, False, "bilinear"))
    point = results.slider_point(case, results.slider_maps(case)["at the slider"])
    axis = alpha_axis(alpha_table(case))
    on_line = axis[(axis["kind"] == "vv") & (axis["alpha"] == 2.25)].iloc[0]
    assert point.contrast == pytest.approx(on_line["contrast"], abs=1e-5)
    figure = plot_alpha_sweep(alpha_table(case), point)
    assert (figure.data[-1].x[0], figure.data[-1].y[0]) == (on_line["position"], point.contrast)
    between = replace(point, alpha=2.3)
    assert on_line["position"] < alpha_position(axis, between) < on_line["position"] + 1
    assert alpha_position(axis, replace(point, residual=0.0)) == axis["position"].max()
    assert axis["label"].iloc[-1] == NO_RESIDUAL


def test_critical_alphas_come_from_the_closed_form_and_are_put_in_words() -> None:
    words = describe_crossings({"v-v": (1.234, 2.5), "q-k": (), "q-q": (3.0,), "k-k": ()})
    assert words == "v-v turns at alpha 1.23 and 2.50; q-q at 3.00; q-k, k-k never turn"
    assert describe_crossings({"v-v": (1.2, 2.5, 3)}) == "v-v turns at alpha 1.20, 2.50 and 3.00"
    assert describe_crossings({"v-v": ()}) == "v-v never turns"
    table, critical = alpha_table(TURNING), results.critical_contrasts(TURNING)
    found = [(kind, alpha) for kind, alphas in critical.items() for alpha in alphas]
    assert found and [*critical] == ["qk", "qq", "kk", "vv"]
    for kind, alpha in found:
        case = replace(TURNING, custom=replace(CASE.custom, attention=kind, alpha=alpha))
        point = results.slider_point(case, results.slider_maps(case)["at the slider"])
        assert point.contrast == pytest.approx(0, abs=1e-5)
    figure = plot_alpha_sweep(table, critical=critical)
    marks = [trace for trace in figure.data if trace.marker.symbol == "x-thin"]
    assert len(marks) == 1 and len(marks[0].x) == sum(alpha <= 5 for _, alpha in found) and set(marks[0].y) == {0.0}
    assert not [trace for trace in plot_alpha_sweep(table).data if trace.marker.symbol == "x-thin"]
    assert results.critical_contrasts(replace(CASE, custom=replace(CASE.custom, mlp=True))) is None


def test_the_map_says_at_which_share_of_the_residual_a_patch_turns() -> None:
    turns = results.turning_map(CASE)
    row, column = (int(index[0]) for index in np.nonzero(turns))
    alpha = 1 / abs(turns[row, column]) - 1
    values = []
    for factor in (0.99, 1.01):
        case = replace(CASE, custom=replace(CASE.custom, alpha=alpha * factor))
        values.append(results.slider_maps(case)["at the slider"].patches[row, column, 0])
    assert values[0] * values[1] < 0 and np.sign(values[1]) == np.sign(turns[row, column])
    assert turning_cell(np.array([[0.0, 0.5]])).note == "50 % turn"
    assert results.turning_map(replace(CASE, custom=replace(CASE.custom, mlp=True))) is None


def test_a_clicked_point_brings_the_sliders_there() -> None:
    figure = plot_alpha_sweep(alpha_table(CASE), SweepPoint("vv", 1.0, 1.0, 0.1))
    assert picked_scales(click(3, 4), figure) == {"attention": "vv", "alpha": 1.0, "residual": 1.0}
    last = len(figure.data[0].x) - 1
    assert picked_scales(click(0, last), figure) == {"attention": "qk", "alpha": 1.0, "residual": 0.0}
    assert picked_scales(click(4, 0), figure) is None  # the slider's own marker


def test_a_sweep_over_images_has_intervals_and_a_line_a_depth() -> None:
    one = alpha_table(CASE)
    deeper = alpha_table(replace(CASE, custom=Method("vv", 2, mlp=False)))
    both = pd.concat([one, deeper]).reset_index(drop=True)
    table = summarise(both[both["kind"].isin(["qk", "vv"])], resamples=20)
    figure = plot_alpha_sweep(table)
    lines = [trace for trace in figure.data if "markers" in trace.mode]
    assert {trace.name for trace in lines} == {"q-k, 5 blocks", "v-v, 5 blocks", "q-k, 2 blocks", "v-v, 2 blocks"}
    assert len({trace.line.color for trace in lines}) == 4
    assert len(figure.data) == 8


def test_the_kind_of_the_slider_is_swept_too() -> None:
    case = replace(CASE, custom=Method("gem", 2, mlp=True))
    grid = results.sweep_grid(case)
    assert grid.kinds == ("qk", "qq", "kk", "vv", "gem") and grid.blocks == (2,) and grid.mlp == (True,)


def test_the_page_shows_multiples_sweep_and_maps(open_app) -> None:
    app = open_app(replace(CASE, layer=1, head=0), LayersSettings(beside="outliers"), page="layers")
    assert not app.exception and not app.error
    assert len(app.get("plotly_chart")) == 2
    sweep, outliers = (view["rows"][0]["cells"] for view in component_data(app, "clip_theatre_map_view"))
    assert [cell["title"] for cell in sweep] == ["CLIP", "at the slider", "no residual"]
    assert [cell["title"] for cell in outliers] == ["norms, into block 1"]
    expected = describe_measures(results.layer_measures(CASE), True, {"vv": results.critical_contrasts(CASE)["vv"]})
    assert "v-v never turns" in expected and any(plain(expected) in text.value for text in app.markdown)


def test_without_a_region_the_sweep_asks_for_one(open_app) -> None:
    app = open_app(Case(image="china", prompts=("a pagoda",)), page="layers")
    assert not app.exception and not app.error
    assert "needs a region" in app.info[0].value
    assert len(app.get("plotly_chart")) == 1


def test_without_prompts_the_multiples_stay(open_app) -> None:
    app = open_app(Case(image="china", layer=1), page="layers")
    assert not app.exception and app.error
    assert len(app.get("plotly_chart")) == 1


def test_a_resnet_says_what_it_lacks(open_app) -> None:
    case = Case(model="RN50", weights="random", image="toy-2", prompts=("grass",), region="box:20,20,120,140")
    app = open_app(case, page="layers")
    assert not app.exception and not app.error
    assert any("attention pool is the only block" in text.value for text in app.markdown)
    assert not results.can_be_swept(case)


def test_the_lines_give_the_numbers_of_the_page() -> None:
    found: dict = {}
    exec(python_layers(CASE), found)
    measures, sweep = results.layer_measures(CASE), alpha_table(CASE)
    np.testing.assert_allclose(found["norms"].attention, measures.norms.attention, rtol=1e-4)
    np.testing.assert_allclose(found["cosines"].residual, measures.cosines.residual, atol=1e-5)
    np.testing.assert_allclose(found["entropy"].values, measures.entropy.values, atol=1e-5)
    np.testing.assert_allclose(found["sweep"]["contrast"], sweep["contrast"], atol=1e-5)


def test_every_file_can_be_read() -> None:
    measures = results.layer_measures(CASE)
    made = layers_exports(CASE, LayersSettings(), measures, alpha_table(CASE))
    files = {label: file.make() for label, file in made.files.items()}
    arrays = np.load(io.BytesIO(files["NPZ, all arrays"]))
    np.testing.assert_array_equal(arrays["norm_mlp"], measures.norms.mlp[:, 0])
    assert len(json.loads(files["JSON, settings and means"])["measures"]) == len(layers_table(measures))
    assert len(pd.read_csv(io.BytesIO(files["CSV, the alpha sweep"]))) == 4 * (len(results.ALPHAS) + 1)


def test_one_sweep_serves_all_who_look_at_the_same() -> None:
    assert results.sweep_key(CASE) == results.sweep_key(replace(CASE, patch=(1, 1), layer=2))
    assert results.sweep_key(CASE) != results.sweep_key(replace(CASE, region=""))
    assert services.trace(CASE).depth == len(results.layer_measures(CASE).norms.attention)


def test_outliers_elsewhere_are_told() -> None:
    assert outlier_count(0, 0) == "no outliers"
    assert outlier_count(2, 2) == "2 outliers"
    assert outlier_count(1, 3) == "1 outlier,\n2 in other blocks"
