"""Means of groups with intervals over images, and how often a column is the lowest."""

import numpy as np
import pytest

from analysis.studies.groups import group_means, lowest_indicator


def test_means_leave_out_nan_and_count_images() -> None:
    values = np.array([[1.0, np.nan], [3.0, 2.0], [5.0, 4.0]])
    found = group_means(values, np.array([7, 7, 9]))
    assert found.mean == pytest.approx([3.0, 3.0])
    assert (found.images, found.rows) == (2, 3)


def test_the_interval_is_that_of_a_plain_bootstrap_over_images() -> None:
    rng = np.random.default_rng(3)
    images = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    values = (rng.normal(size=60)[images] + rng.normal(size=len(images)))[:, None]
    found = group_means(values, images, resamples=4000)
    means = []
    for _ in range(4000):
        drawn = rng.integers(0, 60, 60)
        means.append(np.concatenate([values[images == image, 0] for image in drawn]).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.low[0] == pytest.approx(low, abs=0.03)
    assert found.high[0] == pytest.approx(high, abs=0.03)


def test_one_image_has_no_interval() -> None:
    found = group_means(np.array([[1.0], [2.0]]), np.array([4, 4]))
    assert found.mean == pytest.approx([1.5])
    assert np.isnan([found.low[0], found.high[0]]).all()


def test_the_lowest_column_is_shared_by_ties_and_empty_rows_are_skipped() -> None:
    values = np.array([[-1.0, 0.0, np.nan], [2.0, -3.0, 1.0], [1.0, 1.0, 5.0], [np.nan] * 3])
    found = group_means(lowest_indicator(values), np.arange(4))
    assert found.mean == pytest.approx([1.5 / 3, 1.5 / 3, 0])
    assert np.isnan(lowest_indicator(np.full((2, 3), np.nan))).all()
