"""Every array of the published explainers' reference outputs, within 1e-4 of its scale."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from analysis.explainers import explain, explain_caption
from analysis.explainers.captions import grad_eclip_caption, start_caption
from analysis.explainers.explanation import start_pass
from analysis.explainers.grad_eclip import grad_eclip
from analysis.explainers.gradcam import gradcam_of_grad_eclip, gradcam_raw, parse_layer
from analysis.explainers.legrad import legrad
from analysis.text_tokens import token_tower
from surgery.graph import cosines
from surgery.maps import min_max
from surgery.words import tokenize
from tests.conformance import error, open_explainer

TOLERANCE = 1e-4
pytestmark = pytest.mark.filterwarnings("ignore::surgery.RandomWeightsWarning")


def _columns(values):
    """(1, gh, gw, t) -> (t, gh, gw)."""
    return torch.as_tensor(values)[0].movedim(-1, 0)


def _pass(arrays, model, pixels, mode="bicubic"):
    return start_pass(model, pixels, torch.from_numpy(arrays["text_features"]), mode)


@pytest.mark.parametrize("image", ["bench", "horses"])
def test_chefer(shared, image):
    arrays, model, pixels = open_explainer(shared, f"chefer_conformance-vit_{image}_224x224")
    text = model.encode_text(list(map(str, arrays["texts"])))
    for name, suffix in (("chefer", ""), ("chefer_all", "_all_layers")):
        relevance = _columns(explain(model, pixels, text, name).patches).contiguous()
        assert error(relevance.flatten(1), arrays[f"image_relevance{suffix}"]) < TOLERANCE
        if not suffix:
            enlarged = min_max(F.interpolate(relevance[None], size=(224, 224), mode="bilinear"))[0, 0]
            assert error(enlarged, arrays["image_map_text0"]) < TOLERANCE
        for index, caption in enumerate(arrays["texts"]):
            tokens = explain_caption(model, pixels, str(caption), name).tokens[0]
            end = len(tokens) - 1
            row = arrays[f"text_relevance{suffix}"][index][end, 1:end]
            shares = row / row.sum() if row.any() else row  # 0 / 0 in the published code
            assert error(tokens[1:-1], shares) < TOLERANCE
            if not suffix:
                assert error(tokens[1:-1], arrays["text_scores"][index][1:end]) < TOLERANCE
            assert tokens[0] == tokens[-1] == 0


@pytest.mark.parametrize("size", ["224x224", "224x336"])
def test_grad_eclip_and_its_baselines_on_images(shared, size):
    arrays, model, pixels = open_explainer(shared, f"gradeclip_conformance-vit12_horses_{size}")
    run = _pass(arrays, model, pixels, "bicubic_size")
    reading = run.reading().one_head()
    feature = reading.finish(torch.einsum("bhn,bhnd->bhd", reading.pattern(), reading.v))
    found = {
        "eclip_image_n1": _columns(explain(model, pixels, run.text, "grad_eclip").patches),
        "eclip_image_n3": _columns(grad_eclip(run, blocks=3)),
        "eclip_image_script": _columns(grad_eclip(run, projected=True)),
        "eclip_image_script_no_ksim": _columns(grad_eclip(run, key_similarity=False)),
        "maskclip_times_kk": _columns(explain(model, pixels, run.text, "value_kk").patches),
        "gradcam_vit": _columns(gradcam_of_grad_eclip(run)),
        "single_head_cosine": cosines(feature, run.text)[0],
        "self_attention_single_head": reading.pattern()[0, 0, 1:].unflatten(0, run.grid),
    }
    if "single_head_image_feature" in arrays:
        found["single_head_image_feature"] = feature
    if "rollout_image" in arrays:
        found["rollout_image"] = _columns(explain(model, pixels, run.text, "rollout").patches)[0]
    for name, values in found.items():
        if name in arrays:
            assert error(values, arrays[name]) < TOLERANCE, name


def _caption_pass(model, caption, images):
    ids = tokenize(model, [caption])
    tower = token_tower(model)
    return start_caption(tower, ids, int(tower.pooled_index(ids)[0]), images)


@pytest.mark.parametrize("image", ["bench", "horses"])
def test_grad_eclip_on_captions(shared, image):
    arrays, model, _ = open_explainer(shared, f"gradecliptext_conformance-vit12_{image}_224x224")
    for index, caption in list(enumerate(arrays["texts"]))[:: 1 if image == "bench" else 3]:
        run = _caption_pass(model, str(caption), torch.from_numpy(arrays["image_feature"]))
        for blocks in (1, 8):
            row = grad_eclip_caption(run, blocks=blocks)[0, 1:-1]
            row = row / row.sum() if row.any() else row
            assert error(row, arrays[f"eclip_text_n{blocks}"][index][1 : run.end]) < TOLERANCE


def test_grad_eclip_on_a_caption_through_the_public_call(shared):
    arrays, model, _ = open_explainer(shared, "gradeclip_conformance-vit12_horses_224x224")
    pixels = model.preprocess([Image.fromarray(arrays["image_for_text_side"])])
    for index, caption in enumerate(arrays["texts"]):
        said = explain_caption(model, pixels, str(caption), "grad_eclip")
        end = said.tokens.shape[1] - 1
        reference = arrays["eclip_text_n8"][index][: end + 1]
        assert np.abs(said.tokens[0] - reference).max() < TOLERANCE
        assert said.empty[0] == (not reference.any())


@pytest.mark.parametrize("stem", ["horses_224x224", "bench_448x448"])
def test_legrad(shared, stem):
    arrays, model, pixels = open_explainer(shared, f"legrad_conformance-vit_{stem}")
    run = _pass(arrays, model, pixels, "bicubic_antialias")
    maps = {
        "legrad_default": explain(model, pixels, run.text, "legrad").patches,
        "legrad_all": explain(model, pixels, run.text, "legrad_all").patches,
        "legrad_last": legrad(run, blocks=1),
    }
    for name, values in maps.items():
        patches = _columns(values)[None]
        enlarged = min_max(F.interpolate(patches, size=arrays[name].shape[1:], mode="bilinear"))[0]
        assert error(enlarged, arrays[name]) < TOLERANCE, name


@pytest.mark.parametrize("image", ["bench", "horses"])
@pytest.mark.parametrize("tower", ["vit", "rn"])
def test_gradcam(shared, tower, image):
    arrays, model, pixels = open_explainer(shared, f"gradcam_conformance-{tower}_{image}_224x224")
    run = _pass(arrays, model, pixels)
    targets = {"layer4": None} if tower == "rn" else {"ln_1_last": None, "block_before_last": "block.6"}
    for name, layer in targets.items():
        assert error(_columns(gradcam_raw(run, layer=layer)), arrays[f"gradcam_raw.{name}"]) < TOLERANCE
        positive = _columns(gradcam_raw(run, layer=layer)).clamp(min=0)
        scaled = min_max(F.interpolate(min_max(positive)[None], size=(224, 224), mode="bilinear"))[0]
        difference = np.abs(scaled.detach().numpy() - arrays[f"gradcam_scaled.{name}"])
        assert difference.max() < 1e-3, f"{name}: {difference.max()}"
    if tower == "vit":
        assert not arrays["gradcam_raw.ln_2_last"].any()
        with pytest.raises(ValueError, match="before the last attention"):
            parse_layer(model.tower, "ln_2.7")


@pytest.mark.parametrize("image", ["bench", "horses"])
def test_exclip(shared, image):
    arrays, model, pixels = open_explainer(shared, f"exclip_conformance-vit12_{image}_224x224")
    for index, caption in enumerate(arrays["texts"]):
        said = explain_caption(model, pixels, str(caption), "exclip")
        assert error(said.pairs[0], arrays[f"interactions_text{index}"]) < TOLERANCE
        np.testing.assert_allclose(said.tokens, said.pairs.sum(axis=(-2, -1)), atol=1e-7)
