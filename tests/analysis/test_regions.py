"""Regions from masks, boxes, polygons, patches and label masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from analysis.regions import Region, polygon_mask, regions_from_labels, stack_regions


def rows(mask: np.ndarray) -> list[str]:
    return ["".join("#" if cell else "." for cell in row) for row in mask]


def reference_region(mask: np.ndarray, ignored: np.ndarray, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Counts the pixels of every patch; the sides of the mask are multiples of the grid's."""
    foreground, background = np.zeros(grid, bool), np.zeros(grid, bool)
    height, width = mask.shape[0] // grid[0], mask.shape[1] // grid[1]
    for row in range(grid[0]):
        for column in range(grid[1]):
            own = total = 0
            for y in range(row * height, (row + 1) * height):
                for x in range(column * width, (column + 1) * width):
                    total += not ignored[y, x]
                    own += bool(mask[y, x] and not ignored[y, x])
            foreground[row, column] = total > 0 and 2 * own > total
            background[row, column] = total > 0 and 10 * own < total
    return foreground, background


@given(st.integers(0, 10_000), st.sampled_from([(1, 5), (2, 2), (3, 4)]), st.sampled_from([(2, 5), (5, 2), (4, 10)]))
def test_masks_equal_counting_pixels(seed: int, grid: tuple[int, int], patch: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    shape = (grid[0] * patch[0], grid[1] * patch[1])
    share = np.kron(rng.choice([0.0, 0.1, 0.5, 1.0], size=grid), np.ones(patch))
    labels = (rng.random(shape) < share).astype(np.uint8)
    labels[rng.random(shape) < 0.2] = 255
    foreground, background = reference_region(labels == 1, labels == 255, grid)
    if foreground.any() and background.any():
        region = Region.from_mask(labels, grid, ignore=255)
        assert rows(region.foreground) == rows(foreground)
        assert rows(region.background) == rows(background)


@pytest.mark.parametrize(("pixels", "kind"), [(50, "neither"), (51, "foreground"), (10, "neither"), (9, "background")])
@pytest.mark.parametrize("scale", [1, 3, 7])
def test_the_limits_belong_to_neither(pixels: int, kind: str, scale: int) -> None:
    patch = np.arange(100).reshape(10, 10) < pixels
    mask = np.hstack([patch, np.ones((10, 10), bool), np.zeros((10, 10), bool)]).repeat(scale, axis=0)
    region = Region.from_mask(mask, (1, 3))
    assert region.foreground[0, 0] == (kind == "foreground")
    assert region.background[0, 0] == (kind == "background")
    assert rows(region.foreground[:, 1:]) == ["#."]


def test_a_mask_is_stretched_over_the_grid() -> None:
    mask = np.zeros((5, 7), bool)
    mask[:, :4] = True  # patches are 2 1/3 pixels wide: all of the first, 5 / 7 of the second
    region = Region.from_mask(mask, (2, 3))
    assert rows(region.foreground) == ["##.", "##."] and rows(region.background) == ["..#", "..#"]
    mask[:, 3] = False  # 2 / 7 of the second
    region = Region.from_mask(mask, (2, 3))
    assert rows(region.foreground) == ["#..", "#.."] and rows(region.background) == ["..#", "..#"]


OBJECT = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize(
    "mask",
    [
        OBJECT.astype(bool),
        OBJECT.astype(np.uint8),
        OBJECT.astype(np.float32),
        (OBJECT * 255).astype(np.uint8),
        torch.from_numpy(OBJECT).bool(),
        torch.from_numpy(OBJECT * 255),
        Image.fromarray((OBJECT * 255).astype(np.uint8)),
    ],
    ids=["bool", "uint8", "float32", "0 and 255", "bool tensor", "tensor of 0 and 255", "image"],
)
def test_masks_of_every_type_mean_the_same(mask) -> None:
    region = Region.from_mask(mask, (1, 2), name="a shape")
    assert rows(region.foreground) == ["#."] and rows(region.background) == [".#"]
    assert region.name == "a shape" and region.grid == (1, 2)
    assert region.foreground.dtype == region.background.dtype == bool


def test_255_is_foreground_beside_0_and_ignored_beside_1() -> None:
    ignored = np.array([[1, 1, 0, 0, 255, 255]])
    assert rows(Region.from_mask(ignored, (1, 3)).foreground) == ["#.."]
    assert rows(Region.from_mask(ignored, (1, 3)).background) == [".#."]
    white = np.array([[0, 0, 0, 0, 255, 255]])
    assert rows(Region.from_mask(white, (1, 3)).foreground) == ["..#"]
    with pytest.raises(ValueError, match="empty region"):
        Region.from_mask(white, (1, 3), ignore=255)


def test_another_value_can_be_ignored() -> None:
    mask = np.array([[1, 7, 0, 7, 7, 7]])
    region = Region.from_mask(mask, (1, 3), ignore=7)
    assert rows(region.foreground) == ["#.."] and rows(region.background) == [".#."]


def test_a_box_covers_its_pixels() -> None:
    region = Region.from_box((2, 0, 4, 2), image_size=(4, 8), grid=(2, 4))
    assert rows(region.foreground) == [".#..", "...."]
    assert rows(region.background) == ["#.##", "####"]
    partly = Region.from_box((1.6, 0, 7, 4), image_size=(4, 8), grid=(2, 4))
    assert rows(partly.foreground) == [".##.", ".##."]  # half of the last column is foreground: neither
    assert rows(partly.background) == ["#...", "#..."]


@pytest.mark.parametrize("box", [(4, 0, 2, 2), (2, 2, 4, 2), (-1, 0, 4, 2), (0, 0, 9, 2), (0, 0, 2, 5)])
def test_boxes_that_are_none_are_refused(box) -> None:
    with pytest.raises(ValueError, match="Expected box to be x0 < x1 and y0 < y1 inside the image of 8 x 4 pixels"):
        Region.from_box(box, image_size=(4, 8), grid=(2, 4))


def test_a_rectangle_as_polygon_equals_the_box() -> None:
    corners = [(16, 32), (64, 32), (64, 80), (16, 80)]
    polygon = Region.from_polygon(corners, image_size=(96, 112), grid=(6, 7))
    box = Region.from_box((16, 32, 64, 80), image_size=(96, 112), grid=(6, 7))
    assert rows(polygon.foreground) == rows(box.foreground)


@pytest.mark.parametrize("box", [(2, 2, 8, 8), (0, 0, 5, 10), (1, 3, 4, 7), (3, 0, 10, 10)])
@pytest.mark.parametrize("turn", [1, -1])
def test_a_rectangle_as_polygon_has_the_pixels_of_the_box(box: tuple[int, ...], turn: int) -> None:
    x0, y0, x1, y1 = box
    expected = np.zeros((10, 12), bool)
    expected[y0:y1, x0:x1] = True
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)[::turn]
    np.testing.assert_array_equal(polygon_mask(corners, (10, 12)), expected)


