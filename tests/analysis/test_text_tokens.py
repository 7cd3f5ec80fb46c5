"""Captions token by token: published feature surgery over tokens, words left out one by one, and where words point."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.regions import Region
from analysis.text_tokens import (
    compute_token_relevance,
    leave_one_word_out,
    read_caption,
    remove_span,
    word_region_hits,
)
from data.toy import make_scenes
from surgery import METHODS, DenseFeatures, Model, encode_dense, load_model, similarity
from surgery.words import PromptCutWarning

CAPTION = "A red circle and a zebra's blue ring on grass"


@pytest.fixture(scope="module")
def toy() -> Model:
    return load_model("toy", device="cpu", precision="fp64")


@pytest.fixture(scope="module")
def features(toy: Model) -> DenseFeatures:
    """Two scenes on a 4 x 6 grid."""
    images = [scene.image for scene in make_scenes(2, seed=5)]
    patch = toy.tower.patch_px
    return encode_dense(toy, toy.preprocess(images, size=(4 * patch[0], 6 * patch[1])), METHODS["clip_surgery"])


@pytest.fixture(scope="module")
def region() -> Region:
    foreground = np.zeros((4, 6), bool)
    foreground[1:3, 2:5] = True
    return Region(foreground, ~foreground)


def token_features(toy: Model, caption: str) -> Tensor:
    """Unit features (77 or so, d) of all positions, through open_clip's own modules."""
    clip, ids = toy.clip, toy.tokenizer([caption])
    x = clip.token_embedding(ids) + clip.positional_embedding
    x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask))
    return F.normalize(x @ clip.text_projection, dim=-1)[0].detach()


def test_words_are_rebuilt_from_their_pieces(toy: Model) -> None:
    caption = "A Zebra's red-hot ring &amp; dog"
    read = read_caption(toy, caption)
    assert [word.text for word in read.words] == ["A", "Zebra", "'s", "red", "-", "hot", "ring", "&amp;", "dog"]
    assert all(caption[slice(*word.span)] == word.text for word in read.words)
    for word in read.words:
        pieces = "".join(read.tokens[i].piece for i in word.tokens)
        assert pieces == {"&amp;": "&"}.get(word.text, word.text.lower())
    assert max(len(word.tokens) for word in read.words) > 1  # the small vocabulary has no "zebra"
    assert sum((word.tokens for word in read.words), ()) == tuple(range(1, len(read.tokens) - 1))
    assert [token.is_special for token in read.tokens] == [True] + [False] * (len(read.tokens) - 2) + [True]


def test_phrases_are_found_as_whole_words(toy: Model) -> None:
    read = read_caption(toy, "a spring by a RED-hot  ring")
    assert read.find("ring") == (7,) and read.find("a  red") == (3, 4)
    assert read.find("red-hot ring") == (4, 5, 6, 7)
    for phrase in ("rin", "hot red", "", "circle"):
        with pytest.raises(ValueError, match="Expected phrase to be words of the caption 'a spring by"):
            read.find(phrase)


def test_values_of_words_are_means_over_their_pieces(toy: Model) -> None:
    read = read_caption(toy, "zebra ring")
    values = np.arange(2.0 * len(read.tokens)).reshape(2, -1)
    count = len(read.words[0].tokens)
    expected = np.stack([values[:, 1 : 1 + count].mean(1), values[:, 1 + count : -1].mean(1)], axis=1)
    np.testing.assert_allclose(read.per_word(values), expected)
    assert read_caption(toy, "").per_word(values[:, :2]).shape == (2, 0)


