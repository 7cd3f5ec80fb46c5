"""Intervals of one map: where their middle is, how they widen, and how often they hold what they should."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from analysis import Region, contrast, flip_auc
from analysis.uncertainty import auc_interval, contrast_interval

GRID = (14, 14)
ROWS, COLUMNS = np.mgrid[: GRID[0], : GRID[1]]
DISC = (ROWS - 6) ** 2 + (COLUMNS - 5) ** 2 < 10
REGION = Region(DISC, ~DISC)


def noise(smoothing: float, seed: int) -> np.ndarray:
    """A field that knows nothing of the region, cut out of a larger one."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(42, 42)), smoothing)
    return field[14:28, 14:28]


def test_the_middle_is_the_figure_itself() -> None:
    values = noise(0.8, seed=0)
    found, plain = auc_interval(values, REGION), contrast_interval(values, REGION)
    assert (found.low + found.high) / 2 == pytest.approx(flip_auc(values, REGION), abs=1e-9)
    assert (plain.low + plain.high) / 2 == pytest.approx(contrast(values, REGION), abs=1e-9)


def test_independent_patches_have_the_textbook_error() -> None:
    values = noise(0.01, seed=1)
    spread = np.concatenate([values[side] - values[side].mean() for side in (DISC, ~DISC)])
    error = np.sqrt(spread.var() * (1 / DISC.sum() + 1 / (~DISC).sum()))
    found = contrast_interval(values, REGION)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.2) and found.neighbours < 0.1


def test_patches_that_are_alike_widen_the_interval() -> None:
    rough, smooth = (auc_interval(noise(smoothing, seed=3), REGION) for smoothing in (0.01, 1.0))
    assert smooth.neighbours > 0.6 > 0.2 > rough.neighbours
    assert smooth.high - smooth.low > 1.5 * (rough.high - rough.low)


@pytest.mark.parametrize("smoothing", [0.01, 0.7, 1.0])
def test_a_field_that_knows_nothing_is_rarely_told_apart(smoothing: float) -> None:
    held = [0.5 in auc_interval(noise(smoothing, seed), REGION) for seed in range(100)]
    assert np.mean(held) >= 0.9  # a bootstrap of blocks of 4 x 4 patches holds it in 73 % at smoothing 1


def test_a_map_of_the_object_is_told_apart() -> None:
    found = auc_interval(noise(1.0, seed=4) - 2.0 * DISC, REGION)
    assert found.high < 0.5 and found.low == 0.0


def test_patches_on_neither_side_do_not_count() -> None:
    values, partial = noise(0.5, seed=5), Region(DISC, ~DISC & (ROWS > 2))
    wild = np.where(ROWS > 2, values, 1e6)
    assert auc_interval(wild, partial) == auc_interval(values, partial)


def test_a_constant_map_lies_at_one_half() -> None:
    found = auc_interval(np.zeros(GRID), REGION)
    assert (found.low, found.high) == pytest.approx((0.5, 0.5)) and 0.5 in found


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"values to be of shape \(14, 14\), but got \(3, 3\)"):
        auc_interval(np.zeros((3, 3)), REGION)
