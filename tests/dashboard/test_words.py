"""The Words page without a browser: values, figures, exports, snippet."""

import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import leave_one_word_out
from dashboard import services
from dashboard.case import Case
from dashboard.figures.words import MATRIX_CURVE, patch_order, plot_word_bars, plot_word_matrix
from dashboard.pages.words import results as words_results
from dashboard.pages.words.body import gradients_note
from dashboard.pages.words.exports import python_words, words_json, words_npz, words_png, words_table
from dashboard.pages.words.line import shade_limit, words_payload
from dashboard.pages.words.results import chosen_unit, gradients_of, unit_answers, word_values
from dashboard.pages.words.settings import WordsSettings
from data.samples import load_sample
from surgery import METHODS, dense_features, load_model
from tests.dashboard.conftest import carried_out, component_data, error_texts

SCENE = load_sample("toy-2")
CASE = Case(image="toy-2", prompts=SCENE.prompts, region=f"object:{next(iter(SCENE.masks))}")


def test_leaving_out_is_that_of_the_library_and_skips_start_and_end() -> None:
    values = word_values(CASE, "left_out")
    model = load_model("toy")
    trace = model.trace(model.preprocess([SCENE.image.to_pil()]))
    expected = leave_one_word_out(model, dense_features(trace, METHODS["clip_surgery"]), SCENE.caption)
    np.testing.assert_allclose(values.image[1:-1], expected.cls_drop[0], atol=1e-5)
    np.testing.assert_allclose(values.patches[..., 1:-1], expected.patch_drop[0], atol=1e-5)
    assert np.isnan(values.image[[0, -1]]).all() and np.isnan(values.patches[..., [0, -1]]).all()


def test_tokens_after_surgery_sum_to_zero_start_and_end_included() -> None:
    values = word_values(CASE, "tokens")
    assert values.units[0] == "[start]" and values.units[-1] == "[end]"
    assert all(len(word.tokens) == 1 for word in values.caption.words)
    np.testing.assert_allclose(values.patches.sum(axis=-1), 0, atol=1e-4)


def test_the_shown_word_is_the_chosen_one_else_the_most_relevant() -> None:
    values = word_values(CASE, "left_out")
    assert chosen_unit(CASE, values) == int(np.nanargmax(values.image))
    assert chosen_unit(Case(word=2), values) == 2
    assert chosen_unit(Case(word=0, patch=(3, 4)), values) == int(np.nanargmax(values.patches[3, 4]))
    assert chosen_unit(Case(word=999), values) == chosen_unit(CASE, values)


@pytest.mark.filterwarnings("ignore::surgery.words.PromptCutWarning")
def test_the_line_marks_what_has_no_value_and_what_was_cut() -> None:
    case = Case(image="toy-2", caption=" ".join(["a red circle on grass"] * 8))
    values = word_values(case, "left_out")
    sent = words_payload(values, values.image, shade_limit(values, of_patch=False), 1, "label")
    assert [unit["value"] is None for unit in sent["units"]] == [True, *[False] * len(values.caption.words), True]
    assert len(values.warnings) == 1 and "was cut" in values.warnings[0]
    assert case.caption.endswith(sent["tail"]) and sent["tail"]
    assert max(abs(unit["value"]) for unit in sent["units"][1:-1]) <= sent["limit"]


def test_warnings_of_the_process_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple] = []

    def looking(name: str):
        compute = getattr(words_results, name)

        def look(*arguments: object, **options: object):
            seen.append((warnings.showwarning, list(warnings.filters)))
            return compute(*arguments, **options)

        monkeypatch.setattr(words_results, name, look)

    for name in ("leave_one_word_out", "compute_token_relevance", "integrated_gradients"):
        looking(name)
    words_results._word_values.clear()
    outside = (warnings.showwarning, list(warnings.filters))
    for measure in ("left_out", "tokens"):
        word_values(CASE, measure)
    carried_out(gradients_of(CASE))
    assert seen == [outside] * 3


def test_bars_hold_every_series_and_escape_words() -> None:
    figure = plot_word_bars(
        ["[start]", "<b>x</b>", "[end]"], np.array([np.nan, -0.5, 0.2]), "<i>", np.zeros(3), np.ones(3), 1
    )
    assert list(figure.data[0].x) == [None, -0.5, 0.2]
    assert [trace.name for trace in figure.data] == ["relevance", "left out", "integrated gradients"]
    assert figure.layout.yaxis.ticktext[1] == "<b>&lt;b&gt;x&lt;/b&gt;</b>"
    assert figure.layout.annotations[0].text == "&lt;i&gt;"
    assert figure.layout.annotations[1].text.startswith("whole image:<br>")  # two lines, so that titles do not meet


