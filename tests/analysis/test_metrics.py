"""Metrics of maps against independent loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.metrics import (
    average_precision,
    best_threshold_iou,
    contrast,
    flip_auc,
    mean_average_precision,
    pointing_game,
    score_contrast,
)
from analysis.regions import Region

ON_REGION = [contrast, score_contrast, flip_auc, average_precision, pointing_game]


def region_of(rows: list[str]) -> Region:
    """# foreground, . background, o neither."""
    cells = np.array([list(row) for row in rows])
    return Region(cells == "#", cells == ".")


SMALL = region_of(["#.", "o."])
LARGE = region_of(["###.....", "##o.....", "#o......", "o......."])


def random_map(seed: int, levels: int | None = None) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=LARGE.grid)
    return values if levels is None else np.round(values * levels)


def reference_auc(values: np.ndarray, region: Region) -> float:
    won = [
        1.0 if f > b else 0.5 if f == b else 0.0 for f in values[region.foreground] for b in values[region.background]
    ]
    return sum(won) / len(won)


def reference_ap(labels: list[int], scores: list[float]) -> float:
    """Precision at every distinct score, weighted by the recall gained there."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        recall = sum(chosen) / sum(labels)
        total += (recall - before) * sum(chosen) / len(chosen)
        before = recall
    return total


def test_by_hand_on_two_by_two() -> None:
    values = np.array([[3.0, 1.0], [5.0, 2.0]])
    assert contrast(values, SMALL) == 1.5
    assert score_contrast(values, SMALL) == pytest.approx(0.5 - 0.125)  # the 5 of the ignored patch stretches the scale
    assert flip_auc(values, SMALL) == 1.0
    assert average_precision(values, SMALL) == 1.0
    assert pointing_game(values, SMALL) == 1.0


@pytest.mark.parametrize("levels", [None, 1])
@pytest.mark.parametrize("seed", range(5))
def test_flip_auc_and_average_precision_equal_loops_over_patches(seed: int, levels: int | None) -> None:
    values = random_map(seed, levels)
    counts = LARGE.foreground | LARGE.background
    assert flip_auc(values, LARGE) == pytest.approx(reference_auc(values, LARGE), abs=1e-12)
    expected = reference_ap(LARGE.foreground[counts].astype(int).tolist(), values[counts].tolist())
    assert average_precision(values, LARGE) == pytest.approx(expected, abs=1e-12)


def test_a_map_and_its_negative_are_opposite() -> None:
    values = random_map(0)
    assert flip_auc(values, LARGE) + flip_auc(-values, LARGE) == pytest.approx(1)
    assert contrast(values, LARGE) == -contrast(-values, LARGE)
    assert score_contrast(values, LARGE) == pytest.approx(-score_contrast(-values, LARGE))


def test_the_mask_itself_scores_best_and_its_inverse_worst() -> None:
    mask = LARGE.foreground.astype(float)
    assert (score_contrast(mask, LARGE), flip_auc(mask, LARGE), pointing_game(mask, LARGE)) == (1, 1, 1)
    assert (score_contrast(-mask, LARGE), flip_auc(-mask, LARGE), pointing_game(-mask, LARGE)) == (-1, 0, 0)


def test_a_constant_map_says_nothing() -> None:
    constant = np.full(LARGE.grid, 0.3)
    assert score_contrast(constant, LARGE) == 0
    assert flip_auc(constant, LARGE) == 0.5
    counted = LARGE.foreground.sum() + LARGE.background.sum()
    assert pointing_game(constant, LARGE) == pytest.approx(LARGE.foreground.sum() / counted)


@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), seed=st.integers(0, 100))
def test_only_contrast_depends_on_the_scale(scale: float, shift: float, seed: int) -> None:
    values = random_map(seed)
    moved = scale * values + shift
    assert score_contrast(moved, LARGE) == pytest.approx(score_contrast(values, LARGE), abs=1e-9)
    assert flip_auc(moved, LARGE) == pytest.approx(flip_auc(values, LARGE), abs=1e-9)
    assert contrast(moved, LARGE) == pytest.approx(scale * contrast(values, LARGE), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("metric", ON_REGION)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_any_precision(metric, dtype) -> None:
    values = torch.from_numpy(random_map(1, levels=4) / 8).to(dtype)
    assert metric(values, LARGE) == pytest.approx(metric(values.double().numpy(), LARGE))


@pytest.mark.parametrize("metric", ON_REGION)
def test_values_that_do_not_fit_are_refused(metric) -> None:
    with pytest.raises(ValueError, match=r"Expected values to be of the region's shape \(4, 8\), but got \(8, 4\)"):
        metric(np.zeros((8, 4)), LARGE)
    values = random_map(0)
    values[0, 0], values[1, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="Expected values to be finite, but got 2 NaN or infinite values"):
        metric(values, LARGE)


def test_pointing_game_counts_only_foreground_and_background() -> None:
    values = np.where(LARGE.foreground, 1.0, 0.0)
    values[1, 2] = 9.0  # neither
    assert pointing_game(values, LARGE) == 1


def test_mean_average_precision_equals_a_loop_over_classes() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(30, 4)).round(1), rng.random((30, 4)) < 0.2
    labels[:, 2] = False
    result = mean_average_precision(torch.from_numpy(scores), labels)
    for t in (0, 1, 3):
        assert result.per_class[t] == pytest.approx(reference_ap(labels[:, t].tolist(), scores[:, t].tolist()))
    assert np.isnan(result.per_class[2])
    assert result.mean == pytest.approx(result.per_class[[0, 1, 3]].mean())


def test_mean_average_precision_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"of one shape \(n, t\), but got \(3, 2\) and \(2, 3\)"):
        mean_average_precision(np.zeros((3, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="at least 1 class that is present, but got none"):
        mean_average_precision(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="Expected scores to be finite"):
        mean_average_precision(np.full((3, 2), np.nan), np.ones((3, 2)))


def reference_iou(maps, masks, valid, threshold: float) -> float:
    both = either = 0
    for values, mask, counts in zip(maps, masks, valid, strict=True):
        for v, m, c in zip(values.ravel(), mask.ravel(), counts.ravel(), strict=True):
            both += bool(c and m and v >= threshold)
            either += bool(c and (m or v >= threshold))
    return both / either


def cells(maps, valid):
    return [np.asarray(m)[np.asarray(v)] for m, v in zip(maps, valid, strict=True)]


def test_an_outlier_does_not_coarsen_the_search() -> None:
    """One value of 1000 would leave a grid of 101 steps no threshold between 0.4 and 0.6."""
    values, mask = np.array([[1000.0, 0.6, 0.6, 0.4, 0.4]]), np.array([[False, True, True, False, False]])
    found = best_threshold_iou([values], [mask])
    assert (found.iou, found.threshold) == (2 / 3, 0.6)


def test_a_map_constant_up_to_rounding_has_no_score_contrast() -> None:
    region = Region.from_patches([(0, 0)], (2, 2))
    noise = np.float32(0.25) + np.array([[2, 0], [0, 1]], np.float32) * np.float32(2**-25)
    assert noise.max() > noise.min() and score_contrast(noise, region) == 0
    assert score_contrast(noise.astype(np.float64), region) > 0  # in double precision it is a difference
    assert score_contrast(np.array([[1, 0], [0, 0]]), region) == 1


@pytest.mark.parametrize("thresholds", [None, [0.5, -1.0, 0.0, 0.2, 0.2]])
def test_best_threshold_iou_equals_a_loop_over_cells(thresholds) -> None:
    rng = np.random.default_rng(0)
    shapes = [(4, 5), (3, 7), (6, 2)]
    masks = [rng.random(shape) < 0.3 for shape in shapes]
    maps = [rng.normal(size=shape).round(1) + mask for shape, mask in zip(shapes, masks, strict=True)]
    valid = [rng.random(shape) < 0.8 for shape in shapes]
    result = best_threshold_iou(maps, masks, valid, thresholds)
    expected = [reference_iou(maps, masks, valid, t) for t in result.thresholds]
    assert result.ious == pytest.approx(expected)
    assert len(result.thresholds) == (len(np.unique(np.concatenate(cells(maps, valid)))) if thresholds is None else 4)
    assert result.iou == max(expected)
    assert result.iou == reference_iou(maps, masks, valid, result.threshold)


def test_best_threshold_is_shared_by_the_images() -> None:
    mask = np.array([[True, False]])
    result = best_threshold_iou([[[0.9, 0.4]], [[0.3, 0.1]]], [mask, mask])
    assert result.iou == pytest.approx(2 / 3)  # the threshold that keeps 0.3 keeps 0.4 as well
    assert best_threshold_iou([[[0.9, 0.4]]], [mask]).iou == 1


@pytest.mark.parametrize(
    ("maps", "masks", "valid", "thresholds", "message"),
    [
        ([], [], None, None, "lists of one length of at least 1, but got 0, 0 and 0"),
        ([np.zeros((2, 2))], [], None, None, "lists of one length of at least 1, but got 1, 0 and 1"),
        ([np.zeros((2, 2))], [np.ones((2, 3))], None, None, "of one shape"),
        ([np.zeros((2, 2))], [np.ones((2, 2))], [np.ones((3, 2))], None, "of one shape"),
        ([np.full((2, 2), np.inf)], [np.ones((2, 2))], None, None, "Expected maps to be finite"),
        ([np.zeros((2, 2))], [np.zeros((2, 2))], None, None, "at least 1 cell of the object, but got none"),
        ([np.zeros((2, 2))], [np.ones((2, 2))], None, [], "thresholds to hold at least 1 value"),
        ([np.zeros((2, 2))], [np.ones((2, 2))], None, [np.nan], "Expected thresholds to be finite"),
    ],
)
def test_best_threshold_iou_refuses_what_does_not_fit(maps, masks, valid, thresholds, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_threshold_iou(maps, masks, valid, thresholds)
