"""Insertion and deletion curves against an independent loop."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from analysis.insertion import insertion_deletion
from surgery.maps import TiedMapWarning

PIXELS = torch.linspace(-1, 2, 3 * 8 * 12).reshape(3, 8, 12)
VALUES = np.array([[0.3, 0.9, 0.9], [-1.0, 0.1, 0.2]])  # 2 x 3 patches of 4 x 4 pixels, with a tie
DISTINCT = np.array([[0.3, 0.95, 0.9], [-1.0, 0.1, 0.2]])
ORDER = [(0, 1), (0, 2), (0, 0), (1, 2), (1, 1), (1, 0)]


def brightness(batch: torch.Tensor) -> torch.Tensor:
    return (batch * torch.arange(1, 97).reshape(8, 12)).mean(dim=(1, 2, 3))


def blurred(pixels: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(-5.0, 6.0)
    row = torch.exp(-(positions**2) / 50)
    kernel = torch.outer(row, row) / row.sum() ** 2
    padded = F.pad(pixels[:, None], (5, 5, 5, 5), mode="reflect")
    return F.conv2d(padded, kernel[None, None])[:, 0]


def reference_curve(start: torch.Tensor, end: torch.Tensor) -> list[float]:
    image, scores = start.clone(), [brightness(start[None]).item()]
    for row, column in ORDER:
        cut = (slice(None), slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
        image[cut] = end[cut]
        scores.append(brightness(image[None]).item())
    return scores


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_curves_equal_a_loop_that_paints_patch_by_patch(batch_size: int) -> None:
    curves = insertion_deletion(brightness, PIXELS, DISTINCT, steps=6, batch_size=batch_size)
    insertion, deletion = reference_curve(blurred(PIXELS), PIXELS), reference_curve(PIXELS, torch.zeros_like(PIXELS))
    np.testing.assert_allclose(curves.insertion, insertion, atol=1e-5)
    np.testing.assert_allclose(curves.deletion, deletion, atol=1e-5)
    np.testing.assert_allclose(curves.fractions, np.arange(7) / 6)
    areas = [sum((a + b) / 2 / 6 for a, b in pairwise(c)) for c in (insertion, deletion)]
    assert (curves.insertion_auc, curves.deletion_auc) == pytest.approx(areas, abs=1e-5)


def test_equal_values_are_shown_together_whatever_their_order() -> None:
    tied = insertion_deletion(brightness, PIXELS, VALUES, steps=6)
    np.testing.assert_allclose(tied.fractions, np.array([0, 2, 3, 4, 5, 6]) / 6)
    full = insertion_deletion(brightness, PIXELS, DISTINCT, steps=6)
    np.testing.assert_allclose(tied.insertion, full.insertion[[0, 2, 3, 4, 5, 6]])
    np.testing.assert_allclose(tied.deletion, full.deletion[[0, 2, 3, 4, 5, 6]])


def test_a_constant_map_has_no_order_and_says_so() -> None:
    with pytest.warns(TiedMapWarning, match="The map is constant"):
        curves = insertion_deletion(brightness, PIXELS, np.ones((2, 3)), steps=6)
    np.testing.assert_array_equal(curves.fractions, [0, 1])
    ends = [brightness(z[None]).item() for z in (blurred(PIXELS), PIXELS, PIXELS, torch.zeros_like(PIXELS))]
    areas = (ends[0] + ends[1]) / 2, (ends[2] + ends[3]) / 2
    assert (curves.insertion_auc, curves.deletion_auc) == pytest.approx(areas, abs=1e-5)


def test_fewer_steps_are_points_of_the_full_curve() -> None:
    full = insertion_deletion(brightness, PIXELS, DISTINCT, steps=6, baselines=("mean", "blur"))
    half = insertion_deletion(brightness, PIXELS, torch.from_numpy(DISTINCT), steps=3, baselines=("mean", "blur"))
    np.testing.assert_allclose(half.insertion, full.insertion[::2])
    np.testing.assert_allclose(half.deletion, full.deletion[::2])
    assert full.insertion[0] == 0 and full.deletion[-1] == pytest.approx(
        brightness(blurred(PIXELS)[None]).item(), abs=1e-5
    )


def test_a_map_that_knows_what_matters_beats_its_inverse() -> None:
    def upper_right(batch: torch.Tensor) -> torch.Tensor:
        return batch[:, :, :4, 8:].abs().mean(dim=(1, 2, 3))

    knows = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    good = insertion_deletion(upper_right, PIXELS, knows, steps=6, baselines=("mean", "mean"))
    bad = insertion_deletion(upper_right, PIXELS, -knows, steps=6, baselines=("mean", "mean"))
    assert good.insertion_auc > bad.insertion_auc
    assert good.deletion_auc < bad.deletion_auc


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"values": np.zeros((3, 3))}, "H and W multiples of gh and gw"),
        ({"values": np.zeros(6)}, "H and W multiples of gh and gw"),
        ({"values": np.full((2, 3), np.nan)}, "Expected values to be finite"),
        ({"pixels": PIXELS[None]}, r"Expected pixels \(3, H, W\)"),
        ({"steps": 7}, "Expected steps to be from 1 to 6"),
        ({"steps": 0}, "Expected steps to be from 1 to 6"),
        ({"batch_size": 0}, "Expected batch_size to be at least 1"),
        ({"baselines": ("blur", "black")}, "Expected baselines to be two of blur, mean"),
        ({"score_fn": lambda batch: batch.mean()}, "Expected score_fn to return one score an image"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict, message: str) -> None:
    arguments = {"score_fn": brightness, "pixels": PIXELS, "values": VALUES, "steps": 6} | changed
    with pytest.raises(ValueError, match=message):
        insertion_deletion(**arguments)