def test_a_polygon_over_half_of_every_patch_is_no_foreground() -> None:
    left = [(2, 0), (4, 0), (4, 8), (2, 8)]  # half of the second column of patches, and no more than half
    with pytest.raises(ValueError, match=r"more than 50 % of a patch of the grid \(2, 2\), but got 50.0 % at most"):
        Region.from_polygon(left, image_size=(8, 8), grid=(2, 2))


@given(st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=8))
def test_a_polygon_holds_the_pixels_whose_centre_it_winds_around(corners: list[tuple[float, float]]) -> None:
    expected = np.zeros((18, 20), bool)
    for row, column in np.ndindex(expected.shape):
        x, y = column + 0.5, row + 0.5
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                expected[row, column] ^= True
    np.testing.assert_array_equal(polygon_mask(np.array(corners), (18, 20)), expected)


def test_a_triangle_holds_the_patches_on_its_side_of_the_diagonal() -> None:
    region = Region.from_polygon([(0, 0), (0, 90), (90, 90)], image_size=(90, 90), grid=(3, 3))
    below = np.tri(3, k=-1, dtype=bool)
    assert (region.foreground >= below).all()
    assert rows(region.background) == rows(np.triu(np.ones((3, 3), bool), k=1))


def test_parts_of_a_polygon_outside_the_image_are_cut_off() -> None:
    region = Region.from_polygon([(-50, -50), (20, -50), (20, 200), (-50, 200)], image_size=(40, 40), grid=(2, 2))
    assert rows(region.foreground) == ["#.", "#."]


@pytest.mark.parametrize("points", [[(0, 0), (1, 1)], [(0, 0, 0)] * 3, [(0, 0), (np.nan, 1), (1, 1)]])
def test_polygons_that_are_none_are_refused(points) -> None:
    with pytest.raises(ValueError, match="at least 3 finite corners"):
        Region.from_polygon(points, image_size=(40, 40), grid=(2, 2))


def test_patches_are_the_foreground_and_all_others_background() -> None:
    region = Region.from_patches([(0, 1), (1, 2), (0, 1)], (2, 3))
    assert rows(region.foreground) == [".#.", "..#"]
    assert rows(region.background) == ["#.#", "##."]


@pytest.mark.parametrize("patch", [(2, 0), (0, 3), (-1, 0)])
def test_patches_outside_the_grid_are_refused(patch: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"inside the grid \(2, 3\), but got"):
        Region.from_patches([(0, 0), patch], (2, 3))


EMPTY, FULL = np.zeros((8, 8), bool), np.ones((8, 8), bool)


def test_an_empty_region_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 'cat' to hold at least 1 foreground pixel, but got an empty region"):
        Region.from_mask(EMPTY, (2, 2), name="cat")
    with pytest.raises(ValueError, match="at least 1 foreground patch, but got none"):
        Region.from_patches([], (2, 2))
    with pytest.raises(ValueError, match="empty region"):
        Region.from_polygon([(50, 50), (60, 50), (60, 60)], image_size=(40, 40), grid=(2, 2))


