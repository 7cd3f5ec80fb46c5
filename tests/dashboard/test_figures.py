"""Figures: one symmetric scale, zero transparent, and no visitor's markup."""

import numpy as np
import pytest

from dashboard.figures import DIVERGING, PATCHES_CURVE, escape, plot_maps, plot_photo, shared_limit
from dashboard.figures.theme import METHOD_COLOURS
from surgery import METHODS

PHOTO = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
VALUES = np.random.default_rng(1).normal(size=(2, 3, 4, 6)).astype(np.float32)


def test_the_scale_is_symmetric_and_shared() -> None:
    axis = plot_maps(VALUES, ["a", "b"], ["x", "y", "z"], PHOTO).layout.coloraxis
    assert axis.cmax == -axis.cmin >= np.abs(VALUES).max()
    heats = [t for t in plot_maps(VALUES, ["a", "b"], ["x", "y", "z"], PHOTO).data if t.type == "heatmap"]
    assert len(heats) == 6
    assert {heat.coloraxis for heat in heats} == {"coloraxis"}


def test_zero_is_transparent_and_the_ends_have_different_hues() -> None:
    alpha = {position: float(colour.rstrip(")").split(",")[-1]) for position, colour in DIVERGING}
    assert alpha == {0.0: pytest.approx(0.92), 0.5: 0.0, 1.0: pytest.approx(0.92)}
    assert DIVERGING[0][1] != DIVERGING[-1][1]


def test_the_photograph_is_sent_small() -> None:
    big = np.zeros((2000, 3000, 3), np.uint8)
    assert len(plot_maps(VALUES, ["a", "b"], ["x", "y", "z"], big).to_json()) < 200_000


def test_titles_are_escaped() -> None:
    figure = plot_maps(VALUES, ["<b>bold</b>", "%{z}"], ["x", "y", "z"], PHOTO)
    shown = [note.text for note in figure.layout.annotations]
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown
    assert not any("<b>" in text or "%{" in text for text in shown)


def test_escape_leaves_plain_words_alone() -> None:
    assert escape("a cat & a dog\n") == "a cat &amp; a dog "


@pytest.mark.parametrize(
    ("arrays", "limit"),
    [([[0.1, -0.213]], 0.22), ([[5.0], [-7.0]], 7.0), ([[0.0]], 1.0), ([], 1.0), ([[np.nan, 0.5]], 0.5)],
)
def test_the_limit_holds_everything_and_is_round(arrays: list, limit: float) -> None:
    assert shared_limit([np.array(values) for values in arrays]) == limit


def test_titles_must_agree_with_the_values() -> None:
    with pytest.raises(ValueError, match=r"Expected values to be of shape \(1, 3, gh, gw\), but got \(2, 3, 4, 6\)"):
        plot_maps(VALUES, ["a"], ["x", "y", "z"], PHOTO)


def test_every_method_has_its_own_colour() -> None:
    assert set(METHOD_COLOURS) == {*METHODS, "custom"}
    assert len(set(METHOD_COLOURS.values())) == len(METHOD_COLOURS)


def test_patches_of_a_photograph_can_be_clicked_in_reading_order() -> None:
    figure = plot_photo(PHOTO, (4, 6), values=VALUES[0, 0], lit=[0, 5], outline="M0 0L5 5Z", patch=(1, 2))
    markers = figure.data[PATCHES_CURVE]
    assert markers.mode == "markers" and markers.marker.opacity == 0
    assert (markers.x[8], markers.y[8]) == (25, 15)  # patch (1, 2) of 10 x 10 pixels
    assert tuple(markers.customdata[8]) == (1, 2)
    lit = figure.data[-1].z
    assert np.isfinite(lit).sum() == 2 and lit[0, 5] == 1
    box = figure.layout.shapes[-1]
    assert (box.x0, box.y0, box.x1, box.y1) == (20, 10, 30, 20)


def test_a_photograph_stands_at_the_top_left_and_its_colour_bar_below() -> None:
    plain = plot_photo(PHOTO, (4, 6)).layout
    assert (plain.xaxis.constraintoward, plain.yaxis.constraintoward) == ("left", "top")
    figure = plot_photo(PHOTO, (4, 6), values=VALUES[0, 0])
    bar = next(trace.colorbar for trace in figure.data if trace.type == "heatmap")
    assert bar.orientation == "h" and bar.y < 0
    assert figure.layout.margin.b > plain.margin.b
