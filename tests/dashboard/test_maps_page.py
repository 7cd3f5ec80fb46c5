"""The Maps page and the sidebar, without a browser."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.numerals import number
from dashboard import services
from dashboard.case import Case, pin_of
from dashboard.pages.maps.body import take_event
from dashboard.pages.maps.controls import size_label
from dashboard.pages.maps.exports import maps_exports
from dashboard.pages.maps.results import Reading, verdict
from dashboard.pages.maps.settings import MapsSettings
from dashboard.panels.notes import region_note
from dashboard.settings import View
from data.samples import load_sample
from surgery import METHODS, Method, class_probabilities, dense_features, load_model, similarity
from tests.dashboard.conftest import component_data, error_texts

SCENE = load_sample("toy-2")
CASE = Case(image="toy-2", prompts=SCENE.prompts, region=f"object:{next(iter(SCENE.masks))}")


def map_view(app) -> dict:
    return component_data(app, "clip_theatre_map_view")[0]


def test_a_newcomer_sees_all_methods_on_a_made_scene(open_app) -> None:
    app = open_app()
    assert not app.exception and not app.error
    rows = map_view(app)["rows"]
    case = app.session_state["view"].case
    assert [row["title"] for row in rows] == [f"“{prompt}”" for prompt in case.prompts]
    assert [cell["title"] for cell in rows[0]["cells"]][:3] == ["CLIP", "MaskCLIP", "CLIP Surgery"]
    assert all("AUC" in cell["note"] for cell in rows[0]["cells"])
    assert not any("AUC" in cell["note"] for row in rows[1:] for cell in row["cells"])  # the region is not theirs


def test_maps_are_those_of_the_library_on_one_symmetric_scale(open_app) -> None:
    sent = map_view(open_app(CASE))
    model = load_model("toy")
    trace = model.trace(model.preprocess([SCENE.image.to_pil()]))
    expected = similarity(dense_features(trace, METHODS["clip_surgery"]), model.encode_text(CASE.prompts))
    raw = base64.b64decode(sent["rows"][1]["cells"][2]["values"])
    np.testing.assert_allclose(np.frombuffer(raw, "<f4").reshape(14, 14), expected.patches[0, :, :, 1], atol=1e-5)
    values = [np.frombuffer(base64.b64decode(c["values"]), "<f4") for row in sent["rows"] for c in row["cells"]]
    assert np.abs(values).max() <= sent["limit"] <= 1.1 * np.abs(values).max()


def test_probabilities_are_the_softmax_of_the_scaled_cosines(open_app) -> None:
    sent = map_view(open_app(CASE))
    model = load_model("toy")
    trace = model.trace(model.preprocess([SCENE.image.to_pil()]))
    cosines = similarity(dense_features(trace, METHODS["clip"]), model.encode_text(CASE.prompts)).cls
    expected = class_probabilities(cosines, model.logit_scale)[0].numpy()
    np.testing.assert_allclose([row["share"]["value"] for row in sent["rows"]], expected, atol=1e-5)
    assert "softmax" in sent["corner"]
    ranked = map_view(open_app(CASE, MapsSettings(ranked=True)))
    assert [row["title"] for row in ranked["rows"]] == [f"“{CASE.prompts[i]}”" for i in np.argsort(-expected)]


def test_a_slider_changes_the_free_method_alone(open_app) -> None:
    app = open_app(CASE)
    before = map_view(app)["rows"][0]["cells"]
    next(slider for slider in app.slider if slider.label == "alpha").set_value(3.0).run()
    after = map_view(app)["rows"][0]["cells"]
    changed = [b["title"] for b, a in zip(before, after, strict=True) if b["values"] != a["values"]]
    assert changed == ["custom"]
    assert app.query_params["custom"] == "vv,5,1,3,0,bicubic"


def test_the_address_opens_the_same_view(open_app) -> None:
    case = Case(
        image="china",
        prompts=("a pagoda", "the sky"),
        methods=("gem", "custom"),
        custom=Method("kk", 2, 0.5, 2.0, True),
        feature_surgery=True,
        patch=(3, 4),
    )
    own = MapsSettings(difference=True, threshold=0.05, points=True, opacity=0.4)
    app = open_app(case, own)
    assert not app.exception and not app.error
    assert app.session_state["view"] == View(case, (own,))
    sent = map_view(app)
    assert (sent["patch"], sent["threshold"], sent["unit"]) == ([3, 4], 0.05, "cosine similarity after feature surgery")
    assert [cell["title"] for cell in sent["rows"][0]["cells"]] == ["GEM", "custom", "CLIP Surgery − CLIP"]
    assert sent["opacity"] == 0.4
    assert sent["rows"][0]["cells"][0]["points"]


def test_a_difference_has_a_scale_of_its_own_and_is_one_of_normalised_maps_where_they_are_shown(open_app) -> None:
    for scale in ("signed", "minmax"):
        sent = map_view(open_app(CASE, MapsSettings(difference=True, method_b="gem", scale=scale)))
        clip_surgery, gem, difference = (
            next(cell for cell in sent["rows"][0]["cells"] if cell["title"] == title)
            for title in ("CLIP Surgery", "GEM", "CLIP Surgery − GEM")
        )
        first, second, values = (
            np.frombuffer(base64.b64decode(cell["values"]), "<f4") for cell in (clip_surgery, gem, difference)
        )
        if scale == "minmax":
            first, second = ((map_ - map_.min()) / (map_.max() - map_.min()) for map_ in (first, second))
        np.testing.assert_allclose(values, first - second, atol=1e-6)
        assert np.abs(values).max() <= difference["limit"] <= 1.1 * np.abs(values).max()
        assert f"own scale ±{number(difference['limit'])}" in difference["note"]
        assert clip_surgery["limit"] is None


def test_the_headline_names_what_is_flipped_and_what_is_best(open_app) -> None:
    app = open_app(
        Case(prompts=("a red flower", "sand"), region="object:a red flower", methods=("clip", "gem", "custom"))
    )
    assert any("a red flower” is flipped under CLIP" in text.value.replace("\\", "") for text in app.markdown)
    found = {"clip": Reading(0.1, True), "sclip": Reading(0.2, True), "gem": Reading(0.45, False)}
    assert verdict("x", found) == "“x” is flipped under CLIP (AUC 0.10) and 1 more"
    best = {"custom": Reading(0.944, True), "clip_surgery": Reading(0.941, True), "naclip": Reading(0.7, True)}
    assert verdict("x", found | best).endswith(", best under custom and CLIP Surgery (0.94)")
    assert verdict("x", {"gem": found["gem"]}) == "“x”: cannot tell under GEM (AUC 0.45)"


def test_a_stretched_or_squeezed_image_says_so(open_app) -> None:
    app = open_app(CASE)
    assert not any("stretched" in warning.value for warning in app.warning)
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((20, 400)).convert("RGB").save(stream, "PNG")
    app.file_uploader[0].set_value(("tall.png", stream.getvalue(), "image/png")).run()
    told = next(warning.value for warning in app.warning if "stretched" in warning.value)
    assert "20 × 400 pixels" in told and "stretched to 112 × 112" in told and "drawn squeezed" in told
    assert map_view(app)["photo"]["ratio"] == 0.4


def test_thirty_prompts_stand_in_one_table_and_one_may_begin_with_an_emoji(open_app) -> None:
    prompts = ("\N{FIRE} fire", *(f"thing {number}" for number in range(29)))
    case = Case(image="toy-2", prompts=prompts, methods=("clip",))
    app = open_app(case, MapsSettings(ranked=True))
    sent = map_view(app)
    shares = [row["share"]["value"] for row in sent["rows"]]
    assert sent["table"] and len(shares) == 30 and shares == sorted(shares, reverse=True)
    assert "“\N{FIRE} fire”" in {row["title"] for row in sent["rows"]} and not app.exception
    app = open_app(case, page="redundancy")
    assert not app.exception and not app.error
    strike = next(box for box in app.selectbox if "Strike" in box.label)
    assert "without “\N{FIRE} fire”" in strike.options


def test_a_size_says_what_it_costs() -> None:
    model = load_model("toy")
    assert size_label(model, 112) == "112 px: 196 patches (native)"
    work = [tokens * 12 * 128**2 + 2 * tokens**2 * 128 for tokens in (785, 197)]
    assert size_label(model, 224).startswith(f"224 px: 784 patches, {number(work[0] / work[1])} × the work, 0.0")


def test_no_prompt_says_what_to_do(open_app) -> None:
    app = open_app(CASE)
    app.text_area[0].set_value("").run()
    assert "There is no prompt." in error_texts(app)
    assert "Type at least one prompt" in error_texts(app)
    app.text_area[0].set_value("grass").run()
    assert not app.error and app.session_state["view"].case.prompts == ("grass",)


def test_an_empty_prompt_keeps_the_view_and_what_was_typed(open_app) -> None:
    app = open_app(CASE)
    app.text_area[0].set_value("a cat,, grass").run()
    assert "Between two commas there is no prompt." in error_texts(app)
    assert app.text_area[0].value == "a cat,, grass"
    assert app.session_state["view"].case.prompts == CASE.prompts


def test_a_long_prompt_says_that_it_was_cut(open_app) -> None:
    app = open_app(Case(image="toy-2", prompts=("circle " * 200,), methods=("clip",)))
    assert any("cut" in warning.value for warning in app.warning)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"image": ["toy-99"], "p": ["x"]}, "The name has to be one of toy-0"),
        ({"model": ["ViT-Z-9"], "weights": ["random"], "p": ["x"]}, "The model has to be toy, a local checkpoint or"),
        ({"model": ["local-dir:/etc"], "p": ["x"]}, "The model has to be toy, a local checkpoint or"),
        ({"region": ["object:a dog"], "p": ["x"]}, "The region has to be one of"),
        ({"region": ["mask:abc"], "p": ["x"]}, "The mask of this view was uploaded in another browser"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_address_that_cannot_be_shown_says_why(open_app, query: dict, message: str) -> None:
    app = open_app(query=query)
    assert message in error_texts(app) and not app.exception


def test_a_missing_upload_is_named_by_its_hash(open_app) -> None:
    app = open_app(Case(image="sha256:" + "ab" * 32, prompts=("x",)))
    assert not app.exception and not app.error
    assert any("abababababababab" in info.value for info in app.info)


def test_a_parameter_that_makes_no_sense_is_named(open_app) -> None:
    app = open_app(query={"p": ["grass"], "size": ["huge"]})
    assert any("size" in warning.value for warning in app.warning) and not app.exception


def picture(mode: str = "RGB", kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.radial_gradient("L").resize((90, 60)).convert(mode).save(stream, kind)
    return stream.getvalue()


def test_an_uploaded_image_is_shown_and_its_hash_is_in_the_address(open_app) -> None:
    app = open_app(CASE)
    app.file_uploader[0].set_value(("mine.jpg", picture(kind="JPEG"), "image/jpeg")).run()
    assert not app.exception and not app.error
    assert app.query_params["image"].startswith("sha256:")
    assert map_view(app)["photo"]["width"] == 90


@pytest.mark.parametrize("content", [b"", b"no image at all", picture()[:200]], ids=["empty", "text", "cut"])
def test_a_broken_upload_says_so_and_keeps_the_view(open_app, content: bytes) -> None:
    app = open_app(CASE)
    app.file_uploader[0].set_value(("broken.png", content, "image/png")).run()
    assert "broken.png" in error_texts(app) and "Choose another file" in error_texts(app)
    assert app.session_state["view"].case.image == "toy-2" and not app.exception


def test_an_uploaded_mask_becomes_the_region(open_app) -> None:
    app = open_app(CASE)
    app.file_uploader[1].set_value(("mask.png", white_square(92), "image/png")).run()
    assert app.session_state["view"].case.region.startswith("mask:") and not app.error and not app.exception
    app.file_uploader[1].set_value(("small.png", white_square(30), "image/png")).run()
    assert "The mask has to be as large as the image, 224 × 224 pixels; here it is 100 × 100" in error_texts(app)


def white_square(margin_px: int) -> bytes:
    """A PNG of 40 x 40 white pixels with a black margin."""
    stream = io.BytesIO()
    Image.fromarray(np.pad(np.full((40, 40), 255, np.uint8), margin_px)).save(stream, "PNG")
    return stream.getvalue()


def test_unknown_pixels_of_a_mask_are_neither_object_nor_background(monkeypatch) -> None:
    labels = np.zeros((224, 224), np.uint8)
    labels[:112], labels[112:168] = 7, 255
    monkeypatch.setattr(services.state, "mask", {"abc": labels}.get)
    region = services.region(Case(image="toy-2", region="mask:abc#7"))
    rows = region.grid[0]
    assert region.foreground[: rows // 2].all() and not region.foreground[rows // 2 :].any()
    assert not region.background[: 3 * rows // 4 - 1].any() and region.background[-1].all()


def test_weights_that_are_not_here_are_offered_not_fetched(open_app) -> None:
    app = open_app(Case(model="ViT-B-32", weights="laion2b_e16", image="toy-2", prompts=("x",)))
    assert any("are not on this machine" in info.value and "MB" in info.value for info in app.info)
    assert {"Download them", "Use random weights", "Back to the toy"} <= {button.label for button in app.button}


def test_a_method_that_does_not_fit_says_so_in_its_own_place(open_app) -> None:
    app = open_app(Case(model="RN50", weights="random", image="toy-2", prompts=("x", "y"), methods=("clip", "gem")))
    cells = map_view(app)["rows"][0]["cells"]
    reason = "It compares tokens by GEM, and this model only knows q-k, v-v, identity."
    assert (cells[0]["error"], cells[1]["error"]) == ("", reason)
    assert any("random weights" in warning.value for warning in app.warning)


def test_the_clear_button_of_the_case_line(open_app) -> None:
    app = open_app(CASE)
    app.button(key="clear region").click().run()
    assert app.session_state["view"].case.region == ""
    assert map_view(app)["rows"][0]["cells"][0]["note"].startswith("mean")


def test_events_change_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[dict] = []
    monkeypatch.setattr("dashboard.pages.maps.body.state.case", lambda: CASE)
    monkeypatch.setattr("dashboard.pages.maps.body.state.update", lambda **change: changes.append(change))
    monkeypatch.setattr("dashboard.pages.maps.body.state.settings", lambda kind: kind())
    monkeypatch.setattr("dashboard.pages.maps.body.state.adjust", lambda _kind, **change: changes.append(change))
    monkeypatch.setattr("dashboard.panels.drawer.state.replace_case", lambda case: changes.append({"pins": case.pins}))
    take_event({"type": "patch", "row": 1, "column": 2}, grid=(14, 14))
    take_event({"type": "threshold", "value": 0.25}, grid=(14, 14))
    take_event({"type": "opacity", "value": 0.5}, grid=(14, 14))
    take_event({"type": "action", "row": 0, "column": 7}, grid=(14, 14))
    take_event({"type": "patch", "row": 99, "column": 2}, grid=(14, 14))
    assert changes == [{"patch": (1, 2)}, {"threshold": 0.25}, {"opacity": 0.5}, {"pins": (pin_of(CASE, 0, "custom"),)}]


def test_a_note_without_region_is_the_mean() -> None:
    assert region_note(np.array([[0.5, -1.0]]), None) == "mean −0.250"


def test_every_download_holds_the_numbers() -> None:
    maps = {name: services.maps(CASE, name) for name in ("clip", "gem")}
    region = services.region(CASE)
    made = {label: file.make() for label, file in maps_exports(CASE, MapsSettings(), maps, region).files.items()}
    table = pd.read_csv(io.BytesIO(made["CSV, a row a patch"]))
    prompt, method = CASE.prompts[1], "gem"
    picked = table[(table.method == method) & (table.prompt == prompt)].sort_values(["row", "column"]).value
    np.testing.assert_allclose(picked.to_numpy().reshape(14, 14), maps[method].patches[:, :, 1], atol=1e-6)
    arrays = np.load(io.BytesIO(made["NPZ, all arrays"]))
    np.testing.assert_array_equal(arrays["clip"], maps["clip"].patches)
    np.testing.assert_array_equal(arrays["foreground"], region.foreground)
    content = json.loads(made["JSON, settings and measures"])
    assert content["methods"]["gem"]["blocks"] == 6 and len(content["measures"]) == 2 * len(CASE.prompts)
    assert b"plotly" in made["HTML, interactive"][:5_000_000]
