"""Text features against open_clip's own, slow loops, and the published reference."""

import importlib.util
import warnings
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

import surgery.text
from surgery import load_model
from surgery.prompts import TEMPLATE_SETS
from surgery.text import encode_text, encode_tokens
from surgery.words import PromptCutWarning, tokenize
from tests.surgery.text_models import CUTTABLE, KINDS, WordTokenizer, text_model

TEXTS = ["dog", "", "a very long description of one small dog beside the sea", "grass"]
NO_COCA = [kind for kind in KINDS if kind != "coca"]


@pytest.fixture(scope="module")
def reference(shared):
    return np.load(shared / "reference" / "text.npz")


@pytest.fixture(scope="module")
def conformance(shared):
    spec = importlib.util.spec_from_file_location("pseudo_weights", shared / "reference" / "pseudo_weights.py")
    pseudo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pseudo)
    clip = pseudo.fill(open_clip.model.CLIP(**pseudo.CONFIGS["conformance-vit"]))
    tokenizer, device = open_clip.get_tokenizer("ViT-B-32"), torch.device("cpu")
    return SimpleNamespace(name="conformance", clip=clip, tokenizer=tokenizer, device=device, dtype=torch.float32)


def slow_ensemble(model, texts, templates):
    """One prompt at a time through open_clip's own encode_text."""
    features = []
    for text in texts:
        total = 0
        for template in templates:
            ids = tokenize(model, [template.format(text)])
            with torch.no_grad():
                feature = model.clip.encode_text(ids)[0]
            total = total + feature / feature.norm()
        features.append(total / len(templates))
    return torch.stack([feature / feature.norm() for feature in features])


def test_ensembles_match_the_published_ones(conformance, reference):
    ensemble = encode_text(conformance, [str(text) for text in reference["texts"]], "clip_surgery", cache=False)
    assert np.abs(ensemble.numpy() - reference["ensemble"]).max() < 1e-5
    assert np.abs(encode_text(conformance, [""], "clip_surgery").numpy() - reference["empty"]).max() < 1e-5


def test_tokens_match_the_published_ones(conformance, reference):
    tokens = encode_tokens(conformance, [str(reference["caption"])])
    assert tokens.ids[0].tolist() == reference["caption_ids"].tolist()
    assert np.abs(tokens.features[0].numpy() - reference["caption_token_features"]).max() < 1e-4
    assert np.abs(tokens.pooled[0].numpy() - reference["caption_feature"]).max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_ensembles_match_a_slow_loop(kind):
    model, templates = text_model(kind), ["{}", "a photo of a {}.", "the {} that stands in the far scene"]
    assert torch.allclose(encode_text(model, TEXTS, templates), slow_ensemble(model, TEXTS, templates), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_float64_matches_a_slow_loop_to_1e_10(kind):
    model = text_model(kind, dtype=torch.float64)
    features = encode_text(model, TEXTS, "photo")
    assert features.dtype == torch.float64
    assert (features - slow_ensemble(model, TEXTS, TEMPLATE_SETS["photo"])).abs().max() < 1e-10


@pytest.mark.parametrize("kind", CUTTABLE)
def test_the_tower_never_sees_what_is_cut(kind):
    model, lengths = text_model(kind), []
    model.clip.get_submodule("transformer" if kind == "clip" else "text.transformer").register_forward_pre_hook(
        lambda module, inputs: lengths.append(inputs[0].shape[1])
    )
    encode_text(model, ["dog", "grass"], cache=False)
    assert lengths == [1 if kind == "first" else 3]


@pytest.mark.parametrize("kind", ["bidirectional", "siglip"])
def test_towers_without_causal_mask_are_not_cut(kind):
    model, lengths = text_model(kind), []
    module = model.clip if kind == "bidirectional" else model.clip.text
    module.ln_final.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[1]))
    encode_text(model, ["dog", "grass"], cache=False)
    assert lengths == [24]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_batches_do_not_change_the_result(kind, monkeypatch):
    model = text_model(kind)
    whole = encode_text(model, TEXTS, "photo", cache=False)
    monkeypatch.setattr(surgery.text, "TOKENS_A_BATCH", 1)
    monkeypatch.setattr(surgery.text, "PROMPTS_A_GROUP", 1)
    assert torch.allclose(encode_text(model, TEXTS, "photo", cache=False), whole, atol=1e-6)


def test_one_batch_holds_no_more_than_its_share():
    lengths = torch.tensor([3, 70, 5, 5, 77, 3] * 200)
    batches = list(surgery.text._batches(lengths))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
    assert all(len(rows) * int(lengths[rows].max()) <= surgery.text.TOKENS_A_BATCH for rows in batches)


def test_order_and_repetition_are_the_callers():
    model = text_model()
    features = encode_text(model, ["grass", "dog", "grass"])
    assert torch.equal(features[0], features[2])
    assert torch.allclose(features[[1, 0]], encode_text(model, ["dog", "grass"], cache=False), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32_of_unit_norm(dtype):
    features = encode_text(text_model(dtype=dtype), TEXTS, "photo")
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=-1), torch.ones(len(TEXTS)), atol=1e-5)
    assert F.cosine_similarity(features, encode_text(text_model(), TEXTS, "photo")).min() > 0.99


def test_features_may_take_part_in_autograd():
    model, weight = text_model(), torch.ones(24, requires_grad=True)
    for features in (encode_text(model, ["dog"], cache=False), encode_tokens(model, ["dog"]).features):
        (features * weight).sum().backward()
    assert weight.grad.abs().min() > 0


