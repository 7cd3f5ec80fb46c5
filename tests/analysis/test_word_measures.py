"""Measures of words side by side: against the functions they come from, their sums, and what 0 / 0 means."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from analysis import compute_token_relevance, integrated_gradients, leave_one_word_out
from analysis.agreement import critical_rho, rank_agreement
from analysis.explainers import explain_caption
from analysis.text_paths import BASELINES, integrate_vectors, token_path
from analysis.text_tokens import read_caption
from analysis.word_measures import WORD_MEASURES, word_relevance
from analysis.word_targets import read_target
from data.samples import load_sample
from surgery import METHODS, encode_dense, load_model

CAPTION = "a red circle on grass"
SUM = "a red circle -- grass"


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture(scope="module")
def pixels(toy):
    return toy.preprocess([load_sample("toy-2").image.to_pil()], size=56)


@pytest.fixture(scope="module")
def features(toy, pixels):
    return encode_dense(toy, pixels, METHODS["clip"])


@pytest.fixture(scope="module")
def found(toy, pixels, features):
    target = read_target(toy, CAPTION)
    return {name: word_relevance(toy, features, target, name, pixels=pixels) for name in WORD_MEASURES}


def test_every_measure_has_a_value_a_word_and_a_map_a_word(found):
    for name, one in found.items():
        assert one.target.units == ("[start]", "a", "red", "circle", "on", "grass", "[end]")
        assert one.image.shape == (7,) and one.patches.shape == (7, 7, 7), name
        assert np.isfinite(one.image[1:-1]).all() and one.image[1:-1].any(), name


def test_they_are_what_the_library_says_of_the_image(toy, pixels, features, found):
    drop = leave_one_word_out(toy, features, CAPTION)
    np.testing.assert_allclose(found["left_out"].image[1:-1], drop.cls_drop[0], atol=1e-6)
    np.testing.assert_allclose(found["left_out"].patches[..., 1:-1], drop.patch_drop[0], atol=1e-6)
    tokens = compute_token_relevance(toy, features, CAPTION)
    np.testing.assert_allclose(
        found["tokens"].patches[..., 1:-1], tokens.caption.per_word(tokens.patches[0]), atol=1e-6
    )
    for name in ("chefer", "chefer_all", "grad_eclip", "grad_eclip_own_heads"):
        np.testing.assert_allclose(
            found[name].image[1:-1], explain_caption(toy, pixels, CAPTION, name).words[0], atol=1e-5
        )
    said = explain_caption(toy, pixels, CAPTION, "exclip")
    np.testing.assert_allclose(found["exclip"].patches[..., 2], said.pairs[0, 2], atol=1e-6)
    np.testing.assert_allclose(found["exclip"].image, said.tokens[0], atol=1e-6)
    gradients = integrated_gradients(toy, features, CAPTION)
    np.testing.assert_allclose(found["gradients"].image[1:-1], gradients.words, atol=1e-5)
    assert found["gradients"].gap == pytest.approx(gradients.gap, abs=1e-5)


def test_shares_of_a_patch_add_up_or_are_nothing(found):
    for name in ("chefer", "grad_eclip"):
        sums = found[name].patches[..., 1:-1].sum(axis=-1)
        empty = np.isnan(sums)
        np.testing.assert_allclose(sums[~empty], 1, atol=1e-5)
        assert found[name].empty_patches == empty.sum() and not found[name].is_empty


def test_where_nothing_is_relevant_there_is_no_share(toy, features):
    from surgery import DenseFeatures

    against = DenseFeatures(-toy.encode_text([CAPTION])[None, 0], features.patches, features.method, features.model)
    found = word_relevance(toy, against, read_target(toy, CAPTION), "grad_eclip", patches=False)
    assert found.patches is None and (found.is_empty or np.isfinite(found.image[1:-1]).all())
    silent = DenseFeatures(torch.zeros_like(features.cls), features.patches, features.method, features.model)
    assert word_relevance(toy, silent, read_target(toy, CAPTION), "chefer", patches=False).is_empty


@pytest.mark.parametrize("baseline", BASELINES)
def test_integrated_vectors_add_up_to_the_change_of_the_feature(toy, baseline):
    exact = load_model("toy", device="cpu", precision="fp64")
    path = token_path(exact, read_caption(exact, CAPTION), baseline)
    start, whole = path.ends()
    found, error = integrate_vectors(path, 32), {"padding": 1e-4, "mean": 1e-4, "empty": 1e-3}[baseline]
    torch.testing.assert_close(found.sum(dim=0), whole - start, atol=error, rtol=0)
    torch.testing.assert_close(whole, exact.encode_text([CAPTION])[0], atol=1e-6, rtol=0)


def test_the_empty_baseline_is_the_caption_without_its_words(toy):
    exact = load_model("toy", device="cpu", precision="fp64")
    start, _ = token_path(exact, read_caption(exact, CAPTION), "empty").ends()
    tower, end = exact.clip, len(read_caption(exact, CAPTION).tokens) - 1
    ids = exact.tokenizer([""])[:, :2]
    positions = tower.positional_embedding[[0, end]]
    x = tower.transformer(tower.token_embedding(ids) + positions, attn_mask=tower.attn_mask[:2, :2])
    expected = F.normalize(tower.ln_final(x)[0, -1] @ tower.text_projection, dim=-1)
    torch.testing.assert_close(start, expected, atol=1e-9, rtol=0)


def test_a_difference_of_captions_is_explained_term_by_term(toy, pixels, features):
    target = read_target(toy, SUM)
    torch.testing.assert_close(target.feature, toy.encode_text([SUM])[0], atol=1e-6, rtol=0)
    assert target.units == ("[start]", "a", "red", "circle", "[end]", "[start]", "grass", "[end]")
    assert target.first_units == (0, 5) and target.word_units == (1, 2, 3, 6)
    plus, minus = (term.weight for term in target.terms)
    assert plus == -minus > 0
    alone = word_relevance(toy, features, read_target(toy, "grass"), "cosine")
    both = word_relevance(toy, features, target, "cosine")
    np.testing.assert_allclose(both.patches[..., 6], minus * alone.patches[..., 1], atol=1e-6)
    dropped = word_relevance(toy, features, target, "left_out")
    without = F.normalize(torch.stack([target.feature, toy.encode_text(["a circle -- grass"])[0]]), dim=-1)
    expected = F.normalize(features.patches[0], dim=-1) @ (without[0] - without[1])
    np.testing.assert_allclose(dropped.patches[..., 2], expected.numpy(), atol=1e-6)
    shares = word_relevance(toy, features, target, "chefer").image[list(target.word_units)]
    assert shares.sum() == pytest.approx(1, abs=1e-5) and (shares >= 0).all()
    gradients = word_relevance(toy, features, target, "gradients", patches=False)
    assert abs(gradients.gap) < 1e-4
    with_maps = word_relevance(toy, features, target, "gradients")
    np.testing.assert_allclose(gradients.image, with_maps.image, atol=1e-5)


def test_rank_agreement():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9))
    from scipy.stats import spearmanr

    found = rank_agreement({"a": a, "b": b, "flat": np.zeros(9)})
    assert found.rho[0, 1] == pytest.approx(spearmanr(a, b).statistic) and found.mean == pytest.approx(found.rho[0, 1])
    assert np.isnan(found.rho[2]).all() and found.items == 9
    assert critical_rho(5) == 1 and critical_rho(7) == pytest.approx(0.786, abs=1e-3)
    assert critical_rho(10) == pytest.approx(0.632, abs=2e-3)
    with pytest.raises(ValueError, match="one length n >= 2"):
        rank_agreement({"a": a, "b": b[1:]})


def test_errors(toy, features):
    target = read_target(toy, CAPTION)
    with pytest.raises(ValueError, match=r"one of left_out, tokens.*but got 'chance'"):
        word_relevance(toy, features, target, "chance")
    with pytest.raises(ValueError, match="Expected pixels to be given"):
        word_relevance(toy, features, target, "exclip")
    with pytest.raises(ValueError, match="whose features cancel"):
        read_target(toy, "grass -- grass")
    with pytest.raises(ValueError, match="at least one word"):
        read_target(toy, " ")
