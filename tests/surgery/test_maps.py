"""Maps and prompt points by hand."""

import numpy as np
import pytest
import torch

from surgery import METHODS, prompt_points, similarity_maps
from surgery.features import Similarity
from surgery.maps import TiedMapWarning

RAMP = np.arange(16, dtype=np.float32).reshape(4, 4)


def _similarity(*maps):
    patches = torch.tensor(np.stack(maps, axis=-1))[None]
    return Similarity(torch.zeros(1, len(maps)), patches, METHODS["clip"], "by hand")


def test_signed_maps_keep_their_values_and_order():
    maps = similarity_maps(_similarity(RAMP - 8, -RAMP), size=(4, 4))
    assert maps.shape == (1, 2, 4, 4)
    assert torch.equal(maps[0, 0], torch.tensor(RAMP - 8)) and torch.equal(maps[0, 1], torch.tensor(-RAMP))


def test_min_max_is_per_map_and_a_constant_map_is_zero():
    maps = similarity_maps(_similarity(3 * RAMP - 8, np.full_like(RAMP, 5)), size=(4, 4), normalize="minmax")
    assert torch.allclose(maps[0, 0], torch.tensor(RAMP / 15)) and not maps[0, 1].any()


def test_threshold_clears_what_is_below():
    signed = similarity_maps(_similarity(RAMP - 8), size=(4, 4), threshold=2.0)[0, 0]
    assert torch.equal(signed, torch.tensor(np.where(RAMP - 8 < 2, 0, RAMP - 8)))
    scaled = similarity_maps(_similarity(RAMP - 8), size=(4, 4), normalize="minmax", threshold=2.0)[0, 0]
    assert torch.allclose(scaled, torch.tensor(np.clip(RAMP - 10, 0, None) / 5))


def test_a_negative_threshold_cuts_below_itself_and_raises_nothing():
    signed = similarity_maps(_similarity(RAMP - 8), size=(4, 4), threshold=-3.0)[0, 0]
    assert torch.equal(signed, torch.tensor(np.maximum(RAMP - 8, -3)))
    with pytest.raises(ValueError, match="Expected threshold to be a finite number, but got nan"):
        similarity_maps(_similarity(RAMP), size=(4, 4), threshold=float("nan"))


def test_points_say_when_position_decides():
    values = np.zeros((4, 4), np.float32)
    values[:, :3] = 1  # 12 cells of the highest value, of which 8 become points
    with pytest.warns(TiedMapWarning, match="8 cells of highest"):
        prompt_points(values, image_size=(8, 8), downsample=1)
    assert len(prompt_points(np.zeros((4, 4)), image_size=(8, 8), downsample=1).labels) == 0


def test_points_of_distinct_values_warn_of_nothing(recwarn):
    prompt_points(RAMP, image_size=(8, 8), downsample=1)
    assert not [w for w in recwarn if w.category is TiedMapWarning]


def test_maps_grow_bilinearly():
    maps = similarity_maps(_similarity(np.array([[0.0, 1.0]], dtype=np.float32)), size=(1, 4))
    assert torch.allclose(maps[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_points_by_hand():
    points = prompt_points(RAMP, image_size=(100, 200), threshold=0.8, downsample=1)
    # 12 .. 15 are at least 80 % of the range: 4 positives, ascending, then the 4 lowest, ascending.
    columns = [(c + 0.5) * 50 for c in range(4)]
    assert points.xy.tolist() == [[int(x), 87] for x in columns] + [[int(x), 12] for x in columns]
    assert points.labels.tolist() == [1] * 4 + [0] * 4


def test_points_never_exceed_half_of_the_cells_and_stay_inside():
    points = prompt_points(torch.tensor(RAMP), image_size=(1, 1), threshold=0.0)
    assert points.labels.tolist() == [1, 1, 0, 0]
    assert (points.xy == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold to be from 0 to 1, but got 1.5"),
        ({"downsample": 0}, "downsample to be a whole number of at least 1, but got 0"),
        ({"image_size": (0, 5)}, "image_size to be"),
        ({"map_": np.full((3, 3), np.nan)}, "finite"),
        ({"map_": np.zeros((2, 3, 3))}, r"map_ to be a finite \(gh, gw\) map"),
    ],
)
def test_wrong_parameters_of_points(options, message):
    with pytest.raises(ValueError, match=message):
        prompt_points(**{"map_": RAMP, "image_size": (10, 10), **options})


def test_wrong_parameters_of_maps():
    with pytest.raises(ValueError, match='normalize to be None or "minmax", but got'):
        similarity_maps(_similarity(RAMP), size=(4, 4), normalize="max")
    with pytest.raises(ValueError, match="size to be"):
        similarity_maps(_similarity(RAMP), size=(0, 4))