def test_nothing_of_the_model_is_changed():
    model = text_model()
    before = {name: value.clone() for name, value in model.clip.state_dict().items()}
    encode_text(model, TEXTS, "photo")
    encode_tokens(model, TEXTS)
    assert all(torch.equal(before[name], value) for name, value in model.clip.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.clip.modules())


def test_progress_counts_texts(monkeypatch):
    monkeypatch.setattr(surgery.text, "PROMPTS_A_GROUP", 2)
    seen = []
    encode_text(text_model(), list("abcde"), cache=False, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_hugging_face_towers_are_encoded_whole():
    class Encoder(torch.nn.Module):
        output_dim, context_length, vocab_size = 24, 512, 60

        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(60, 24)

        def forward(self, ids):
            return self.embedding(ids).mean(dim=1)

    model = text_model("custom")
    model.clip.text, model.tokenizer = Encoder(), WordTokenizer()
    assert torch.allclose(encode_text(model, TEXTS, "photo"), slow_ensemble(model, TEXTS, TEMPLATE_SETS["photo"]))
    with pytest.raises(ValueError, match=r"text tower of custom to be open_clip's transformer, but got Encoder"):
        encode_tokens(model, ["dog"])


@pytest.mark.parametrize("kind", NO_COCA)
def test_the_pooled_token_is_open_clips_feature(kind):
    model = text_model(kind)
    tokens = encode_tokens(model, TEXTS)
    with torch.no_grad():
        expected = model.clip.encode_text(tokens.ids)
    assert tokens.features.shape == (4, 24, 24)
    assert torch.allclose(tokens.pooled, expected, atol=1e-5)
    rows = [tokens.features[i, end] for i, end in enumerate(tokens.end.tolist())]
    assert torch.equal(tokens.pooled, torch.stack(rows))


@pytest.mark.parametrize("kind", ["clip", "custom", "linear"])
def test_tokens_match_a_slow_loop(kind):
    model = text_model(kind)
    owner = model.clip if kind == "clip" else model.clip.text
    ids = tokenize(model, TEXTS)
    with torch.no_grad():
        x = owner.token_embedding(ids) + owner.positional_embedding
        for block in owner.transformer.resblocks:
            x = block(x, attn_mask=owner.attn_mask)
        x = owner.ln_final(x)
        projection = owner.text_projection
        expected = projection(x) if kind == "linear" else x @ projection
    assert torch.allclose(encode_tokens(model, TEXTS).features, expected, atol=1e-5)


def test_valid_marks_tokens_up_to_the_end_token():
    tokens = encode_tokens(text_model(), ["dog", "red dog"])
    assert tokens.end.tolist() == [2, 3]
    assert tokens.valid.sum(dim=1).tolist() == [3, 4]
    assert torch.equal(tokens.valid, tokens.ids != 0)


@pytest.mark.parametrize("kind", ["clip", "custom", "linear"])
def test_cut_tokens_keep_their_values(kind):
    model = text_model(kind)
    whole, cut = encode_tokens(model, ["dog", "red dog"]), encode_tokens(model, ["dog", "red dog"], cut=True)
    assert cut.ids.shape == (2, 4)
    assert torch.allclose(cut.features, whole.features[:, :4], atol=1e-5)
    assert torch.allclose(cut.pooled, whole.pooled, atol=1e-5)


def test_bidirectional_tokens_are_never_cut():
    assert encode_tokens(text_model("siglip"), ["dog"], cut=True).features.shape == (1, 24, 24)


def test_a_class_token_tower_has_no_token_features():
    with pytest.raises(ValueError, match="text tower of coca to be open_clip's transformer, but got TextTransformer"):
        encode_tokens(text_model("coca"), ["dog"])


def test_a_long_prompt_says_where_it_was_cut():
    model = text_model()
    with pytest.warns(PromptCutWarning, match=r'at most 24 tokens, .* but got 502 .* kept up to ".*dog dog"'):
        features = encode_text(model, ["dog " * 500])
    with pytest.warns(PromptCutWarning, match="but got 502"):  # also when the feature comes from the cache
        assert torch.equal(encode_text(model, ["dog " * 500]), features)
    with pytest.warns(PromptCutWarning, match="but got 25 "):
        encode_tokens(model, ["dog " * 23])


def test_a_prompt_that_fits_exactly_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_text(text_model(), ["dog " * 22])


@pytest.mark.parametrize("encode", [encode_text, encode_tokens])
@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ([], ValueError, "at least one text, but got none"),
        (["dog", None], TypeError, "every text to be a string, but got None"),
        ("dog", TypeError, "a list of strings, but got the string 'dog'"),
    ],
)
def test_wrong_texts(encode, texts, error, message):
    with pytest.raises(error, match=message):
        encode(text_model(), texts)


def test_wrong_templates():
    with pytest.raises(ValueError, match="one of none, photo, imagenet, clip_surgery"):
        encode_text(text_model(), ["dog"], "clip-surgery")


def test_the_model_offers_both():
    toy = load_model("toy", device="cpu")
    texts = ["a red circle", ""]
    with torch.no_grad():
        expected = F.normalize(toy.clip.encode_text(toy.tokenizer(texts)), dim=-1)
    assert torch.allclose(toy.encode_text(texts), expected, atol=1e-5)
    assert torch.allclose(F.normalize(toy.token_features(texts).pooled, dim=-1), expected, atol=1e-5)
