"""The overview picture: colours say the sign, opacity the magnitude, and nothing a prompt holds can break it."""

import io

import numpy as np
import pytest
from PIL import Image

from dashboard.figures.theme import NEGATIVE_RGB, OPACITY, POSITIVE_RGB
from dashboard.overview import DPI, LEFT_IN, TOP_IN, lay_over, overview_png

PHOTO = np.full((60, 90, 3), 128, dtype=np.uint8)
NAMES = {"title": "title", "unit": "cosine", "settings": "settings"}


def draw(maps, prompts=None, methods=None, photo=PHOTO, **options):
    prompts = [f"prompt {i}" for i in range(maps.shape[1])] if prompts is None else prompts
    methods = [f"method {i}" for i in range(maps.shape[0])] if methods is None else methods
    png = overview_png(photo, maps, prompts, methods, **(NAMES | options))
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def cell_colour(picture, row, column, cell_in=(1.9, 1.9 * 60 / 90), gap_in=0.08):
    """Colour in the middle of a cell; column 0 is the image."""
    x = LEFT_IN + column * (cell_in[0] + gap_in) + cell_in[0] / 2
    y = TOP_IN + row * (cell_in[1] + gap_in) + cell_in[1] / 2
    return picture[round(y * DPI), round(x * DPI)]


def test_hue_is_the_sign_and_zero_is_the_grey_photograph():
    grey = np.full((4, 4, 3), 0.5)
    assert np.allclose(lay_over(grey, np.zeros((2, 2)), 1.0), grey)
    for sign, rgb in ((1, POSITIVE_RGB), (-1, NEGATIVE_RGB)):
        full = lay_over(grey, np.full((2, 2), sign * 0.3), 0.3)
        assert np.allclose(full, (1 - OPACITY) * 0.5 + OPACITY * np.array(rgb) / 255)


def test_opacity_grows_with_magnitude_and_stays_full_beyond_the_limit():
    grey = np.full((1, 1, 3), 0.5)
    shift = [np.abs(lay_over(grey, np.array([[v]]), 1.0) - grey).sum() for v in (0.1, 0.2, 1.0, 3.0)]
    assert shift[1] == pytest.approx(2 * shift[0])
    assert shift[2] == shift[3]


def test_a_map_turned_upside_down_is_drawn_upside_down():
    grey = np.full((8, 8, 3), 0.5)
    values = np.random.default_rng(0).normal(size=(4, 4))
    assert np.allclose(lay_over(grey, values[::-1].copy(), 1.0), lay_over(grey, values, 1.0)[::-1])


def test_every_map_is_in_its_cell_on_one_scale():
    maps = np.zeros((2, 2, 3, 3))
    maps[0, 0], maps[1, 0], maps[0, 1], maps[1, 1] = 0.2, -0.2, 0.1, 0.0
    picture = draw(maps)
    expected = {
        (0, 0): PHOTO[0, 0],
        (0, 1): OPACITY * np.array(POSITIVE_RGB) + (1 - OPACITY) * 128,
        (0, 2): OPACITY * np.array(NEGATIVE_RGB) + (1 - OPACITY) * 128,
        (1, 1): OPACITY / 2 * np.array(POSITIVE_RGB) + (1 - OPACITY / 2) * 128,
        (1, 2): PHOTO[0, 0],
    }
    for (row, column), colour in expected.items():
        assert np.abs(cell_colour(picture, row, column).astype(float) - colour).max() < 2, (row, column)


def test_minmax_forgets_strength():
    maps = np.linspace(0, 1, 9).reshape(1, 1, 3, 3)
    assert np.array_equal(draw(maps, minmax=True), draw(5 * maps - 3, minmax=True))
    assert not np.array_equal(draw(maps), draw(5 * maps - 3))


def test_a_constant_map_has_no_contrast_to_show():
    picture = draw(np.full((1, 1, 3, 3), 7.0), minmax=True)
    assert np.abs(cell_colour(picture, 0, 1).astype(int) - 128).max() <= 1


@pytest.mark.parametrize("prompt", ["a $50 \\frac{note", "{}", "%s & <b>", "word " * 100, "x" * 300])
def test_prompts_are_shown_as_they_are(prompt):
    assert draw(np.ones((1, 1, 2, 2)), prompts=[prompt], settings=prompt, title=prompt).size


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (333, 500)])
def test_any_proportions(shape):
    picture = draw(np.ones((2, 3, 7, 7)), photo=np.zeros((*shape, 3), dtype=np.uint8))
    assert min(picture.shape[:2]) > 200


def test_many_prompts_shrink_instead_of_failing():
    assert draw(np.ones((1, 400, 2, 2))).shape[0] < 2**16


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 2, 2), (2, 0, 2, 2)])
def test_titles_must_agree_with_maps(shape):
    with pytest.raises(ValueError, match="Expected maps to be of shape"):
        overview_png(PHOTO, np.zeros(shape), ["a"], ["b", "c"], **NAMES)


def test_values_must_be_finite():
    with pytest.raises(ValueError, match="Expected maps to be finite"):
        overview_png(PHOTO, np.full((1, 1, 2, 2), np.nan), ["a"], ["b"], **NAMES)
