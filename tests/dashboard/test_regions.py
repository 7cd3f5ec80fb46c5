"""Regions as pixels and outlines."""

import re

import numpy as np
import pytest

from analysis import Region
from dashboard.regions import label_ids, outline_path, region_mask, unknown_pixels

LABELS = np.array([[0, 3, 3], [7, 255, 0]])
OBJECTS = {"a cat": np.eye(3, dtype=bool)}


def mask_of(region: str) -> np.ndarray | None:
    return region_mask(region, (3, 3), OBJECTS, {"abc": LABELS}.get)


def test_no_region_is_none() -> None:
    assert mask_of("") is None


def test_an_object_of_the_sample() -> None:
    assert mask_of("object:a cat") is OBJECTS["a cat"]


def test_a_box_ends_before_its_second_corner_whichever_way_it_was_drawn() -> None:
    expected = np.zeros((3, 3), bool)
    expected[0:2, 1:3] = True
    np.testing.assert_array_equal(mask_of("box:1,0,3,2"), expected)
    np.testing.assert_array_equal(mask_of("box:3,2,1,0"), expected)


def test_a_rectangle_has_the_same_pixels_as_box_and_as_polygon() -> None:
    box, polygon = (region_mask(text, (10, 10), {}, {}.get) for text in ("box:2,3,8,7", "polygon:2,3,8,3,8,7,2,7"))
    np.testing.assert_array_equal(polygon, box)
    assert box.sum() == 24


def test_a_polygon_has_the_pixels_that_it_has_in_a_notebook() -> None:
    found = region_mask("polygon:1,2,9,2,9,8,3,9", (10, 10), {}, lambda _: None)
    expected = Region.from_polygon([(1, 2), (9, 2), (9, 8), (3, 9)], (10, 10), grid=(10, 10))  # a patch a pixel
    np.testing.assert_array_equal(found, expected.foreground)


def test_masks_ignore_255_beside_other_ids() -> None:
    np.testing.assert_array_equal(mask_of("mask:abc"), np.isin(LABELS, [3, 7]))
    np.testing.assert_array_equal(mask_of("mask:abc#7"), LABELS == 7)
    np.testing.assert_array_equal(unknown_pixels("mask:abc#7", {"abc": LABELS}.get), LABELS == 255)
    assert not unknown_pixels("mask:abc", {"abc": np.array([[0, 255]])}.get).any()  # here 255 is the object
    assert unknown_pixels("box:0,0,1,1", {}.get) is None
    assert label_ids(LABELS) == [3, 7]
    assert label_ids(np.array([[0, 255]])) == [255]


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("object:a dog", "Expected region to be one of a cat, but got 'a dog'"),
        ("mask:def", "Expected the mask with SHA-256 def, but it was not uploaded"),
        ("box:1,2,3", "Expected box to be x0,y0,x1,y1 in pixels, but got"),
        ("polygon:1,2,3,4", "Expected polygon to be"),
        ("box:1,2,3,nan", "Expected box to be"),
        ("circle:1", "Expected region to begin with object, mask, box or polygon"),
        ("box:a,b,c,d", "Expected box to be x0,y0,x1,y1 in pixels, but got"),
    ],
)
def test_what_cannot_be_read_says_why(region: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        mask_of(region)


def test_the_outline_runs_around_the_region_in_pixels_of_the_image() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:10, 0:10] = True  # touches the left border
    path = outline_path(mask, size=(200, 400))
    numbers = np.array([float(n) for n in re.findall(r"-?[\d.]+", path)]).reshape(-1, 2)
    assert path.count("M") == path.count("Z") == 1
    np.testing.assert_allclose(numbers.min(axis=0), [0, 50], atol=11)
    np.testing.assert_allclose(numbers.max(axis=0), [200, 100], atol=11)