def test_the_matrix_puts_the_region_first_and_a_marker_on_every_column() -> None:
    foreground = np.array([[False, True], [False, True]])
    order = patch_order(foreground, 4)
    assert order.tolist() == [1, 3, 0, 2] and patch_order(None, 4).tolist() == [0, 1, 2, 3]
    patches = np.arange(8.0).reshape(2, 2, 2)
    figure = plot_word_matrix(patches, ["a", "b"], foreground=foreground, chosen=1, patch=(1, 1))
    assert len(figure.data[MATRIX_CURVE].x) == 4
    heat = figure.data[1]
    np.testing.assert_array_equal(heat.z, [[2, 6, 0, 4], [3, 7, 1, 5]])
    assert heat.zmin == -heat.zmax and heat.zmax >= 7
    column = next(shape for shape in figure.layout.shapes if shape.x1 - shape.x0 == 1)
    assert column.x0 == 0.5  # patch (1, 1) is number 3, second of the region


def test_files_hold_the_numbers_of_the_page() -> None:
    values, gradients = word_values(CASE, "left_out"), carried_out(gradients_of(CASE))
    table = pd.read_csv(io.StringIO(words_table(values).to_csv(index=False)))
    assert len(table) == 196 * len(values.caption.words)
    second = table[(table.position == 2) & (table.row == 3) & (table.column == 4)]
    assert second.value.item() == pytest.approx(float(values.patches[3, 4, 2]), abs=1e-6)
    arrays = np.load(io.BytesIO(words_npz(values, values, gradients)))
    np.testing.assert_array_equal(arrays["gradients"], gradients.words)
    content = json.loads(words_json(CASE, WordsSettings(), values, values, gradients))
    assert content["units"][0]["integrated gradients"] is None
    assert content["units"][1]["integrated gradients"] == pytest.approx(float(gradients.words[0]))
    assert Image.open(io.BytesIO(words_png(CASE, values, SCENE.image.rgb))).format == "PNG"


@pytest.mark.parametrize("place", [{}, {"patch": (3, 4), "size": 160}], ids=["image", "patch of another size"])
@pytest.mark.parametrize("measure", ["left_out", "tokens", "cosine"])
def test_the_lines_run_and_give_the_numbers_of_the_page(measure: str, place: dict) -> None:
    case = Case(image="toy-2", **place)
    values, found = word_values(case, measure), {}
    exec(python_words(case, measure, SCENE.caption, gradients=True), found)
    shown = found["found"].patch_drop if measure == "left_out" else found["found"].patches
    if measure == "left_out":
        np.testing.assert_allclose(shown[0], values.patches[..., 1:-1], atol=1e-5)
    else:
        np.testing.assert_allclose(found["found"].caption.per_word(shown[0]), values.patches[..., 1:-1], atol=1e-5)
    np.testing.assert_allclose(found["relevance"], unit_answers(case, values)[1:-1], atol=1e-5)
    np.testing.assert_allclose(found["gradients"].words, carried_out(gradients_of(case)).words, atol=1e-5)


def test_the_note_states_the_completeness_gap() -> None:
    gradients = carried_out(gradients_of(CASE))
    assert f"{gradients.gap:+.1e}".replace("-", "−") in gradients_note(gradients)


def test_a_model_without_token_features_says_so_and_leaves_one_out(open_app, monkeypatch) -> None:
    def refuse(_model: object) -> None:
        raise ValueError("Expected the text tower of this model to be causal")

    monkeypatch.setattr("dashboard.pages.words.results.token_tower", refuse)
    app = open_app(Case(image="toy-2"), WordsSettings("cosine"), page="words")
    assert not app.exception and not error_texts(app)
    assert "to be causal" in app.info[0].value.replace("\\", "") and "leave one out" in app.info[0].value
    assert not component_data(app, "clip_theatre_words")
    app = open_app(Case(image="toy-2"), page="words")
    assert not app.exception and not error_texts(app) and component_data(app, "clip_theatre_words")


def test_no_caption_asks_for_one(open_app, monkeypatch) -> None:
    monkeypatch.setattr("dashboard.pages.words.body.caption_of", lambda case: "")
    app = open_app(Case(image="toy-2"), page="words")
    assert not app.exception and "Type a sentence" in app.info[0].value


def test_typing_the_samples_own_caption_keeps_the_address_short(open_app) -> None:
    app = open_app(Case(image="toy-2", word=3), page="words")
    box = next(field for field in app.text_input if field.label == "Caption")
    box.set_value("grass  with\ta circle").run()
    assert (
        app.session_state["view"].case.caption == "grass with a circle" and app.session_state["view"].case.word is None
    )
    box = next(field for field in app.text_input if field.label == "Caption")
    box.set_value(SCENE.caption).run()
    assert app.session_state["view"].case.caption == "" and services.sample(CASE).caption == SCENE.caption
