"""Masks on the Maps page, without a browser."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from analysis.masks import from_coco_rle, masks_of_map
from dashboard import state
from dashboard.case import Case
from dashboard.jobs import Job
from dashboard.pages.maps import mask_results
from dashboard.pages.maps.mask_snippet import python_masks
from dashboard.pages.maps.masks import mask_files, mask_payload, take_event
from dashboard.pages.maps.settings import MapsSettings, read_box, read_points, write_points
from data.samples import load_sample
from tests.dashboard.conftest import component_data, error_texts
from tests.hub import go_online, serve
from tests.tiny_sam import save_tiny_sam

SCENE = load_sample("toy-3")
NAME = "a green ring"
CASE = Case(image="toy-3", prompts=SCENE.prompts, region=f"object:{NAME}", methods=("clip",))
OWN = MapsSettings(masks=True)


def masks_of(own: MapsSettings) -> list:
    return mask_results.mask_work(CASE, own)(Job())


def test_masks_come_from_the_map_of_the_examined_prompt() -> None:
    found = masks_of(OWN)
    map_ = mask_results.mask_map(CASE, OWN)
    np.testing.assert_array_equal(found[0].best, masks_of_map(SCENE.image.rgb, map_)[0].best)
    sent = mask_payload(CASE, OWN, found, 0)
    assert sent["chosen"].startswith("M") and len(sent["candidates"]) == 3
    overlaps = mask_results.ious(CASE, found[0])
    assert overlaps[0] > 0.5 and f"IoU with the region {overlaps[0]:.2f}" in sent["candidates"][0]["text"]
    assert NAME in sent["hint"] and {point[2] for point in sent["points"]} == {0, 1}
    own = MapsSettings(masks=True, threshold=float(map_.max()) + 1)
    assert masks_of(own) == [] and mask_payload(CASE, own, [], 0)["candidates"] == []


def test_points_of_the_visitor_take_the_place_of_the_maps() -> None:
    row, column = (int(value) for value in np.argwhere(SCENE.masks[NAME])[0])
    own = MapsSettings(masks=True, mask_points=((column, row, 1), (2, 2, 0)))
    (found,) = masks_of(own)
    assert found.points.xy.tolist() == [[column, row], [2, 2]]
    (alone,) = masks_of(MapsSettings(masks=True, mask_points=((column, row, 1),)))
    assert (alone.points.labels == 0).sum() > 1  # what is off the object comes from the map
    (boxed,) = masks_of(MapsSettings(masks=True, mask_box=(10, 10, 60, 60)))
    assert boxed.box == (10, 10, 60, 60) and not boxed.best[100:].any()


def test_files_hold_the_masks_and_the_lines_run() -> None:
    found = masks_of(OWN)
    own = MapsSettings(masks=True, mask_candidate=1)
    files = {file.name: file.make() for file in mask_files(CASE, own, found, 0).values()}
    mask = np.asarray(Image.open(io.BytesIO(files["mask.png"]))) > 0
    np.testing.assert_array_equal(mask, found[0].masks[1])
    rows = json.loads(files["masks.json"])
    assert (from_coco_rle(rows[0]["segmentation"]) == mask).all() and len(rows) == len(found)
    assert files["masks.py"].decode() == python_masks(CASE, own, NAME)
    run: dict = {}
    exec(python_masks(CASE, own, NAME), run)
    np.testing.assert_array_equal(run["found"][0].best, found[0].best)
    drawn = MapsSettings(mask_points=((9, 9, 1), (90, 90, 0)), mask_with="org/sam")
    assert "segmenter.masks(rgb, points, None)" in python_masks(CASE, drawn, NAME)


def test_settings_of_masks_travel_in_the_address_and_nonsense_does_not() -> None:
    assert read_points(write_points(((1, 2, 0), (30, 4, 1)))) == ((1, 2, 0), (30, 4, 1))
    for text in ("1.2", "1.2.3", "1.2.1," * 50, "a.b.c"):
        with pytest.raises(ValueError, match="Expected"):
            read_points(text)
    with pytest.raises(ValueError, match="a box left"):
        read_box("5.5.5.9")
    own = MapsSettings(mask_points=((1, 2, 0),), mask_box=(1, 2, 3, 4), mask_cut=0.5)
    assert own.of_new_image() == MapsSettings(mask_cut=0.5)


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        ({"type": "point", "x": 3, "y": 4, "label": 0}, "mask_points", ((3, 4, 0),)),
        ({"type": "point", "x": 300, "y": 4, "label": 0}, "mask_points", ()),
        ({"type": "point", "x": 3, "y": True, "label": 1}, "mask_points", ()),
        ({"type": "box", "box": [1, 2, 30, 40]}, "mask_box", (1, 2, 30, 40)),
        ({"type": "box", "box": [30, 2, 1, 40]}, "mask_box", None),
        ({"type": "candidate", "index": 2}, "mask_candidate", 2),
        ({"type": "candidate", "index": "2"}, "mask_candidate", 0),
    ],
)
def test_only_what_makes_sense_is_taken_from_the_browser(monkeypatch, event, field, value) -> None:
    kept = {"own": MapsSettings()}
    from dataclasses import replace

    monkeypatch.setattr(state, "settings", lambda kind: kept["own"])
    monkeypatch.setattr(state, "adjust", lambda kind, **new: kept.update(own=replace(kept["own"], **new)))
    take_event(event, (112, 112))
    assert getattr(kept["own"], field) == value


def test_segment_anything_is_downloaded_on_consent_and_errors_are_one_line(open_app, monkeypatch, tmp_path) -> None:
    files = {path.name: path.read_bytes() for path in save_tiny_sam(tmp_path / "saved").iterdir()}
    own = MapsSettings(masks=True, mask_with="org/sam")
    with serve({"org/sam": files}) as hub:
        go_online(monkeypatch, hub.address, tmp_path / "cache")
        app = open_app(CASE, own)
        assert not component_data(app, "clip_theatre_masks") and not any(
            "org/sam" in path for _, path, _ in hub.requests
        )
        button = next(found for found in app.button if found.label == "Download org/sam")
        button.click().run()
        assert not app.exception and not error_texts(app)
        (sent,) = component_data(app, "clip_theatre_masks")
        assert len(sent["candidates"]) == 3 and "masks by org/sam" in sent["hint"]
    monkeypatch.setattr("dashboard.pages.maps.masks.is_installed", lambda: False)
    app = open_app(CASE, own)
    assert "pip install -e" in app.info[0].value.replace("\\", "").replace("\u2060", "")
