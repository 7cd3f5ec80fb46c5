"""The Affinity page without a browser: what is sent, what figures show, what clicks change."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.affinity import PARTNERS, Affinity, BestPartners, SameRegionMass
from analysis.regions import Region
from dashboard import services
from dashboard.case import Case
from dashboard.figures.affinity import (
    kind_title,
    mass_over_blocks,
    partner_shares,
    partners_by_chance,
    plot_best_partners,
    plot_mass,
)
from dashboard.pages.affinity import body as panel
from dashboard.pages.affinity import results
from dashboard.pages.affinity import view as affinity_view
from dashboard.pages.affinity.exports import affinity_exports, python_affinity
from dashboard.pages.affinity.settings import AffinitySettings
from dashboard.pages.affinity.view import encode_affinity, region_sides, scale_top
from data.samples import load_sample
from tests.dashboard.conftest import component_data

SCENE = load_sample("toy-1")
CASE = Case(image="toy-1", prompts=SCENE.prompts, region=f"object:{next(iter(SCENE.masks))}", patch=(7, 5), layer=4)
KINDS = AffinitySettings().kinds


def made(kinds: int = 2, grid: tuple[int, int] = (3, 4), prefix: int = 1) -> Affinity:
    tokens = prefix + grid[0] * grid[1]
    weights = np.random.default_rng(0).dirichlet(np.full(tokens, 0.3), size=(kinds, tokens)).astype(np.float32)
    return Affinity(weights, ("qk", "vv", "kk")[:kinds], block=1, head=None, grid=grid, prefix=prefix, model="m")


def decoded(encoded: affinity_view.EncodedAffinity, kinds: int, patches: int) -> np.ndarray:
    """What the browser makes of the codes."""
    codes = np.frombuffer(base64.b64decode(encoded.codes), "<u2" if encoded.levels > 255 else "u1")
    peaks = np.frombuffer(base64.b64decode(encoded.peaks), "<f4").reshape(kinds, patches, 1)
    return peaks * (codes.reshape(kinds, patches, patches) / encoded.levels) ** 2


def left_half(grid: tuple[int, int] = (3, 4)) -> Region:
    foreground = np.zeros(grid, bool)
    foreground[:, : grid[1] // 2] = True
    return Region(foreground, ~foreground)


def test_weights_survive_the_way_to_the_browser() -> None:
    affinity = made()
    found = decoded(encode_affinity(affinity), 2, 12)
    np.testing.assert_allclose(found, affinity.weights[:, 1:, 1:], rtol=1e-3, atol=1e-6)


def test_a_large_grid_travels_in_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity_view, "MAX_FINE_BYTES", 100)
    affinity = made()
    encoded = encode_affinity(affinity)
    assert encoded.levels == 255 and len(base64.b64decode(encoded.codes)) == 2 * 12 * 12
    peaks = affinity.weights[:, 1:, 1:].max(axis=-1, keepdims=True)
    assert (np.abs(decoded(encoded, 2, 12) - affinity.weights[:, 1:, 1:]) / peaks).max() < 1 / 250


def test_one_row_is_that_of_its_patch() -> None:
    affinity = made()
    encoded = encode_affinity(affinity, (1, 2))
    codes = np.frombuffer(base64.b64decode(encoded.codes), "<u2").reshape(2, 12) / encoded.levels
    peaks = np.frombuffer(base64.b64decode(encoded.peaks), "<f4")
    np.testing.assert_allclose(peaks[:, None] * codes**2, affinity.weights[:, 7, 1:], rtol=1e-3, atol=1e-6)
    assert encoded.single and encoded.top == encode_affinity(affinity).top


def test_a_large_grid_sends_one_row(open_app) -> None:
    app = open_app(Case(image="toy-1", prompts=("sand",), patch=(20, 30), size=384), page="affinity")
    sent = view_data(app)
    assert not app.exception and sent["single"] and sent["grid"] == [48, 48]
    assert len(base64.b64decode(sent["codes"])) == 2 * 4 * 48 * 48


def test_the_cls_share_travels_apart() -> None:
    affinity = made()
    cls = np.frombuffer(base64.b64decode(encode_affinity(affinity).cls), "<f4").reshape(2, 12)
    np.testing.assert_array_equal(cls, affinity.weights[:, 1:, 0])


def test_the_scale_ends_at_the_largest_weights_between_different_patches() -> None:
    between = np.full((1, 50, 50), 0.25)
    between[0][np.eye(50, dtype=bool)] = 1.0
    assert scale_top(between) == 0.25
    assert scale_top(np.eye(5)[None]) == 1.0  # identity: nothing between different patches


def test_sides_of_the_region() -> None:
    neither = Region(np.array([[True, False, False]]), np.array([[False, True, False]]))
    assert region_sides(neither, (1, 3)).tolist() == [1, 2, 0]
    assert region_sides(None, (1, 3)).tolist() == [0, 0, 0]


def test_partners_by_chance_are_shares_of_all_tokens() -> None:
    region = Region(np.array([[True, True], [False, False]]), np.array([[False, False], [True, False]]))
    found = dict(zip(PARTNERS, partners_by_chance(region, has_cls=True, registers=1).T, strict=True))
    assert {name: np.rint(6 * shares).tolist() for name, shares in found.items()} == {
        "itself": [1, 1],
        "own region": [1, 0],
        "other region": [1, 2],
        "neither": [1, 1],
        "cls": [1, 1],
        "registers": [1, 1],
    }


def same_region(kinds: int = 2, depth: int = 3, heads: int = 2) -> SameRegionMass:
    flow = np.random.default_rng(1).dirichlet(np.ones(5), size=(kinds, depth, 1, heads, 2)).astype(np.float32)
    return SameRegionMass(flow, np.array([[0.25, 0.7]]), ("qk", "vv")[:kinds], "m")


def test_mass_of_a_head_and_of_the_mean_attention() -> None:
    found = same_region()
    np.testing.assert_allclose(mass_over_blocks(found, 1), found.mass[:, :, 0, 1], rtol=1e-6)
    mean = found.flow[:, :, 0].mean(axis=2)  # (kinds, blocks, 2, 5)
    expected = mean[:, :, 0, 1] / mean[:, :, 0, 1:4].sum(axis=-1)
    np.testing.assert_allclose(mass_over_blocks(found, None)[..., 0], expected, rtol=1e-6)


def test_the_mass_figure_has_a_marker_a_block_and_the_chance() -> None:
    figure = plot_mass(same_region(), layer=1, head=None)
    assert all(trace.mode == "lines+markers" and list(trace.x) == [0, 1, 2] for trace in figure.data[:4])
    assert [trace.y[0] for trace in figure.data[4:]] == pytest.approx([25, 70])


def test_best_partners_are_those_of_the_head() -> None:
    heads = np.random.default_rng(2).dirichlet(np.ones(len(PARTNERS)), size=(2, 3, 1, 2, 2)).astype(np.float32)
    found = BestPartners(heads, heads.mean(axis=3), ("qk", "vv"), "m")
    np.testing.assert_array_equal(partner_shares(found, 1, 0), heads[:, 1, 0, 0])
    figure = plot_best_partners(found, 1, None)
    total = sum(np.asarray(trace.x) for trace in figure.data if trace.xaxis == "x")
    np.testing.assert_allclose(total, 100, rtol=1e-5)


def test_titles_of_kinds() -> None:
    assert [kind_title(kind) for kind in ("qk", "gem", "qq+kk")] == ["q-k", "GEM", "q-q + k-k"]


def test_the_example_patch_is_in_the_middle() -> None:
    assert results.example_patch((14, 10), None) == (7, 5)
    row, column = results.example_patch((3, 4), left_half())
    assert row == 1 and column in (0, 1)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What callbacks write into case and settings."""
    found: list[dict] = []
    monkeypatch.setattr(panel.state, "update", lambda **change: found.append(change))
    monkeypatch.setattr(panel.state, "adjust", lambda _kind, **change: found.append(change))
    return found


