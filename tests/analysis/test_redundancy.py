"""Redundancy in closed form against the (n, t, d) tensor of the published code; label sets against recomputation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.label_set import label_set_effect
from analysis.redundancy import compute_redundancy, correlate
from analysis.regions import Region
from surgery.dense import DenseFeatures
from surgery.features import feature_surgery
from surgery.methods import METHODS

LABELS = ["bench", "person", "ground", "building", "sky"]


def make_features(dtype: torch.dtype = torch.float64, images: int = 2, seed: int = 0) -> tuple[DenseFeatures, Tensor]:
    """Features on a 3 x 4 grid and five texts that have something in common, as real ones have."""
    rng = torch.Generator().manual_seed(seed)
    cls, patches, text, shared = (
        torch.randn(shape, generator=rng, dtype=dtype) for shape in ((images, 16), (images, 3, 4, 16), (5, 16), (16,))
    )
    return DenseFeatures(cls, patches + shared, METHODS["clip_surgery"], "random"), text + 2 * shared


def reference_tensors(features: DenseFeatures, text: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted element-wise products (b, 1 + n, t, d) and their mean over the texts, as published."""
    tokens = torch.cat([features.cls[:, None], features.patches.flatten(1, 2)], dim=1)
    tokens, text = F.normalize(tokens, dim=-1), F.normalize(text, dim=-1)
    probability = (2 * tokens[:, :1] @ text.T).softmax(dim=-1)
    weights = probability / probability.mean(dim=-1, keepdim=True)  # (b, 1, t)
    products = tokens[:, :, None] * text[None, None] * weights[..., None]
    return products, products.mean(dim=2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_closed_form_is_the_four_dimensional_tensor(dtype: torch.dtype, tolerance: float) -> None:
    features, text = make_features(dtype)
    products, common = reference_tensors(features, text)
    energy = common.square().sum(-1)  # (b, 1 + n)
    total = products.square().sum(-1).mean(-1)
    channels = common[:, 1:].square().sum(1) / total[:, 1:].sum(1, keepdim=True)

    result = compute_redundancy(features, text, LABELS)

    close = {"rtol": 0, "atol": tolerance}
    np.testing.assert_allclose(result.map.reshape(2, -1), common[:, 1:].sum(-1), **close)
    np.testing.assert_allclose(result.energy.reshape(2, -1), energy[:, 1:], **close)
    np.testing.assert_allclose(result.share.reshape(2, -1), (energy / total)[:, 1:], **close)
    np.testing.assert_allclose(result.cls_share, (energy / total)[:, 0], **close)
    np.testing.assert_allclose(result.channel_share, channels, **close)
    assert result.share.min() > 0.1  # the texts do have something in common


def test_the_map_is_what_feature_surgery_takes_off() -> None:
    features, text = make_features()
    products, _ = reference_tensors(features, text)
    result = compute_redundancy(features, text, LABELS)
    after = feature_surgery(features, text).patches.flatten(1, 2)
    removed = products[:, 1:].sum(-1) - after  # (b, n, t), the same for every text
    np.testing.assert_allclose(result.map.reshape(2, -1, 1).repeat(5, axis=2), removed, atol=1e-6)


def test_weights_favour_the_texts_of_the_image() -> None:
    features, text = make_features()
    result = compute_redundancy(features, text, LABELS)
    cosines = (F.normalize(features.cls, dim=-1) @ F.normalize(text, dim=-1).T).numpy()
    np.testing.assert_allclose(result.weights.mean(axis=1), 1, atol=1e-6)
    assert (result.weights.argsort(axis=1) == cosines.argsort(axis=1)).all()
    ratio = np.log(result.weights[:, 0] / result.weights[:, 1])  # softmax of 2 c: log ratios are twice the differences
    np.testing.assert_allclose(ratio, 2 * (cosines[:, 0] - cosines[:, 1]), atol=1e-5)


def test_strongest_channels_come_in_descending_order() -> None:
    features, text = make_features()
    text[:, 7] = 50.0  # one channel that all texts share
    result = compute_redundancy(features, text, LABELS)
    for image in range(2):
        channels = result.strongest_channels(3, image)
        assert channels[0] == 7
        assert channels.tolist() == sorted(range(16), key=lambda c: -result.channel_share[image, c])[:3]


def test_identical_texts_are_redundant_altogether_and_disjoint_ones_hardly() -> None:
    features, text = make_features()
    same = compute_redundancy(features, text[:1].expand(5, -1), LABELS)
    np.testing.assert_allclose(same.share, 1, atol=1e-6)
    disjoint = compute_redundancy(features, torch.eye(16, dtype=torch.float64)[:5], LABELS)
    assert disjoint.share.max() < 0.3  # 1/5 with equal weights: nothing in common but the mean itself


def test_single_text_against_a_given_one() -> None:
    features, text = make_features()
    empty = text[1]
    tokens, t, e = (F.normalize(z, dim=-1) for z in (features.patches, text[:1], empty))
    result = compute_redundancy(features, text[:1], LABELS[:1], redundant=empty)
    redundant, specific = (tokens * e).square().sum(-1), (tokens * (t - e)).square().sum(-1)
    np.testing.assert_allclose(result.map, tokens @ e, atol=1e-6)
    np.testing.assert_allclose(result.share, redundant / (redundant + specific), atol=1e-6)
    np.testing.assert_allclose(result.weights, 1)
    assert result.common == "given text"


def test_correlations_are_pearsons_over_the_patches() -> None:
    features, text = make_features()
    result = compute_redundancy(features, text, LABELS)
    cosines = F.normalize(features.patches, dim=-1) @ F.normalize(text, dim=-1).T
    surgery = feature_surgery(features, text).patches
    for image in range(2):
        before, after = (maps[image].flatten(0, 1).numpy().T for maps in (cosines, surgery))
        np.testing.assert_allclose(result.correlation_before[image], np.corrcoef(before), atol=1e-6)
        np.testing.assert_allclose(result.correlation_after[image], np.corrcoef(after), atol=1e-6)


def test_a_constant_map_has_no_correlation() -> None:
    maps = torch.stack([torch.arange(6.0), -torch.arange(6.0), torch.full((6,), 0.3)], dim=-1)[None]
    result = correlate(maps)[0]
    np.testing.assert_allclose(result[:2, :2], [[1, -1], [-1, 1]], atol=1e-6)
    assert result[2].isnan().all()


def recomputed(features: DenseFeatures, text: Tensor) -> np.ndarray:
    return feature_surgery(features, text).patches.flatten(1, 2).numpy()


def test_leaving_each_label_out_is_feature_surgery_of_the_others() -> None:
    features, text = make_features()
    full = recomputed(features, text)
    result = label_set_effect(features, text, LABELS)
    assert result.changes == tuple(LABELS) and not any(result.joined)
    for k in range(5):
        kept = [i for i in range(5) if i != k]
        maps = recomputed(features, text[kept])
        np.testing.assert_allclose(result.mean_change[:, k, kept], np.abs(maps - full[..., kept]).mean(1), atol=1e-6)
        for image in range(2):
            expected = [np.corrcoef(maps[image, :, j], full[image, :, i])[0, 1] for j, i in enumerate(kept)]
            np.testing.assert_allclose(result.correlation[image, k, kept], expected, atol=1e-6)
        assert np.isnan(result.mean_change[:, k, k]).all() and np.isnan(result.correlation[:, k, k]).all()


def test_adding_labels_one_at_a_time() -> None:
    features, text = make_features()
    full = recomputed(features, text[:3])
    result = label_set_effect(features, text[:3], LABELS[:3], add={"building": text[3], "sky": text[4]})
    assert result.changes == ("building", "sky") and all(result.joined)
    for k, new in enumerate((3, 4)):
        maps = recomputed(features, text[[0, 1, 2, new]])[..., :3]
        np.testing.assert_allclose(result.mean_change[:, k], np.abs(maps - full).mean(1), atol=1e-6)


def test_dropping_and_adding_in_one_call_with_contrast() -> None:
    features, text = make_features()
    region = Region(np.eye(3, 4, dtype=bool), np.eye(3, 4, k=1, dtype=bool))
    inside, outside = region.foreground.ravel(), region.background.ravel()

    def contrast(maps: np.ndarray) -> np.ndarray:
        return maps[:, inside].mean(1) - maps[:, outside].mean(1)

    result = label_set_effect(features, text[:4], LABELS[:4], drop=["person"], add={"sky": text[4]}, region=region)
    assert (result.changes, result.joined) == (("person", "sky"), (False, True))
    np.testing.assert_allclose(result.contrast_before, contrast(recomputed(features, text[:4])), atol=1e-6)
    without = contrast(recomputed(features, text[[0, 2, 3]]))
    np.testing.assert_allclose(result.contrast[:, 0, [0, 2, 3]], without, atol=1e-6)
    np.testing.assert_allclose(result.contrast[:, 1], contrast(recomputed(features, text))[:, :4], atol=1e-6)


def test_regions_may_differ_between_images() -> None:
    features, text = make_features()
    first = Region(np.eye(3, 4, dtype=bool), np.eye(3, 4, k=1, dtype=bool))
    second = Region(first.background, first.foreground)
    one, other, both = (label_set_effect(features, text, LABELS, region=r) for r in (first, second, [first, second]))
    np.testing.assert_allclose(both.contrast_before[0], one.contrast_before[0])
    np.testing.assert_allclose(both.contrast_before[1], other.contrast_before[1])
    np.testing.assert_allclose(one.contrast_before, -other.contrast_before, atol=1e-7)


def test_a_label_of_average_weight_moves_all_maps_alike() -> None:
    """Its leaving rescales nothing (c = 1), where the closed form must not divide by c - 1."""
    features, text = make_features()
    same = torch.stack([text[0]] * 3)
    result = label_set_effect(features, same, ["a", "b", "c"])
    np.testing.assert_allclose(result.mean_change[:, 0, 1:], 0, atol=1e-7)
    assert np.isnan(result.mean_change[:, 0, 0]).all()


def test_a_thousand_labels_need_no_thousand_sets_of_maps() -> None:
    from tests.benchmarks.harness import peak_bytes

    features, _ = make_features()
    text = torch.randn(300, features.cls.shape[1], generator=torch.Generator().manual_seed(1))
    every_map = 2 * 12 * 300 * 300 * 4
    assert peak_bytes(lambda: label_set_effect(features, text, [str(i) for i in range(300)])) < every_map


def test_no_region_no_contrast() -> None:
    features, text = make_features()
    result = label_set_effect(features, text, LABELS)
    assert result.contrast is None and result.contrast_before is None


def test_results_are_float32_arrays() -> None:
    features, text = make_features()
    result = compute_redundancy(features, text, LABELS)
    arrays = [getattr(result, name) for name in result.__slots__ if isinstance(getattr(result, name), np.ndarray)]
    assert len(arrays) == 8 and {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_errors() -> None:
    features, text = make_features()
    with pytest.raises(ValueError, match="Expected labels to be 5 names"):
        compute_redundancy(features, text, LABELS[:4])
    with pytest.raises(ValueError, match="Expected labels to be 1 names"):
        compute_redundancy(features, text[:1], "sky", redundant=text[1])
    with pytest.raises(ValueError, match="at least 2 features"):
        compute_redundancy(features, text[:1], LABELS[:1])
    with pytest.raises(ValueError, match=r"shape \(t, 16\)"):
        compute_redundancy(features, text[:, :8], LABELS)
    with pytest.raises(ValueError, match=r"Expected drop to name labels of bench, person.*'moon'"):
        label_set_effect(features, text, LABELS, drop=["moon"])
    with pytest.raises(ValueError, match="Expected labels to be at least 3"):
        label_set_effect(features, text[:2], LABELS[:2])
    with pytest.raises(ValueError, match="Expected labels to be at least 2"):
        label_set_effect(features, text[:1], LABELS[:1], add={"person": text[1]})
    with pytest.raises(ValueError, match="Expected region to be of the grid"):
        region = Region(np.eye(2, dtype=bool), ~np.eye(2, dtype=bool))
        label_set_effect(features, text, LABELS, region=region)
