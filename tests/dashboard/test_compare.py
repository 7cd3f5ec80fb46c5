"""The Compare page without a browser: sides, difference, matching, figures, what is handed out."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.decomposition import Component
from analysis.numerals import signed
from dashboard import pins, services
from dashboard.case import Case, pin_of
from dashboard.figures.compare import plot_blames, plot_lenses
from dashboard.pages.compare import results, table
from dashboard.pages.compare.body import map_views
from dashboard.pages.compare.exports import compare_exports
from dashboard.pages.compare.results import Depth, match, side_of, why_no_difference
from dashboard.pages.compare.settings import CompareSettings, patch_at, place_of
from dashboard.pinned import pinned_map
from data.samples import load_sample
from tests.dashboard.conftest import component_data, error_texts

SCENE = load_sample("toy-1")
CASE = Case(image="toy-1", prompts=SCENE.prompts, region=f"object:{next(iter(SCENE.masks))}")
CLIP, SURGERY = (pin_of(CASE, 0, name) for name in ("clip", "clip_surgery"))
RANDOM = replace(CLIP, model="ViT-S-32-alt", weights="random")


@pytest.fixture(scope="module")
def sides() -> list[results.Side]:
    return [side_of(letter, letter, pin) for letter, pin in (("A", CLIP), ("B", SURGERY))]


@pytest.fixture(scope="module")
def other() -> results.Side:
    return side_of("B", "B", RANDOM)


def test_a_pin_shows_what_its_page_showed() -> None:
    found = pinned_map(replace(CLIP, name="named"))
    np.testing.assert_array_equal(found.values, services.maps(CASE, "clip").patches[:, :, 0])
    assert found.reading.contrast == pytest.approx(-0.335, abs=5e-4) and found.thumbnail.startswith("data:image/jpeg")


def test_blame_and_lens_end_at_the_contrast(sides: list[results.Side]) -> None:
    for side in sides:
        assert side.depth.terms.sum() == pytest.approx(side.found.reading.contrast, abs=2e-5)
    assert sides[0].depth.lens[-1] == pytest.approx(sides[0].found.reading.contrast, abs=2e-5)


def test_a_difference_needs_one_unit_one_grid_and_one_place(sides: list[results.Side], other: results.Side) -> None:
    assert why_no_difference(*sides) == ""
    assert "14 x 14 patches, B" in why_no_difference(sides[0], other)
    after = side_of("B", "", replace(CLIP, feature_surgery=True))
    assert "A is cosine, B feature surgery" in why_no_difference(sides[0], after)
    cropped = side_of("B", "", replace(CLIP, fit="crop"))
    assert "A is stretched, B cropped" in why_no_difference(sides[0], cropped)
    assert len({view.limit for view in map_views(CompareSettings(), [sides[0], after])}) == 2


def test_maps_share_one_scale_and_one_place(sides: list[results.Side]) -> None:
    own = CompareSettings(place=place_of((3, 4), (14, 14)))
    views = map_views(own, sides)
    assert [view.rows[0].cells[0].title for view in views] == ["A · CLIP", "B · CLIP Surgery", "A − B"]
    assert len({view.limit for view in views}) == 1 and {view.link for view in views} == {"compare"}
    difference = views[2].rows[0].cells[0].values
    np.testing.assert_array_equal(difference, sides[0].found.values - sides[1].found.values)
    assert max(np.abs(difference).max(), np.abs(sides[0].found.values).max()) <= views[0].limit
    assert {view.patch for view in views} == {(3, 4)} and [view.colour_bar for view in views] == [True, False, False]


@pytest.mark.parametrize("grid", [(14, 14), (7, 24), (1, 1)])
def test_a_place_is_a_patch_of_any_grid(grid: tuple[int, int]) -> None:
    patch = (grid[0] - 1, grid[1] // 2)
    assert patch_at(place_of(patch, grid), grid) == patch


def depth(heads: tuple[int, ...], *parts: tuple[Component, float]) -> Depth:
    return Depth(np.zeros(len(heads) + 1), tuple(p for p, _ in parts), np.array([v for _, v in parts]), heads)


SMALL = depth((2, 2), (Component("embedding"), 1.0), (Component("head", 0, 0), 2.0), (Component("mlp", 1), 4.0))


def test_heads_match_by_name_and_what_is_missing_adds_nothing() -> None:
    found = match(SMALL, depth((2, 2), (Component("head", 0, 0), 8.0), (Component("head", 1, 1), 16.0)))
    assert found.labels == ("embedding", "a0.h0", "m1", "a1.h1") and found.note == ""
    assert found.first.tolist() == [1, 2, 4, 0] and found.second.tolist() == [0, 8, 0, 16]


def test_other_numbers_of_heads_match_by_block() -> None:
    found = match(SMALL, depth((3, 3), (Component("head", 0, 2), 8.0), (Component("bias", 0), 16.0)))
    assert found.labels == ("embedding", "a0", "m1") and "by block" in found.note
    assert found.second.tolist() == [0, 24, 0]


def test_other_depths_match_by_share_and_nothing_is_lost(sides: list[results.Side], other: results.Side) -> None:
    deep = depth((2,) * 4, *((Component("mlp", block), 10.0**block) for block in range(4)))
    found = match(SMALL, deep)
    assert dict(zip(found.labels, found.second, strict=True)) == {"embedding": 0, "a0": 0, "m1": 1100, "m0": 11}
    assert found.note == "A has 2 blocks, B 4: blocks at the same share of the depth are summed."
    real = match(sides[0].depth, other.depth)
    assert real.first.sum() == pytest.approx(sides[0].found.reading.contrast, abs=2e-5)
    assert real.second.sum() == pytest.approx(other.found.reading.contrast, abs=2e-5)


def test_figures_name_dots_on_hover_and_draw_the_diagonal(sides: list[results.Side], other: results.Side) -> None:
    found = match(sides[0].depth, sides[1].depth)
    figure = plot_blames(found.labels, found.kinds, found.first, found.second, "a3.h0")
    assert [row[0] for row in figure.data[0].customdata] == list(found.labels)
    assert figure.data[1].x == figure.data[1].y == figure.layout.xaxis.range == figure.layout.yaxis.range
    same = plot_lenses([side.depth.lens for side in sides], [0.1, 0.2])
    assert same.data[0].x[-1] == len(sides[0].depth.lens) - 1
    apart = plot_lenses([sides[0].depth.lens, other.depth.lens], [0.1, np.nan])
    assert {trace.x[-1] for trace in apart.data} == {1} and "share" in apart.layout.xaxis.title.text


def test_the_table_has_differences_of_one_unit_only(sides: list[results.Side]) -> None:
    rows = {row[0]: row[1:] for row in table.figure_rows(CompareSettings(place=(0, 0)), sides)}
    assert rows["contrast"][0] == "−0.335" and rows["flip AUC, 95 % interval"][0].startswith("0.0")
    corner = sides[0].found.values[0, 0] - sides[1].found.values[0, 0]
    assert rows["chosen place"][2] == signed(corner)
    after = side_of("B", "", replace(CLIP, feature_surgery=True))
    mixed = {row[0]: row[1:] for row in table.figure_rows(CompareSettings(), [sides[0], after])}
    assert mixed["contrast"][2] == "–" and mixed["flip AUC, 95 % interval"][2] != "–"


def test_what_is_handed_out_holds_the_numbers(sides: list[results.Side]) -> None:
    exports = compare_exports(CompareSettings(), sides)
    made = {file.name: file.make() for file in exports.files.values()}
    maps = pd.read_csv(io.BytesIO(made["maps.csv"]))
    np.testing.assert_allclose(
        maps[maps.case == "B"].value.to_numpy().reshape(14, 14), sides[1].found.values, atol=1e-6
    )
    assert np.load(io.BytesIO(made["compare.npz"]))["terms_A"].sum() == pytest.approx(-0.335, abs=5e-4)
    assert json.loads(made["compare.json"])["differences"].startswith(
        "Same image, prompt and model; method CLIP against"
    )
    assert pins.read_pins(made["pins.json"]) == (CLIP, SURGERY)
    blame = pd.read_csv(io.BytesIO(made["blame.csv"]))
    assert blame.A.sum() == pytest.approx(-0.335, abs=5e-4)


def test_the_page_shows_the_view_where_nothing_is_pinned(open_app) -> None:
    app = open_app(CASE, page="compare")
    assert not app.exception and not error_texts(app)
    titles = [view["rows"][0]["cells"][0]["title"] for view in component_data(app, "clip_theatre_map_view")]
    assert titles == ["A · CLIP", "B · CLIP Surgery", "A − B"]


def test_a_pin_that_cannot_be_shown_says_so_with_a_way_out(open_app) -> None:
    gone = replace(CLIP, image=f"sha256:{'0' * 64}", name="gone")
    app = open_app(replace(CASE, pins=(gone, RANDOM)), page="compare")
    assert not app.exception and "A cannot be shown: its uploaded image is not here" in error_texts(app)
    app.button(key="open A").click().run()
    assert app.session_state["view"].case.image == gone.image


def test_models_without_a_common_grid_are_compared_all_the_same(open_app) -> None:
    app = open_app(replace(CASE, pins=(CLIP, RANDOM)), page="compare")
    assert not app.exception and len(component_data(app, "clip_theatre_map_view")) == 2
    said = " ".join(box.value for box in (*app.info, *app.caption))
    assert "has no grid" in said and "share of the depth" in said.replace("\\", "")