def click(curve: int, index: int) -> dict:
    return {"selection": {"points": [{"curve_number": curve, "point_index": index}]}}


def test_events_of_the_view(changes: list[dict]) -> None:
    panel.take_event({"type": "patch", "row": 2, "column": 3}, (3, 4))
    panel.take_event({"type": "ramp", "value": "log"}, (3, 4))
    panel.take_event({"type": "ramp", "value": "<b>"}, (3, 4))
    panel.take_event({"type": "patch", "row": 3, "column": 0}, (3, 4))
    assert changes == [{"patch": (2, 3)}, {"ramp": "log"}]


def test_a_click_on_a_block_chooses_it(changes: list[dict]) -> None:
    panel.take_block(click(3, 2), kinds=2, depth=3)
    panel.take_block(click(4, 1), kinds=2, depth=3)  # the line of chance
    panel.take_block(click(0, 9), kinds=2, depth=3)
    assert changes == [{"layer": 2}]


def view_data(app) -> dict:
    return component_data(app, "clip_theatre_affinity")[0]


def test_the_page_sends_the_attention_of_the_chosen_block_and_head(open_app) -> None:
    app = open_app(CASE, page="affinity")
    assert not app.exception and not app.error
    sent = view_data(app)
    assert [kind["name"] for kind in sent["kinds"]] == ["qk", "vv", "qq", "kk"]
    assert sent["patch"] == [7, 5] and sent["outline"]
    found = decoded(encode_affinity(results.affinity(CASE, KINDS)), 4, 196)
    assert sent["codes"] == encode_affinity(results.affinity(CASE, KINDS)).codes
    np.testing.assert_allclose(found, results.affinity(CASE, KINDS).weights[:, 1:, 1:], atol=1e-4)
    assert (sent["tokens"], [group["name"] for group in sent["groups"]][1:3]) == (197, ["own region", "other region"])
    assert len(app.get("plotly_chart")) == 2


