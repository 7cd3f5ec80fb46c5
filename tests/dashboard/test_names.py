"""Names beside dots: on which side they stand, and which are left out."""

import numpy as np

from dashboard.figures.names import place_names


def placed(places, names, order=None):
    x, y = np.array(places, dtype=float).T
    return place_names(x, y, names, range(len(names)) if order is None else order)


def test_a_dot_alone_has_its_name_on_top():
    assert placed([(0.5, 0.5)], ["a3"]) == {0: "top center"}


def test_a_name_stays_inside():
    assert placed([(0.5, 1.0)], ["a3"]) == {0: "bottom center"}
    assert placed([(0.0, 0.5)], ["a long name"]) == {0: "middle right"}
    assert placed([(1.0, 0.5)], ["a long name"]) == {0: "middle left"}


def test_a_name_covers_no_other_dot():
    above = (0.5, 0.56)
    assert placed([(0.5, 0.5), above], ["a4", ""], order=[0]) == {0: "bottom center"}


def test_names_of_near_dots_avoid_each_other():
    found = placed([(0.5, 0.5), (0.55, 0.5)], ["a4", "a4.h0"])
    assert len(found) == 2 and found[0] != found[1]


def test_a_name_without_room_is_left_out():
    crowd = [(0.5 + 0.03 * i, 0.5 + 0.03 * j) for i in range(5) for j in range(5)]
    found = placed(crowd, ["a10.h11"] * 25, order=[12, *range(12), *range(13, 25)])
    assert 0 < len(found) < 25 and 12 not in found
