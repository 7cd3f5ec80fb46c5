"""The Words page without a browser: measures, what is sent, exports, snippet, what it says where it cannot."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.word_measures import word_relevance
from analysis.word_targets import read_target
from dashboard import services
from dashboard.case import Case
from dashboard.figures.words import MATRIX_CURVE, patch_order, plot_word_blame, plot_word_matrix
from dashboard.pages.words.board import board_payload, pairs_payload
from dashboard.pages.words.body import headline, map_cells, notes
from dashboard.pages.words.exports import python_words, words_json, words_npz, words_table
from dashboard.pages.words.results import Board, agreement_of, blame_of, blame_terms, board, caption_of, chosen_unit
from dashboard.pages.words.settings import WordsSettings
from data.samples import load_sample
from surgery import METHODS, encode_dense, load_model
from tests.dashboard.conftest import component_data, error_texts

SCENE = load_sample("toy-2")
CASE = Case(image="toy-2", prompts=SCENE.prompts, region=f"object:{next(iter(SCENE.masks))}")
OWN = WordsSettings()


@pytest.fixture(scope="module")
def shown() -> Board:
    return board(CASE, OWN)


def test_every_measure_is_that_of_the_library(shown: Board) -> None:
    assert tuple(shown.found) == OWN.measures and not shown.missing
    model = load_model("toy")
    features = encode_dense(model, model.preprocess([SCENE.image.to_pil()]), METHODS["clip_surgery"])
    expected = word_relevance(model, features, read_target(model, SCENE.caption), "left_out")
    np.testing.assert_allclose(shown.found["left_out"].patches, expected.patches, atol=1e-5)
    assert all(found.patches is not None for found in shown.found.values())


def test_typed_prompts_make_the_caption_of_a_scene() -> None:
    assert caption_of(CASE) == SCENE.caption
    assert caption_of(Case(image="toy-2", prompts=("a cat", "snow"))) == "a cat and snow"
    assert caption_of(Case(image="toy-2", prompts=("a cat", "a cat -- snow"))) == "a cat -- snow"
    assert caption_of(Case(image="toy-2", prompts=("a cat",), caption="a dog")) == "a dog"


def test_the_shown_word_is_the_chosen_one_else_the_most_relevant(shown: Board) -> None:
    left_out = shown.found["left_out"]
    assert chosen_unit(CASE, shown) == int(np.nanargmax(left_out.image))
    assert chosen_unit(Case(word=2), shown) == 2
    assert chosen_unit(Case(patch=(3, 4)), shown) == int(np.nanargmax(left_out.patches[3, 4]))
    assert chosen_unit(Case(word=999), shown) == chosen_unit(CASE, shown)


def test_the_table_and_the_matrix_hold_the_numbers(shown: Board) -> None:
    region, chosen = services.region(CASE), 2
    sent = board_payload(CASE, OWN, shown, chosen, (14, 14))
    assert [unit["special"] for unit in sent["units"]] == [True, *[False] * (len(sent["units"]) - 2), True]
    first = sent["measures"][0]
    assert first["name"] == "left_out" and first["image"][0] is None
    raw = np.frombuffer(base64.b64decode(first["patches"]), "<f4").reshape(14, 14, -1)
    np.testing.assert_array_equal(raw, shown.found["left_out"].patches)
    assert np.nanmax(np.abs(raw)) <= first["patch_limit"]
    assert sent["agreement"]["rho"][0][1] == pytest.approx(shown.agreement.rho[0, 1])
    pairs = pairs_payload(CASE, shown.found["exclip"], region, chosen)
    order = patch_order(region.foreground, 196)
    assert pairs["order"] == order.tolist() and pairs["first"] == region.foreground.sum()
    values = np.frombuffer(base64.b64decode(pairs["values"]), "<f4").reshape(len(pairs["units"]), 196)
    np.testing.assert_array_equal(values[chosen], shown.found["exclip"].patches[..., chosen].ravel()[order])


def test_a_measure_without_relevance_says_0_0_and_is_not_drawn(shown: Board) -> None:
    nothing = np.full_like(shown.found["chefer"].image, np.nan)
    patches = shown.found["chefer"].patches.copy()
    patches[3, 4] = np.nan
    empty = replace(shown.found["chefer"], image=nothing, patches=patches)
    found = {**shown.found, "chefer": empty}
    altered = replace(shown, found=found, agreement=agreement_of(CASE, shown.target, found))
    assert "0/0" in notes(OWN, altered)["chefer"]
    assert notes(OWN, replace(altered, found={**found, "chefer": replace(empty, image=shown.found["chefer"].image)}))[
        "chefer"
    ].startswith("no word is relevant at all to 1 patches")
    assert board_payload(CASE, OWN, altered, 2, (14, 14))["agreement"]["rho"][3][0] is None
    assert headline(CASE, altered).startswith("First for the image: ")
    everywhere = replace(altered, found={**found, "chefer": replace(empty, patches=np.full_like(patches, np.nan))})
    cell = map_cells(CASE, OWN, everywhere, 2, None)[4]
    assert cell.error and cell.values is None


def test_blame_of_a_difference_adds_up_to_its_cosine() -> None:
    case = Case(image="toy-2", prompts=SCENE.prompts, caption="a blue circle -- grass", patch=(3, 4))
    shown, blame = board(case, OWN), blame_of(case)
    assert shown.target.units.count("[end]") == 2
    terms = blame_terms(case, blame, None)
    assert terms.sum() == pytest.approx(float(blame.similarity[0, 3, 4, 0]), abs=1e-4)
    region = services.region(CASE)
    whole = blame_terms(Case(), blame, region).sum()
    values = blame.similarity[0, ..., 0]
    assert whole == pytest.approx(values[region.foreground].mean() - values[region.background].mean(), abs=1e-4)
    figure = plot_word_blame(blame.labels, terms, "<b>")
    assert list(figure.data[0].y) == list(terms) and "&lt;b&gt;" in figure.layout.title.text


def test_the_matrix_of_notebooks_puts_the_region_first() -> None:
    foreground = np.array([[False, True], [False, True]])
    assert patch_order(foreground, 4).tolist() == [1, 3, 0, 2] and patch_order(None, 4).tolist() == [0, 1, 2, 3]
    figure = plot_word_matrix(np.arange(8.0).reshape(2, 2, 2), ["a", "b"], foreground=foreground, patch=(1, 1))
    assert len(figure.data[MATRIX_CURVE].x) == 4
    np.testing.assert_array_equal(figure.data[1].z, [[2, 6, 0, 4], [3, 7, 1, 5]])


def test_files_hold_the_numbers_of_the_page(shown: Board) -> None:
    table = pd.read_csv(io.StringIO(words_table(shown).to_csv(index=False)))
    row = table[(table.measure == "gradients") & (table.position == 2)]
    assert row.relevance.item() == pytest.approx(float(shown.found["gradients"].image[2]), abs=1e-6)
    arrays = np.load(io.BytesIO(words_npz(shown)))
    np.testing.assert_array_equal(arrays["exclip_patches"], shown.found["exclip"].patches)
    content = json.loads(words_json(CASE, OWN, shown))
    assert content["measures"]["left_out"]["relevance"][0] is None
    assert content["measures"]["gradients"]["completeness_gap"] == shown.found["gradients"].gap


def test_the_lines_run_and_give_the_numbers_of_the_page(shown: Board) -> None:
    found: dict = {}
    exec(python_words(replace(CASE, patch=(3, 4)), OWN, ["tokens", "exclip"]), found)
    for name in ("tokens", "exclip"):
        np.testing.assert_allclose(found["found"][name].patches, shown.found[name].patches, atol=2e-5, err_msg=name)


def test_a_model_without_token_features_says_so_and_leaves_one_out(open_app, monkeypatch) -> None:
    def refuse(_model: object) -> None:
        raise ValueError("Expected the text tower of this model to be causal")

    monkeypatch.setattr("dashboard.pages.words.results.token_tower", refuse)
    app = open_app(Case(image="toy-2"), page="words")
    assert not app.exception and not error_texts(app)
    (sent,) = component_data(app, "clip_theatre_words_board")
    assert [bool(row["note"]) for row in sent["measures"]] == [False, *[True] * 6] and sent["agreement"] is None


def test_no_caption_asks_for_one_and_no_words_are_refused(open_app, monkeypatch) -> None:
    app = open_app(Case(image="toy-2", prompts=SCENE.prompts, caption="grass -- grass"), page="words")
    assert "whose features cancel" in error_texts(app)
    monkeypatch.setattr("dashboard.pages.words.body.caption_of", lambda case: "")
    app = open_app(Case(image="toy-2"), page="words")
    assert not app.exception and "Type a sentence" in app.info[0].value


def test_typing_the_samples_own_caption_keeps_the_address_short(open_app) -> None:
    app = open_app(Case(image="toy-2", word=3), page="words")
    box = next(field for field in app.text_input if field.label == "Caption")
    box.set_value("grass  with\ta circle").run()
    assert app.session_state["view"].case.caption == "grass with a circle"
    assert app.session_state["view"].case.word is None
    box = next(field for field in app.text_input if field.label == "Caption")
    box.set_value(SCENE.caption).run()
    assert app.session_state["view"].case.caption == "" and services.sample(CASE).caption == SCENE.caption
