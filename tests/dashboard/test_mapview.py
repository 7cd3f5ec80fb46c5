"""What the map view sends to the browser."""

import base64

import numpy as np
import pytest

from dashboard.panels.mapview import Bar, Cell, MapView, Photo, Row, payload
from surgery import PromptPoints

PHOTO = Photo("data:c", "data:g", width=60, height=40)
VALUES = np.arange(6, dtype=np.float64).reshape(2, 3) - 2.5


def view(*cells: Cell, **changes: object) -> dict:
    return payload(MapView(**{"photo": PHOTO, "rows": (Row("grass", cells),), "limit": 2.5} | changes))


def test_values_travel_as_little_endian_float32() -> None:
    sent = view(Cell("CLIP", VALUES))
    raw = base64.b64decode(sent["rows"][0]["cells"][0]["values"])
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), VALUES.ravel())
    assert sent["grid"] == [2, 3]
    assert (sent["limit"], sent["scale"], sent["unit"]) == (2.5, "signed", "cosine")


def test_a_cell_without_map_says_why() -> None:
    cell = view(Cell("CLIP", VALUES), Cell("GEM", error="no meaning"))["rows"][0]["cells"][1]
    assert (cell["values"], cell["error"]) == ("", "no meaning")


def test_points_are_triples_of_plain_numbers() -> None:
    points = PromptPoints(np.array([[5, 6], [7, 8]]), np.array([1, 0]))
    assert view(Cell("CLIP", VALUES, points=points))["rows"][0]["cells"][0]["points"] == [[5, 6, 1], [7, 8, 0]]


def test_bars_are_beside_the_photograph_only_where_wanted() -> None:
    assert view(Cell("CLIP", VALUES))["aside"] is None
    sent = view(Cell("CLIP", VALUES), bars=(Bar("grass", 0.5, "50 %"),), bars_title="p")
    assert sent["aside"] == {"title": "p", "bars": [{"label": "grass", "value": 0.5, "text": "50 %"}]}


def test_a_row_of_a_table_has_its_bar_and_a_cell_its_scale() -> None:
    row = Row("grass", (Cell("A − B", VALUES, limit=4.0),), share=Bar("grass", 0.5, "50 %"))
    sent = payload(MapView(PHOTO, (row,), 2.5, table=True, opacity=0.7))
    assert sent["rows"][0]["share"] == {"value": 0.5, "text": "50 %"}
    assert sent["rows"][0]["cells"][0]["limit"] == 4.0 and sent["limit"] == 2.5
    assert (sent["table"], sent["opacity"], sent["photo"]["ratio"]) == (True, 0.7, 1.5)


def test_all_maps_share_one_grid() -> None:
    with pytest.raises(
        ValueError, match=r"Expected all maps of a view to have one grid, but got \[\(2, 3\), \(3, 2\)\]"
    ):
        view(Cell("CLIP", VALUES), Cell("GEM", VALUES.T))
