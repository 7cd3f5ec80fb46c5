"""Patch tokens as points: what goes in, what the table says, that a seed fixes the picture, that numba stays away."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from sklearn.metrics import silhouette_score

from analysis.projection import TokenSet, annotate_tokens, project_tokens, token_set_from_features, token_set_from_trace
from analysis.regions import Region
from surgery.dense import DenseFeatures
from surgery.methods import METHODS
from surgery.towers import build_tower
from surgery.trace import Trace, record

ROOT = Path(__file__).resolve().parents[2]


def two_clusters(grid: tuple[int, int] = (4, 6), width: int = 12) -> TokenSet:
    """Left and right half of the grid point in two directions, at random lengths."""
    rng = np.random.default_rng(0)
    centres = np.where((np.arange(grid[1]) < grid[1] // 2)[None, :, None], *rng.standard_normal((2, width)))
    tokens = (centres + 0.1 * rng.standard_normal((*grid, width))) * rng.uniform(1, 9, (*grid, 1))
    return TokenSet(tokens.reshape(-1, width).astype(np.float32), "clip", grid)


@pytest.fixture(scope="module")
def trace() -> Trace:
    torch.manual_seed(0)
    visual = VisionTransformer(
        image_size=32, patch_size=8, width=24, layers=3, heads=2, mlp_ratio=2.0, output_dim=10
    ).eval()
    return record(build_tower(visual), torch.randn(2, 3, 32, 32), model="tiny")


def test_pca_is_the_singular_value_decomposition_of_unit_tokens() -> None:
    item = two_clusters()
    unit = item.tokens / np.linalg.norm(item.tokens, axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    result = project_tokens([item], "pca", dimensions=3)
    for axis in range(3):
        expected = left[:, axis] * values[axis]
        sign = np.sign(expected @ result.coordinates[:, axis])
        np.testing.assert_allclose(result.coordinates[:, axis], sign * expected, atol=1e-5)
    np.testing.assert_allclose(result.explained_variance, (values**2 / (values**2).sum())[:3], atol=1e-6)
    assert list("xyz") == [c for c in result.table if c in "xyz"]


def test_only_directions_count() -> None:
    item = two_clusters()
    longer = replace(item, tokens=item.tokens * np.arange(1, 25, dtype=np.float32)[:, None])
    first, second = (project_tokens([tokens], "pca").coordinates for tokens in (item, longer))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_umap_keeps_clusters_apart_and_is_fixed_by_its_seed() -> None:
    item = two_clusters()
    first, again, other = (project_tokens([item], seed=seed, neighbors=8) for seed in (3, 3, 4))
    assert first.coordinates.shape == (24, 2) and first.coordinates.dtype == np.float32
    assert (first.coordinates == again.coordinates).all()
    assert (first.coordinates != other.coordinates).any()
    assert silhouette_score(first.coordinates, first.table["column"] < 3) > 0.5
    assert first.explained_variance is None and (first.method, first.seed) == ("umap", 3)


def test_threads_give_the_serial_picture() -> None:
    item = two_clusters()
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: project_tokens([item], seed=seed).coordinates, (1, 2)))
    for seed, coordinates in zip((1, 2), together, strict=True):
        assert (coordinates == project_tokens([item], seed=seed).coordinates).all()


@pytest.mark.parametrize("grid", [(1, 5), (2, 4)])
def test_more_neighbors_than_tokens(grid: tuple[int, int]) -> None:
    result = project_tokens([two_clusters(grid)], "umap", neighbors=50, dimensions=3)
    assert result.coordinates.shape == (grid[0] * grid[1], 3)
    assert np.isfinite(result.coordinates).all()


def test_table_says_where_every_token_comes_from() -> None:
    first, second = two_clusters((2, 3)), replace(two_clusters((4, 2)), source="layer 5", layer=5, image=7)
    region = Region(np.eye(2, 3, dtype=bool), np.eye(2, 3, k=1, dtype=bool))
    result = project_tokens([annotate_tokens(first, region=region), second], "pca")
    table = result.table
    assert table.columns.tolist() == ["image", "source", "layer", "row", "column", "x", "y", "region"]
    assert table["image"].tolist() == [0] * 6 + [7] * 8
    assert table["source"].tolist() == ["clip"] * 6 + ["layer 5"] * 8
    assert table["layer"].isna().tolist() == [True] * 6 + [False] * 8 and table["layer"].iloc[-1] == 5
    assert table["row"].tolist() == [0, 0, 0, 1, 1, 1] + [0, 0, 1, 1, 2, 2, 3, 3]
    assert table["column"].tolist() == [0, 1, 2] * 2 + [0, 1] * 4
    assert (table[["x", "y"]].to_numpy() == result.coordinates).all()
    names = ["foreground", "background", "neither", "neither", "foreground", "background"]
    assert table["region"].tolist()[:6] == names and table["region"].isna().tolist()[6:] == [True] * 8


def test_annotations_follow_the_grid() -> None:
    item = two_clusters((2, 2))
    scores = torch.tensor([[[0.1, 0.9], [0.8, 0.2]], [[0.3, 0.4], [0.6, 0.5]]])
    classes = np.array([["cat", "mat"], ["mat", "cat"]])
    result = annotate_tokens(item, similarity=scores, labels=["sky", "grass"], classes=classes)
    assert result.nearest_text.tolist() == ["grass", "sky", "grass", "sky"]
    assert result.class_name.tolist() == ["cat", "mat", "mat", "cat"]
    assert result.region is None and (result.tokens == item.tokens).all()


def test_token_sets_of_features() -> None:
    features = DenseFeatures(torch.zeros(2, 5), torch.randn(2, 3, 4, 5), METHODS["clip"], "random")
    item = token_set_from_features(features, "clip", batch_index=1, image=9)
    assert (item.grid, item.image, item.source, item.layer) == ((3, 4), 9, "clip", None)
    assert (item.tokens[5] == features.patches[1, 1, 1].numpy()).all()


def test_token_sets_of_a_trace(trace: Trace) -> None:
    for layer, stream in ((0, trace.block(0).x), (2, trace.block(2).x), (3, trace.output)):
        residual = token_set_from_trace(trace, layer, batch_index=1, image=4)
        assert (residual.grid, residual.image, residual.layer, residual.source) == ((4, 4), 4, layer, f"layer {layer}")
        np.testing.assert_array_equal(residual.tokens, stream[1, 1:].numpy())
        features = token_set_from_trace(trace, layer, space="features", batch_index=1)
        with torch.no_grad():
            expected = trace.tower.visual.ln_post(stream[1, 1:]) @ trace.tower.visual.proj
        np.testing.assert_allclose(features.tokens, expected, atol=1e-5)


def test_importing_the_package_leaves_umap_and_numba_alone() -> None:
    code = "import sys, analysis, analysis.projection; print([n for n in ('umap', 'numba') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "tsne"}, "Expected method to be one of umap, pca, but got 'tsne'"),
        ({"dimensions": 4}, "Expected dimensions to be 2 or 3"),
        ({"neighbors": 1}, "Expected neighbors to be at least 2"),
        ({"min_distance": 1.5}, "Expected min_distance to be from 0 to 1"),
        ({"epochs": 0}, "Expected epochs to be at least 1"),
        ({"items": []}, "Expected items to be token sets of one width"),
        ({"items": [two_clusters(width=3), two_clusters(width=4)]}, r"of one width, but got the widths \[3, 4\]"),
        ({"items": [two_clusters((1, 4))]}, "at least 5 tokens"),
        ({"items": [two_clusters(width=2)], "dimensions": 3}, "at least 3 wide"),
    ],
)
def test_errors_of_the_projection(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_tokens(**{"items": [two_clusters()]} | arguments)


def test_errors_of_token_sets(trace: Trace) -> None:
    item = two_clusters((2, 2))
    with pytest.raises(ValueError, match=r"Expected tokens to be of shape \(4, d\)"):
        replace(item, tokens=item.tokens[:3])
    with pytest.raises(ValueError, match="Expected tokens of 'clip' to be finite"):
        replace(item, tokens=item.tokens * np.nan)
    with pytest.raises(ValueError, match=r"Expected class_name to be of shape \(4,\)"):
        replace(item, class_name=np.array(["cat"]))
    with pytest.raises(ValueError, match="Expected layer to be from 0 to 3, but got 4"):
        token_set_from_trace(trace, 4)
    with pytest.raises(ValueError, match="Expected space to be one of residual, features"):
        token_set_from_trace(trace, 1, space="logits")
    with pytest.raises(ValueError, match="Expected batch_index to be from 0 to 1, but got 2"):
        token_set_from_trace(trace, 1, batch_index=2)
    with pytest.raises(ValueError, match=r"Expected region to be of the grid \(2, 2\)"):
        annotate_tokens(item, region=Region(np.eye(3, dtype=bool), ~np.eye(3, dtype=bool)))
    with pytest.raises(ValueError, match=r"Expected similarity to be of shape \(gh, gw, 1\)"):
        annotate_tokens(item, similarity=np.zeros((2, 2, 3)), labels=["sky"])
    with pytest.raises(ValueError, match="Expected classes to be of the grid"):
        annotate_tokens(item, classes=np.array(["cat"]))