def test_relevance_is_published_feature_surgery_over_all_tokens(toy: Model, features: DenseFeatures) -> None:
    relevance = compute_token_relevance(toy, features, CAPTION)
    k = len(relevance.caption.tokens)
    text = token_features(toy, CAPTION)[:k]
    image = torch.cat([features.cls[:, None], features.patches.flatten(1, 2)], dim=1)
    image = F.normalize(image, dim=-1)
    probability = (image[:, :1] @ text.T * 2).softmax(-1)
    products = image[:, :, None] * text * (probability / probability.mean(-1, keepdim=True))[..., None]
    expected = (products - products.mean(2, keepdim=True)).sum(-1)  # (b, 1 + n, k)
    np.testing.assert_allclose(relevance.cls, expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(relevance.matrix, expected[:, 1:], atol=1e-6)
    np.testing.assert_allclose(relevance.patches[1, 2, 3], relevance.matrix[1, 2 * 6 + 3])
    assert relevance.kind == "feature surgery" and relevance.matrix.dtype == np.float32
    np.testing.assert_allclose(relevance.matrix.sum(-1), 0, atol=1e-5)


def test_the_end_token_is_the_caption_itself(toy: Model, features: DenseFeatures) -> None:
    relevance = compute_token_relevance(toy, features, CAPTION, remove_redundancy=False)
    plain = similarity(features, toy.encode_text([CAPTION]))
    assert relevance.kind == "cosine"
    np.testing.assert_allclose(relevance.cls[:, -1], plain.cls[:, 0], atol=1e-6)
    np.testing.assert_allclose(relevance.patches[..., -1], plain.patches[..., 0], atol=1e-6)


def test_a_token_sees_only_those_before_it(toy: Model, features: DenseFeatures) -> None:
    one, other = (
        compute_token_relevance(toy, features, caption, remove_redundancy=False).patches
        for caption in ("a red circle on grass", "a red circle by night")
    )
    np.testing.assert_allclose(one[..., :4], other[..., :4], atol=1e-6)
    assert np.abs(one[..., -1] - other[..., -1]).max() > 1e-3


def test_the_empty_caption_has_its_two_special_tokens(toy: Model, features: DenseFeatures) -> None:
    relevance = compute_token_relevance(toy, features, "")
    assert relevance.caption.words == () and relevance.cls.shape == (2, 2)


def test_a_phrase_map_is_the_mean_over_its_words(toy: Model, features: DenseFeatures) -> None:
    relevance, ablation = compute_token_relevance(toy, features, CAPTION), leave_one_word_out(toy, features, CAPTION)
    zebra, ring = (relevance.caption.words[i].tokens for i in relevance.caption.find("zebra's blue ring")[::3])
    means = [relevance.patches[1][..., list(tokens)].mean(-1) for tokens in (zebra, ring)]
    np.testing.assert_allclose(relevance.phrase_map("zebra", 1), means[0])
    np.testing.assert_allclose(
        relevance.phrase_map("blue ring", 1) * 2 - relevance.phrase_map("blue", 1), means[1], atol=1e-6
    )
    np.testing.assert_allclose(ablation.phrase_map("A red", 1), ablation.patch_drop[1][..., :2].mean(-1))


def test_leaving_words_out_is_encoding_the_shortened_prompts(
    toy: Model, features: DenseFeatures, region: Region
) -> None:
    ablation = leave_one_word_out(toy, features, CAPTION, region)
    assert ablation.shortened[:3] == (
        "red circle and a zebra's blue ring on grass",
        "A circle and a zebra's blue ring on grass",
        "A red and a zebra's blue ring on grass",
    )
    assert ablation.shortened[5:7] == (
        "A red circle and a 's blue ring on grass",
        "A red circle and a zebra blue ring on grass",
    )
    assert len(ablation.shortened) == len(ablation.caption.words) == 11
    whole = similarity(features, toy.encode_text([CAPTION]))
    np.testing.assert_allclose(ablation.cls, whole.cls[:, 0], atol=1e-6)
    np.testing.assert_allclose(ablation.patches, whole.patches[..., 0], atol=1e-6)
    for word, prompt in enumerate(ablation.shortened):
        one = similarity(features, toy.encode_text([prompt]))
        np.testing.assert_allclose(ablation.cls_drop[:, word], whole.cls[:, 0] - one.cls[:, 0], atol=1e-6)
        drop = (whole.patches - one.patches)[..., 0].numpy()
        np.testing.assert_allclose(ablation.patch_drop[..., word], drop, atol=1e-6)
        contrast = drop[:, region.foreground].mean(1) - drop[:, region.background].mean(1)
        np.testing.assert_allclose(ablation.contrast_drop[:, word], contrast, atol=1e-6)
    expected = [ablation.patches[:, mask].mean(1) for mask in (region.foreground, region.background)]
    np.testing.assert_allclose(ablation.contrast, expected[0] - expected[1], atol=1e-6)


def test_words_left_out_leave_the_tokens_of_the_others(toy: Model) -> None:
    caption = "A Zebra's red-hot ring, &amp; dog"
    words = read_caption(toy, caption).words
    ids = [token.id for token in read_caption(toy, caption).tokens]
    for word in words:
        shorter = [token.id for token in read_caption(toy, remove_span(caption, word.span)).tokens]
        assert shorter == [id for i, id in enumerate(ids) if i not in word.tokens]


def test_without_a_region_there_is_no_contrast(toy: Model, features: DenseFeatures) -> None:
    ablation = leave_one_word_out(toy, features, "ring")
    assert ablation.shortened == ("",) and ablation.contrast is None and ablation.contrast_drop is None


def test_a_long_caption_is_cut_with_one_warning(toy: Model, features: DenseFeatures) -> None:
    caption = "a red circle on grass and " * 8
    limit = toy.clip.positional_embedding.shape[0]
    for function in (compute_token_relevance, leave_one_word_out):
        with pytest.warns(PromptCutWarning, match=f'at most {limit} tokens.* kept up to "') as caught:
            result = function(toy, features, caption)
        assert len(caught) == 1
        assert len(result.caption.tokens) == limit and len(result.caption.words) == limit - 2
    assert {len(prompt.split()) for prompt in result.shortened} == {limit - 3}


def test_hits_compare_maps_with_regions(toy: Model, features: DenseFeatures, region: Region) -> None:
    relevance = compute_token_relevance(toy, features, "ring on grass")
    ring, _, grass = (list(word.tokens) for word in relevance.caption.words)
    patches = relevance.patches.copy()
    patches[1][..., ring] = region.foreground[..., None]
    patches[1][..., grass] = np.where(region.background, 0.0, 1.0)[..., None]  # flipped
    background = Region(region.background, region.foreground)
    hits = word_region_hits(replace(relevance, patches=patches), {"ring": region, "grass": background}, image=1)
    assert [hit.phrase for hit in hits] == ["ring", "grass"]
    assert [(hit.hit, hit.auc) for hit in hits] == [(1.0, 1.0), (0.0, 0.0)]
    assert [hit.chance for hit in hits] == pytest.approx([6 / 24, 18 / 24])
    ablation = leave_one_word_out(toy, features, "ring on grass")
    (hit,) = word_region_hits(ablation, {"ring": region})
    drop = ablation.patch_drop[0][..., 0]
    assert hit.hit == region.foreground.ravel()[drop.argmax()]


def siglip_like(pool_type: str = "last") -> SimpleNamespace:
    """A model whose text tower sees all tokens at once and is read at its last one."""
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
    text = {"context_length": 8, "width": 16, "heads": 2, "layers": 1, "pool_type": pool_type, "no_causal_mask": True}
    return SimpleNamespace(name="ViT-like-SigLIP", clip=open_clip.model.CustomTextCLIP(8, vision, text))


def test_towers_without_token_features(features: DenseFeatures) -> None:
    with pytest.raises(
        ValueError, match=r'text tower of ViT-like-SigLIP to be causal.*TextTransformer that pools "last"'
    ):
        compute_token_relevance(siglip_like(), features, CAPTION)
    foreign = nn.Module()
    foreign.text = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"text tower of multilingual to be causal.*but got Linear"):
        compute_token_relevance(SimpleNamespace(name="multilingual", clip=foreign), features, CAPTION)


def test_errors(toy: Model, features: DenseFeatures, region: Region) -> None:
    with pytest.raises(ValueError, match="Expected caption to hold at least one word, but got '  '"):
        leave_one_word_out(toy, features, "  ")
    with pytest.raises(ValueError, match=r"special tokens \['<end_of_text>'\]"):
        compute_token_relevance(toy, features, "a ring <end_of_text> and more")
    with pytest.raises(ValueError, match="Expected region to be of the grid"):
        leave_one_word_out(toy, features, CAPTION, Region(np.eye(2, dtype=bool), ~np.eye(2, dtype=bool)))
    with pytest.raises(ValueError, match="Expected phrase to be words of the caption"):
        word_region_hits(compute_token_relevance(toy, features, CAPTION), {"square": region})


def test_nothing_is_written_and_nothing_warned(toy: Model, features: DenseFeatures, private_cache) -> None:
    before = sorted(private_cache.rglob("*"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_token_relevance(toy, features, "one more caption")
        leave_one_word_out(toy, features, "one more caption")
    assert sorted(private_cache.rglob("*")) == before
