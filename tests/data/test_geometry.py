from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.geometry import FITS, Framing, Grid, letterbox_px, patch_fractions


def fractions_by_hand(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Area of every pixel in every patch in exact arithmetic."""
    (height, width), (rows, columns) = mask.shape, grid
    result = np.zeros(grid)
    for row in range(rows):
        for column in range(columns):
            area = Fraction(0)
            for y in range(height):
                for x in range(width):
                    if mask[y, x]:
                        down = min(Fraction(y + 1), Fraction((row + 1) * height, rows)) - max(
                            Fraction(y), Fraction(row * height, rows)
                        )
                        across = min(Fraction(x + 1), Fraction((column + 1) * width, columns)) - max(
                            Fraction(x), Fraction(column * width, columns)
                        )
                        area += max(down, Fraction(0)) * max(across, Fraction(0))
            result[row, column] = area * rows * columns / (height * width)
    return result


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(0, 999))
def test_fractions_are_exact(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    np.testing.assert_allclose(patch_fractions(mask, (rows, columns)), fractions_by_hand(mask, (rows, columns)), 1e-15)


def test_fractions_of_a_multiple_are_block_means() -> None:
    mask = np.random.default_rng(0).random((28, 42)) < 0.3
    blocks = mask.reshape(7, 4, 7, 6).mean(axis=(1, 3))  # (gh, gw)
    np.testing.assert_array_equal(patch_fractions(mask, (7, 7)), blocks)


def test_full_and_empty_masks_are_exactly_one_and_zero() -> None:
    assert (patch_fractions(np.ones((427, 640), bool), (14, 14)) == 1).all()
    assert (patch_fractions(np.zeros((427, 640), bool), (14, 14)) == 0).all()


def test_mean_fraction_is_the_covered_part_of_the_image() -> None:
    mask = np.random.default_rng(1).random((37, 53)) < 0.4
    assert patch_fractions(mask, (14, 9)).mean() == pytest.approx(mask.mean(), abs=1e-14)


@pytest.mark.parametrize("mask", [np.zeros((4, 4)), np.zeros(4, bool), np.zeros((0, 4), bool)])
def test_fractions_refuse_other_masks(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"Expected mask to be bool of shape \(H, W\)"):
        patch_fractions(mask, (2, 2))


def test_fractions_refuse_an_empty_grid() -> None:
    with pytest.raises(ValueError, match="Expected grid to be"):
        patch_fractions(np.ones((4, 4), bool), (0, 2))


def test_boxes_and_centres_by_hand() -> None:
    grid = Grid(rows=2, columns=3, height_px=10, width_px=30)
    assert grid.patch_box_px(1, 2) == (20, 5, 30, 10)
    assert grid.patch_centers_px().tolist() == [[[5, 2.5], [15, 2.5], [25, 2.5]], [[5, 7.5], [15, 7.5], [25, 7.5]]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 900), st.integers(1, 900))
def test_every_centre_lies_in_its_own_patch(rows: int, columns: int, height: int, width: int) -> None:
    grid = Grid(rows, columns, height, width)
    centers = grid.patch_centers_px()
    for row, column in ((0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)):
        x, y = centers[row, column]
        x0, y0, x1, y1 = grid.patch_box_px(row, column)
        assert grid.patch_at(x, y) == (row, column)
        assert x0 < x < x1
        assert y0 < y < y1


def test_edges_belong_to_the_next_patch_and_the_last_edge_to_the_last() -> None:
    grid = Grid(rows=2, columns=3, height_px=10, width_px=30)
    assert grid.patch_at(10, 5) == (1, 1)
    assert grid.patch_at(30, 10) == (1, 2)
    assert grid.patch_at(0, 0) == (0, 0)


@pytest.mark.parametrize("point", [(-0.1, 3), (3, 10.1), (float("nan"), 3)])
def test_points_outside(point: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="Expected point to be inside the image of 30 x 10 pixels"):
        Grid(2, 3, 10, 30).patch_at(*point)


def test_patches_outside() -> None:
    with pytest.raises(ValueError, match=r"Expected patch to be inside the grid \(2, 3\), but got \(2, 0\)"):
        Grid(2, 3, 10, 30).patch_box_px(2, 0)


def test_a_grid_has_patches_and_pixels() -> None:
    with pytest.raises(ValueError, match="to be >= 1"):
        Grid(2, 0, 10, 30)


SIDES = st.integers(1, 300)


@given(st.sampled_from(FITS), st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
def test_points_go_to_the_input_and_back(fit: str, image_px: tuple[int, int], input_px: tuple[int, int]) -> None:
    framing = Framing.of(fit, image_px, input_px)
    corners = np.array([[0, 0], image_px[::-1], (0.5, 0.25)])
    np.testing.assert_allclose(framing.to_image(framing.to_input(corners)), corners, atol=1e-9)
    upper, lower = framing.to_input(corners[0]), framing.to_input(corners[1])
    np.testing.assert_allclose(lower - upper, framing.scaled_px[::-1])
    cut = np.array(framing.scaled_px) - input_px
    assert {"stretch": (cut == 0).all(), "crop": (cut >= 0).all(), "letterbox": (cut <= 0).all()}[fit]
    assert fit == "stretch" or (cut == 0).any()


@given(st.sampled_from(FITS), st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
def test_what_is_framed_has_the_size_of_its_box(fit: str, image_px: tuple[int, int], input_px: tuple[int, int]) -> None:
    framing = Framing.of(fit, image_px, input_px)
    mask = np.arange(image_px[0] * image_px[1]).reshape(image_px)
    framed = framing.apply(mask, -1)
    x0, y0, x1, y1 = framing.box_px
    assert framed.shape == framing.framed_px == (y1 - y0, x1 - x0)
    inside = mask[max(y0, 0) : y1, max(x0, 0) : x1]
    assert (framed == -1).sum() == framed.size - inside.size and set(framed[framed >= 0]) == set(inside.flat)
    if fit == "letterbox":
        assert inside.size == mask.size


def test_a_crop_is_the_middle() -> None:
    framing = Framing.of("crop", (40, 60), (20, 20))
    assert framing.scaled_px == (20, 30) and framing.shift_px == (0, -5) and framing.box_px == (10, 0, 50, 40)
    np.testing.assert_array_equal(framing.to_input([10, 0]), [0, 0])
    assert framing.patches_inside((2, 2)).all()


def test_a_letterbox_is_filled_at_two_sides() -> None:
    framing = Framing.of("letterbox", (20, 60), (16, 24))
    assert framing.scaled_px == (8, 24) and framing.shift_px == (4, 0) and framing.box_px == (0, -10, 60, 30)
    assert framing.patches_inside((4, 2)).tolist() == [[False] * 2, [True] * 2, [True] * 2, [False] * 2]
    framed = framing.apply(np.ones((20, 60, 3)), (7, 8, 9))
    assert framed[0, 0].tolist() == [7, 8, 9] and framed[10:30].min() == framed[10:30].max() == 1


@pytest.mark.parametrize("image_px", [(2000, 40), (40, 2000), (3, 3), (1, 1)])
def test_a_letterbox_keeps_the_shape_to_a_patch(image_px: tuple[int, int]) -> None:
    input_px = letterbox_px(image_px, 224, (16, 16))
    scaled = Framing.of("letterbox", image_px, input_px).scaled_px
    assert max(input_px) == 224 == max(scaled)
    assert all(0 <= whole - own < 16 and whole % 16 == 0 for whole, own in zip(input_px, scaled, strict=True))


def test_a_framing_refuses_what_is_none() -> None:
    with pytest.raises(ValueError, match="Expected fit to be one of stretch, crop, letterbox, but got 'pad'"):
        Framing.of("pad", (1, 1), (1, 1))
    with pytest.raises(ValueError, match="Expected image_px and input_px to be >= 1"):
        Framing.of("crop", (0, 1), (1, 1))
    with pytest.raises(ValueError, match="Expected pixels of the image's size"):
        Framing.of("crop", (4, 6), (2, 2)).apply(np.ones((4, 5)), 0)