def test_without_a_region_the_page_says_what_one_is_for(open_app) -> None:
    app = open_app(Case(image="toy-1", prompts=("sand",)), page="affinity")
    infos = " ".join(info.value for info in app.info)
    assert "Choose a region" in infos
    assert view_data(app)["example"] == [7, 7]


def test_another_head_and_kind(open_app) -> None:
    app = open_app(CASE, page="affinity")
    before = view_data(app)["codes"]
    next(box for box in app.selectbox if box.label == "Head").set_value(1).run()
    assert app.session_state["view"].case.head == 1 and view_data(app)["codes"] != before
    next(pills for pills in app.get("button_group") if pills.label == "Kinds of attention").set_value(["gem"]).run()
    assert [kind["title"] for kind in view_data(app)["kinds"]] == ["GEM"]
    assert app.session_state["view"].of(AffinitySettings).kinds == ("gem",)


def test_a_resnet_has_the_kinds_of_its_attention_pool(open_app) -> None:
    app = open_app(Case(model="RN50", weights="random", image="toy-1", prompts=("sand",)), page="affinity")
    assert not app.exception and not app.error
    assert [kind["name"] for kind in view_data(app)["kinds"]] == ["qk", "vv"]
    pills = next(pills for pills in app.get("button_group") if pills.label == "Kinds of attention")
    assert len(pills.options) == 3


@pytest.mark.parametrize(
    "case",
    [CASE, replace(CASE, head=1, layer=2), Case(image="toy-1", prompts=("sand",), head=1)],
    ids=["region", "head", "bare"],
)
def test_the_lines_run_and_give_the_numbers_of_the_page(case: Case) -> None:
    affinity = results.affinity(case, KINDS)
    found: dict = {}
    exec(python_affinity(case, affinity, (7, 5)), found)
    np.testing.assert_allclose(found["maps"], affinity.maps((7, 5)), atol=1e-6)
    if case.region:
        np.testing.assert_allclose(found["mass"], mass_over_blocks(results.mass(case, KINDS), case.head), atol=1e-6)
        shares = partner_shares(results.partners(case, KINDS), results.shown_layer(case), case.head)
        np.testing.assert_allclose(found["partners"], shares, atol=1e-6)


def test_every_download_holds_the_numbers() -> None:
    affinity = results.affinity(CASE, KINDS)
    files = {
        label.split(",")[0]: file.make()
        for label, file in affinity_exports(CASE, AffinitySettings(), affinity, (7, 5)).files.items()
    }
    table = pd.read_csv(io.BytesIO(files["CSV"]))
    np.testing.assert_allclose(table.groupby("kind").weight.sum(), 1, atol=1e-5)
    picked = table[(table.kind == "vv") & table.row.notna()].weight.to_numpy().reshape(14, 14)
    np.testing.assert_allclose(picked, affinity.maps((7, 5))[1], atol=1e-6)
    np.testing.assert_array_equal(np.load(io.BytesIO(files["NPZ"]))["weights"], affinity.weights)
    content = json.loads(files["JSON"])
    assert len(content["kinds"]["qk"]["same_region_mass"]["foreground"]) == services.trace(CASE).depth
    assert sum(content["kinds"]["kk"]["best_partner"]["background"].values()) == pytest.approx(1, abs=1e-5)