@pytest.mark.parametrize("mask", [FULL, FULL * 255, np.where(np.eye(8), 255, 1)], ids=["bool", "255", "1 and 255"])
def test_a_region_that_covers_the_whole_image_is_refused(mask) -> None:
    with pytest.raises(ValueError, match=r"Expected 'cat' to leave .* but got a region that covers the whole image"):
        Region.from_mask(mask, (2, 2), name="cat")


def test_an_object_too_small_for_the_grid_is_refused_with_its_largest_fraction() -> None:
    mask = EMPTY.copy()
    mask[0, :5] = True
    with pytest.raises(ValueError, match=r"more than 50 % of a patch of the grid \(2, 2\), but got 25.0 % at most"):
        Region.from_mask(mask, (2, 2))


def test_a_mask_of_another_size_than_the_image_is_refused() -> None:
    mask = EMPTY.copy()
    mask[:4] = True
    assert rows(Region.from_mask(mask, (2, 2), image_size=(8, 8)).foreground) == ["##", ".."]
    with pytest.raises(ValueError, match=r"Expected mask to be of the image's size \(8, 9\), but got \(8, 8\)"):
        Region.from_mask(mask, (2, 2), image_size=(8, 9))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((8, 8, 3), bool), r"Expected mask to be of shape \(H, W\), but got \(8, 8, 3\)"),
        (np.arange(64).reshape(8, 8), "Expected mask to hold 0 and 1"),
        (np.where(np.eye(8), 255, 3), "Expected mask to hold 0 and 1"),
        (np.where(np.eye(8), np.nan, 1), "Expected mask to hold 0 and 1"),
    ],
)
def test_masks_that_are_none_are_refused(mask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Region.from_mask(mask, (2, 2))


@pytest.mark.parametrize(
    ("foreground", "background", "message"),
    [
        (np.eye(2), ~np.eye(2, dtype=bool), "Expected foreground and background to be bool of one shape"),
        (np.eye(2, dtype=bool), np.ones((2, 3), bool), "Expected foreground and background to be bool of one shape"),
        (np.ones(2, bool), np.ones(2, bool), "Expected foreground and background to be bool of one shape"),
        (np.eye(2, dtype=bool), np.ones((2, 2), bool), "Expected foreground and background to be disjoint"),
    ],
)
def test_regions_that_contradict_themselves_are_refused(foreground, background, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Region(foreground, background)


LABELS = np.array([[0, 0, 3, 3, 255, 255], [0, 0, 3, 3, 255, 5], [9, 9, 9, 9, 9, 0], [9, 9, 9, 9, 0, 0]])


@pytest.mark.parametrize(
    "names",
    [{0: "sky", 3: "cat", 4: "dog"}, ["sky", "one", "two", "cat", "dog"]],
    ids=["mapping", "sequence"],
)
def test_a_label_mask_gives_a_region_for_every_class_present(names) -> None:
    regions = regions_from_labels(torch.from_numpy(LABELS), names, (2, 3))
    assert set(regions) == {"sky", "cat"}  # "dog" is absent, 5 and 9 have no name
    assert rows(regions["sky"].foreground) == ["#..", "..#"]
    assert rows(regions["sky"].background) == [".##", "##."]
    assert rows(regions["cat"].foreground) == [".#.", "..."]
    assert rows(regions["cat"].background) == ["#.#", "###"]
    assert regions["cat"].name == "cat"


def test_classes_without_foreground_or_background_are_left_out() -> None:
    labels = np.zeros((4, 4), int)
    assert regions_from_labels(labels, ["sky"], (2, 2)) == {}
    labels[0, 0] = 1
    assert set(regions_from_labels(labels, ["sky", "bird"], (2, 2))) == set()
    labels[:2, :2] = 1
    assert set(regions_from_labels(labels, ["sky", "bird"], (2, 2))) == {"sky", "bird"}


def test_an_ignored_class_has_no_region() -> None:
    assert set(regions_from_labels(LABELS, {3: "cat", 9: "ground"}, (2, 3), ignore_id=0)) == {"cat", "ground"}
    with pytest.raises(ValueError, match=r"Expected ignore_id to name no class, but got 3 \('cat'\)"):
        regions_from_labels(LABELS, {3: "cat"}, (2, 3), ignore_id=3)


@pytest.mark.parametrize("labels", [np.zeros((4, 4)), np.zeros((4, 4, 3), int)], ids=["float", "colour"])
def test_label_masks_that_are_none_are_refused(labels) -> None:
    with pytest.raises(ValueError, match=r"Expected label_mask to be integers of shape \(H, W\)"):
        regions_from_labels(labels, ["sky"], (2, 2))


def test_regions_are_stacked_by_image() -> None:
    first, second = Region.from_patches([(0, 0)], (2, 2)), Region.from_patches([(1, 1), (1, 0)], (2, 2))
    foreground, background = stack_regions([first, second], 2, (2, 2))
    assert rows(foreground) == ["#...", "..##"] and rows(background) == [".###", "##.."]
    assert rows(stack_regions(first, 3, (2, 2))[0]) == ["#..."] * 3
