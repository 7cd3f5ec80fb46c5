"""Explainers on the Maps page, without a browser."""

import base64
import io

import numpy as np

from analysis.explainers import EXPLAINERS, explain
from dashboard.case import Case
from dashboard.pages.flip.settings import FlipSettings
from dashboard.pages.maps.explained import explained_npz
from dashboard.pages.maps.settings import MapsSettings
from dashboard.pages.maps.snippet import python_maps
from dashboard.panels.explained import explained
from data.samples import load_sample
from surgery import load_model
from tests.dashboard.conftest import component_data

SCENE = load_sample("toy-2")
CASE = Case(image="toy-2", prompts=SCENE.prompts[:2], region=f"object:{next(iter(SCENE.masks))}", methods=("clip",))


def test_explainers_have_a_grid_of_their_own(open_app) -> None:
    app = open_app(CASE, MapsSettings(explainers=("legrad", "value_kk")))
    assert not app.exception and not app.error
    _, sent = component_data(app, "clip_theatre_map_view")
    assert sent["unit"].startswith("relevance") and sent["limit"] == 1
    assert [cell["title"] for cell in sent["rows"][0]["cells"]] == [EXPLAINERS[n].title for n in ("legrad", "value_kk")]
    assert "AUC" in sent["rows"][0]["cells"][0]["note"]
    model = load_model("toy")
    expected = explain(model, model.preprocess([SCENE.image.to_pil()]), model.encode_text(CASE.prompts), "legrad")
    values = expected.patches[0, :, :, 1]
    raw = base64.b64decode(sent["rows"][1]["cells"][0]["values"])
    np.testing.assert_allclose(np.frombuffer(raw, "<f4").reshape(14, 14), values / values.max(), atol=1e-5)
    run: dict = {}
    exec(python_maps(CASE, ["clip"], ["legrad"]), run)
    np.testing.assert_allclose(run["explained"]["legrad"], expected.patches[0], atol=1e-6)
    arrays = np.load(io.BytesIO(explained_npz(CASE.prompts, [explained(CASE, "legrad")])))
    np.testing.assert_allclose(arrays["legrad"], expected.patches[0], atol=1e-6)


def test_a_visitor_who_wants_none_sees_none(open_app) -> None:
    assert len(component_data(open_app(CASE), "clip_theatre_map_view")) == 1


def test_flip_has_them_as_a_look(open_app) -> None:
    app = open_app(CASE, FlipSettings(look="explainers"), page="flip")
    assert not app.exception and not app.error
    _, sent = component_data(app, "clip_theatre_map_view")
    assert sent["unit"].startswith("relevance") and sent["scale"] == "signed"
    titles = [cell["title"] for cell in sent["rows"][0]["cells"]]
    assert EXPLAINERS["legrad"].title in titles and EXPLAINERS["chefer_all"].title not in titles
    assert all("AUC" in cell["note"] for cell in sent["rows"][0]["cells"] if not cell["error"])
