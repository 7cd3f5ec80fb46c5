"""The Space page without a browser: layouts, figures, events, exports, snippet."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dashboard import services, state
from dashboard.case import Case
from dashboard.figures.space import (
    MAX_NAMES,
    OTHERS,
    POINTS_CURVE,
    Layout,
    colour_choices,
    group_points,
    plot_space,
    plot_space_frames,
)
from dashboard.pages.space import body as space
from dashboard.pages.space.exports import python_space, space_exports, space_table
from dashboard.pages.space.results import layout, nearest_prompt, projection_of, source_names
from dashboard.pages.space.settings import SpaceSettings
from data.samples import load_sample
from tests.dashboard.conftest import carried_out, error_texts

SCENE = load_sample("toy-2")
CASE = Case(image="toy-2", prompts=SCENE.prompts, region=f"object:{next(iter(SCENE.masks))}")


def laid_out(case: Case, own: SpaceSettings) -> Layout:
    return layout(case, own, carried_out(projection_of(case, own)))


def small(prompts: tuple[str, ...] = ("a", "b")) -> Layout:
    """Two sources of four patches."""
    return Layout(
        coordinates=np.arange(16, dtype=np.float32).reshape(2, 4, 2),
        sources=("CLIP", "GEM"),
        names=("clip", "gem"),
        grid=(2, 2),
        region=np.array(["foreground", "background", "background", "neither"], dtype=object),
        nearest=np.array([["a", "b", "b", "b"], ["a", "a", "b", "b"]], dtype=object),
        prompts=prompts,
        method="pca",
        explained=(0.6, 0.3),
    )


def test_sources_follow_block_method_and_overlay() -> None:
    assert source_names(Case(), SpaceSettings(), 6) == ("6",)
    assert source_names(Case(layer=2), SpaceSettings(overlay=("0", "2", "gem", "9")), 6) == ("3", "1")
    assert source_names(Case(method_a="gem"), SpaceSettings("method", ("0", "clip", "gem")), 6) == ("gem", "clip")
    assert source_names(Case(), SpaceSettings("all_blocks"), 2) == ("0", "1", "2")


def test_the_last_stream_is_named_as_the_clip_map_is() -> None:
    last = str(len(services.model(CASE).tower.blocks))
    expected = np.array(CASE.prompts)[services.maps(CASE, "clip", surgery=False).patches.argmax(axis=-1)].ravel()
    assert (nearest_prompt(CASE, last) == expected).all()


def test_blocks_are_laid_out_together_and_named() -> None:
    found = laid_out(replace(CASE, layer=3), SpaceSettings(overlay=("1",)))
    assert found.coordinates.shape == (2, 196, 2) and found.sources == ("after block 3", "after block 1")
    np.testing.assert_allclose(found.coordinates.reshape(-1, 2).mean(axis=0), 0, atol=1e-5)
    assert 1 >= found.explained[0] >= found.explained[1] > 0
    assert set(found.region) <= {"foreground", "background", "neither"}


def test_colours_offer_only_what_is_known() -> None:
    assert colour_choices(small()) == ("region", "nearest", "source")
    assert colour_choices(replace(small(), region=None, nearest=None)) == ("source",)
    with pytest.raises(ValueError, match="Expected by to be one of source, but got 'region'"):
        group_points(replace(small(), region=None, nearest=None), "region")


def test_many_prompts_share_a_colour_of_others() -> None:
    names = [f"p{index}" for index in range(MAX_NAMES + 3)]
    nearest = np.array([names, names[:3] * 3 + names[:1]], dtype=object)
    many = replace(small(tuple(names)), coordinates=np.zeros((2, len(names), 2)), nearest=nearest)
    groups = group_points(many, "nearest")
    assert len(groups.colours) == MAX_NAMES + 1 and OTHERS in groups.names


def test_points_of_unlit_patches_fade_in_every_source() -> None:
    points = plot_space(small(), "source", lit=[1, 2], patch=(1, 0)).data[POINTS_CURVE]
    assert [colour.startswith("#") for colour in points.marker.color] == [False, True, True, False] * 2
    assert points.marker.symbol[0] != points.marker.symbol[4]
    assert points.customdata[5].tolist() == [0, 1]
    ring = plot_space(small(), "source", patch=(1, 0)).data[1]
    assert ring.x.tolist() == [4.0, 12.0]


def test_frames_have_one_source_each_on_fixed_axes() -> None:
    figure = plot_space_frames(small(), "region", start=1)
    assert [frame.name for frame in figure.frames] == ["0", "1"]
    assert figure.data[POINTS_CURVE].x.tolist() == figure.frames[1].data[0].x.tolist() == [8, 10, 12, 14]
    assert figure.layout.sliders[0].active == 1
    assert figure.layout.xaxis.range[0] < 0 and figure.layout.xaxis.range[1] > 14


def test_names_are_escaped() -> None:
    nearest = np.array([["<b>"] * 4] * 2, dtype=object)
    figure = plot_space(replace(small(("<b>",)), nearest=nearest), "nearest")
    assert set(figure.data[POINTS_CURVE].text) == {"&lt;b&gt;"}
    assert "&lt;b&gt;" in [trace.name for trace in figure.data]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"lasso": [{"x": [0, 1, 1], "y": [0, 0, 1]}]}, {"lit": (1, 3)}),
        ({"box": [{"x": [0, 1], "y": [0, 1]}]}, {"lit": (1, 3)}),
    ],
)
def test_a_drag_lights_patches_of_any_source(monkeypatch, selection: dict, expected: dict) -> None:
    changes: dict = {}
    monkeypatch.setattr(state, "adjust", lambda _kind, **change: changes.update(change))
    points = [{"curve_number": 0, "point_index": index} for index in (7, 1, 3)] + [
        {"curve_number": 1, "point_index": 0}
    ]
    space._take({"selection": {"points": points, **selection}}, POINTS_CURVE, 4)
    assert changes == expected


def test_a_click_chooses_the_patch(monkeypatch) -> None:
    changes: dict = {}
    monkeypatch.setattr(state, "update", changes.update)
    monkeypatch.setattr(state, "case", lambda: CASE)
    space._take({"selection": {"points": [{"curve_number": 0, "point_index": 196 + 15}]}}, POINTS_CURVE, 196)
    assert changes == {"patch": (1, 1)}


def test_lit_patches_in_words() -> None:
    assert space.describe_lit((0, 1), small()) == (
        "2 patches lit: 50 % of them in the region, where 25 % of all are. Nearest prompts (CLIP): “a” 1, “b” 1."
    )


def test_only_colours_that_are_known_are_offered() -> None:
    assert space.offered_colours(CASE, SpaceSettings()) == ("region", "nearest", "source")
    assert space.offered_colours(replace(CASE, region=""), SpaceSettings("all_blocks")) == ("nearest",)
    assert space.offered_colours(Case(), SpaceSettings("all_blocks")) == ("source",)


def test_files_hold_the_points() -> None:
    case, own = replace(CASE, patch=(1, 1)), SpaceSettings(lit=(0, 5))
    found = laid_out(case, own)
    table = pd.read_csv(io.StringIO(space_table(own, found).to_csv(index=False)))
    assert table[table.lit].index.tolist() == [0, 5]
    np.testing.assert_allclose(table[["x", "y"]], found.coordinates[0], atol=1e-5)
    files = space_exports(case, own, found, "region").files
    assert np.load(io.BytesIO(files["NPZ, all arrays"].make()))["lit"].tolist() == [0, 5]
    assert json.loads(files["JSON, settings"].make())["projection"] == "pca"
    assert b"<html" in files["HTML, interactive"].make()


@pytest.mark.parametrize(
    ("case", "own"),
    [
        (CASE, SpaceSettings()),
        (CASE, SpaceSettings("method")),
        (replace(CASE, size=160), SpaceSettings("method", ("gem", "custom"))),
        (CASE, SpaceSettings("all_blocks")),
    ],
)
def test_the_lines_run_and_give_the_points_of_the_page(case: Case, own: SpaceSettings) -> None:
    found: dict = {}
    shown = laid_out(case, own)
    exec(python_space(case, own, shown), found)
    points = found["projection"].coordinates.reshape(shown.coordinates.shape)
    np.testing.assert_allclose(np.abs(points), np.abs(shown.coordinates), atol=1e-4)


def test_the_page_opens_for_every_kind_of_tokens(open_app) -> None:
    for tokens in ("block", "method", "all_blocks"):
        app = open_app(CASE, SpaceSettings(tokens, colour="nearest", lit=(3, 4)), page="space")
        assert not app.exception and not error_texts(app)
        assert any("2 patches lit" in text.value.replace("\\", "") for text in app.markdown)
