"""Cropped and letterboxed images on pages: maps, regions, masks and drawings follow."""

from dataclasses import replace

import numpy as np
import pytest

from dashboard import services
from dashboard.address import from_query, to_query
from dashboard.case import Case, case_of_pin, pin_of
from dashboard.pages import PAGES
from dashboard.pages.flip.region import written_region
from dashboard.settings import View
from surgery import METHODS, encode_dense, load_model, similarity
from tests.dashboard.conftest import error_texts

CHINA = Case(image="china", prompts=("sky", "a red circle"), region="box:0,0,640,200")


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_maps_are_those_of_preprocess(fit: str) -> None:
    case = replace(CHINA, fit=fit)
    model, image = load_model("toy"), services.original(case).to_pil()
    pixels = model.preprocess([image], fit=fit)
    expected = similarity(encode_dense(model, pixels, METHODS["clip"]), model.encode_text(case.prompts)).patches[0]
    found = services.maps(case, "clip").patches
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape[:2] == services.grid(case) == {"crop": (14, 14), "letterbox": (10, 14)}[fit]
    assert services.trace_key(case) != services.trace_key(CHINA)


def test_what_is_shown_is_what_the_network_sees() -> None:
    whole = services.image(CHINA).size_px
    assert whole == services.original(CHINA).size_px == (427, 640)
    crop, box = services.image(replace(CHINA, fit="crop")), services.image(replace(CHINA, fit="letterbox"))
    assert crop.size_px[0] == 427 and abs(crop.size_px[1] - 427) <= 6
    assert box.size_px[1] == 640 and 427 < box.size_px[0] < 480
    assert services.region_mask(replace(CHINA, fit="crop")).shape == crop.size_px


def test_regions_follow() -> None:
    region = services.region(replace(CHINA, fit="letterbox"))
    assert region.grid == (10, 14) and region.foreground[1:4].all() and region.background[6:9].all()
    assert services.region(replace(CHINA, fit="crop")).foreground[:6].all()


def test_drawings_are_in_pixels_of_the_image() -> None:
    box = [(0.0, 10.0), (100.0, 50.0)]
    assert written_region("box", box, (427, 427), (106, 0)) == "box:106,10,206,50"
    assert written_region("box", box, (457, 640), (0, -15)) == "box:0,-5,100,35"


def test_the_fit_is_in_the_address_and_of_pins() -> None:
    view = View(replace(CHINA, fit="crop"))
    assert to_query(view)["fit"] == ["crop"] and from_query(to_query(view), lambda given: Case())[0] == view
    assert from_query({"fit": ["pad"]}, lambda given: Case())[1] == ["fit"]
    pin = pin_of(view.case, 0, "clip")
    kept = View(Case(pins=(pin,)))
    assert from_query(to_query(kept), lambda given: Case())[0] == kept and case_of_pin(pin).fit == "crop"
    old = to_query(View(Case(pins=(replace(pin, fit="stretch", region=""),))))["pin"][0]
    assert from_query({"pin": [old]}, lambda given: Case())[0].case.pins[0].fit == "stretch"


@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_every_page_takes_a_grid_that_is_no_square(page: str, open_app) -> None:
    app = open_app(replace(CHINA, fit="letterbox"), page=page)
    assert not app.exception and not error_texts(app)
