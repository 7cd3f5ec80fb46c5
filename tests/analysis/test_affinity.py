"""Attention maps, same-region mass and strongest partners against loops over tokens."""

import numpy as np
import pytest
import torch

from analysis.affinity import (
    KEYS,
    PARTNERS,
    QUERIES,
    attention_map,
    best_partners,
    compute_affinity,
    compute_layers,
    same_region_mass,
)
from analysis.norms import compute_entropy, compute_norms
from analysis.regions import Region
from surgery.attention import KINDS
from surgery.trace import Trace
from tests.analysis.tiny import TOWERS, trace_of

KINDS_EVERYWHERE = ("qk", "vv", "identity")


@pytest.fixture(scope="module", params=list(TOWERS))
def trace(request) -> Trace:
    return trace_of(request.param)


@pytest.fixture(scope="module")
def vit() -> Trace:
    return trace_of("vit")


def regions_for(trace: Trace) -> list[Region]:
    """One region an image; the first leaves some patches that are neither."""
    background = np.ones(trace.grid, bool)
    background[:, 1] = background[0, 0] = background[1, 0] = False
    foreground = np.zeros(trace.grid, bool)
    foreground[0, 0] = foreground[1, 0] = True
    return [Region(foreground, background), Region.from_patches([(0, 1), (1, 1), (2, 2)], trace.grid)]


def pattern_of(trace: Trace, block: int, kind: str, image: int) -> np.ndarray:
    """softmax(z z^T / sqrt(d)) per head, rows summing to 1: (heads, tokens, tokens)."""
    record = trace.block(block)
    if kind == "identity":
        heads, tokens = record.v.shape[1:3]
        return np.stack([np.eye(tokens)] * heads)
    patterns = []
    for left, right in kind.split("+"):
        a, b = (getattr(record, name)[image].double().numpy() for name in (left, right))
        weights = np.exp(a @ b.transpose(0, 2, 1) / np.sqrt(a.shape[-1]))
        patterns.append(weights / weights.sum(axis=-1, keepdims=True))
    return np.mean(patterns, axis=0)


def group_of(trace: Trace, region: Region, token: int) -> str:
    """Which of KEYS a token is."""
    if token < trace.tower.prefix:
        return "cls" if token < trace.tower.prefix - trace.tower.registers else "registers"
    row, column = divmod(token - trace.tower.prefix, trace.grid[1])
    return (
        "foreground"
        if region.foreground[row, column]
        else "background"
        if region.background[row, column]
        else "neither"
    )


@pytest.mark.parametrize("head", [None, 0, 3])
def test_affinity_is_the_attention_pattern(trace: Trace, head: int | None) -> None:
    affinity = compute_affinity(trace, KINDS_EVERYWHERE, block=0, head=head, image=1)
    assert affinity.weights.dtype == np.float32
    for weights, kind in zip(affinity.weights, KINDS_EVERYWHERE, strict=True):
        pattern = pattern_of(trace, 0, kind, image=1)
        np.testing.assert_allclose(weights, pattern.mean(axis=0) if head is None else pattern[head], atol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "qq+kk+vv", "qk+vv+gaussian"])
def test_rows_of_every_kind_sum_to_one(vit: Trace, kind: str) -> None:
    weights = compute_affinity(vit, [kind], block=-1, head=2).weights
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)


def test_sums_of_softmaxes_are_averaged(vit: Trace) -> None:
    expected = pattern_of(vit, 1, "qq+kk", image=0).mean(axis=0)
    np.testing.assert_allclose(compute_affinity(vit, ["qq+kk"], block=1).weights[0], expected, atol=1e-6)


def test_map_and_cls_share_of_a_query_are_its_row(trace: Trace) -> None:
    affinity, prefix = compute_affinity(trace, ["qk", "vv"], block=0), trace.tower.prefix
    row = affinity.weights[:, prefix + trace.grid[1] + 2]
    np.testing.assert_array_equal(affinity.maps((1, 2)).reshape(2, -1), row[:, prefix:])
    np.testing.assert_array_equal(affinity.cls_share((1, 2)), row[:, 0] if prefix else [0, 0])
    before = affinity.cls_share((1, 2)) + affinity.register_share((1, 2))
    np.testing.assert_allclose(affinity.maps((1, 2)).sum(axis=(1, 2)) + before, 1, atol=1e-6)
    assert (affinity.register_share((1, 2)) > 0).all() == bool(trace.tower.registers)
    np.testing.assert_array_equal(attention_map(trace, 0, "vv", (1, 2)), affinity.maps((1, 2))[1])


def test_the_cls_token_can_be_the_query(vit: Trace) -> None:
    pattern = pattern_of(vit, 2, "qk", image=0)[1]
    np.testing.assert_allclose(attention_map(vit, -1, "qk", "cls", head=1).ravel(), pattern[0, 1:], atol=1e-6)


def test_own_region_share_equals_a_loop_over_patches(trace: Trace) -> None:
    region = regions_for(trace)[0]
    affinity, prefix = compute_affinity(trace, ["qk", "vv"], block=0), trace.tower.prefix
    shares = affinity.own_region_share(region)
    for token in range(prefix, affinity.weights.shape[1]):
        own = group_of(trace, region, token)
        row = affinity.weights[0, token, prefix:]
        stays = sum(w for key, w in enumerate(row, start=prefix) if group_of(trace, region, key) == own)
        expected = np.nan if own == "neither" else stays / row.sum()
        assert shares[0].ravel()[token - prefix] == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_flow_equals_a_loop_over_queries_and_keys(trace: Trace) -> None:
    regions = regions_for(trace)
    result = same_region_mass(trace, KINDS_EVERYWHERE, regions)
    block = trace.depth - 1
    for k, kind in enumerate(KINDS_EVERYWHERE):
        for image, region in enumerate(regions):
            for head, pattern in enumerate(pattern_of(trace, block, kind, image)):
                groups = [group_of(trace, region, token) for token in range(len(pattern))]
                for q, query in enumerate(QUERIES):
                    rows = [row for row, group in zip(pattern, groups, strict=True) if group == query]
                    goes = [sum(row[key] for row in rows for key in range(len(row)) if groups[key] == g) for g in KEYS]
                    expected = np.array(goes) / len(rows)
                    np.testing.assert_allclose(result.flow[k, block, image, head, q], expected, atol=1e-6)
                    mass = goes[KEYS.index(query)] / sum(goes[1:4])
                    assert result.mass[k, block, image, head, q] == pytest.approx(mass, abs=1e-5)
                    assert result.cls_share[k, block, image, head, q] == pytest.approx(expected[0], abs=1e-6)


def test_limits_of_same_region_mass(trace: Trace) -> None:
    regions = regions_for(trace)
    assert (same_region_mass(trace, ["identity"], regions).mass == 1).all()
    uniform = trace_of(trace.model)
    with torch.inference_mode():
        uniform.block(0).v.zero_()
    result = same_region_mass(uniform, ["vv"], regions)
    for mass in result.mass[0, 0].swapaxes(0, 1):  # (b, 2) of every head
        np.testing.assert_allclose(mass, result.chance, atol=1e-6)
    patches = trace.grid[0] * trace.grid[1]
    expected = [[r.foreground.sum() / patches, r.background.sum() / patches] for r in regions]
    np.testing.assert_allclose(result.chance, expected)


def test_one_region_serves_all_images(vit: Trace) -> None:
    region = regions_for(vit)[1]
    both, each = same_region_mass(vit, ["vv"], region), same_region_mass(vit, ["vv"], [region, region])
    np.testing.assert_array_equal(both.flow, each.flow)


def test_partners_equal_a_loop_over_patches(trace: Trace) -> None:
    regions = regions_for(trace)
    result = best_partners(trace, KINDS_EVERYWHERE, regions)
    for k, kind in enumerate(KINDS_EVERYWHERE):
        for image, region in enumerate(regions):
            patterns = pattern_of(trace, 0, kind, image)
            measured = [*zip(result.heads[k, 0, image], patterns, strict=True)]
            for shares, pattern in [*measured, (result.mean[k, 0, image], patterns.mean(axis=0))]:
                for q, query in enumerate(QUERIES):
                    np.testing.assert_allclose(shares[q], partner_shares(trace, region, pattern, query), atol=1e-6)


def partner_shares(trace: Trace, region: Region, pattern: np.ndarray, query: str) -> list[float]:
    found = []
    for token, row in enumerate(pattern):
        if group_of(trace, region, token) != query:
            continue
        best = max(range(len(row)), key=lambda key: row[key])
        theirs = group_of(trace, region, best)
        other = (
            theirs if theirs in ("cls", "registers", "neither") else f"{'own' if theirs == query else 'other'} region"
        )
        found.append("itself" if best == token else other)
    return [found.count(name) / len(found) for name in PARTNERS]


def test_every_kind_of_partner_occurs_somewhere() -> None:
    """Else the loop above would compare zeros with zeros."""
    results = [best_partners(t, ["qk", "vv"], regions_for(t)) for t in map(trace_of, TOWERS)]
    assert all(any(r.heads[..., p].any() for r in results) for p in range(len(PARTNERS)))


def test_layers_are_the_three_measures(trace: Trace) -> None:
    regions, kinds = regions_for(trace), ("qk", "vv")
    report = compute_layers(trace, regions, kinds)
    np.testing.assert_array_equal(report.norms.attention, compute_norms(trace).attention)
    np.testing.assert_allclose(report.entropy.values, compute_entropy(trace).values, atol=1e-6)
    np.testing.assert_allclose(report.mass.flow, same_region_mass(trace, kinds, regions).flow, atol=1e-6)
    assert report.entropy.kind == "qk" and report.mass.kinds == kinds and report.partners is None
    partners = compute_layers(trace, regions, kinds, partners=True).partners
    np.testing.assert_array_equal(partners.heads, best_partners(trace, kinds, regions).heads)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kinds": []}, "Expected kinds to be a list of at least 1 kind of attention"),
        ({"kinds": "qk"}, "Expected kinds to be a list of at least 1 kind of attention"),
        ({"kinds": ["qz"]}, "Expected attention to be one of qk, vv"),
        ({"block": 3}, "Expected block to be from 0 to 2, but got 3"),
        ({"head": 4}, "Expected head to be from 0 to 3, or None for the mean, but got 4"),
        ({"image": 2}, "Expected image to be from 0 to 1, but got 2"),
    ],
)
def test_affinity_refuses_what_there_is_not(vit: Trace, changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_affinity(**({"trace": vit, "kinds": ["qk"], "block": 0} | changed))


def test_queries_that_there_are_not_are_refused(vit: Trace) -> None:
    with pytest.raises(ValueError, match=r"inside the grid \(4, 4\), but got \(4, 0\)"):
        attention_map(vit, 0, "qk", (4, 0))
    with pytest.raises(ValueError, match=r'Expected query to be \(row, column\) or "cls", but got \'CLS\''):
        attention_map(vit, 0, "qk", "CLS")
    with pytest.raises(ValueError, match="this tower has no CLS token"):
        attention_map(trace_of("siglip"), 0, "qk", "cls")


@pytest.mark.parametrize("measure", [same_region_mass, best_partners])
def test_measures_of_regions_refuse_what_does_not_fit(vit: Trace, measure) -> None:
    small = Region.from_patches([(0, 0)], (2, 2))
    with pytest.raises(ValueError, match=r"Expected region to be of the grid \(4, 4\), but got \(2, 2\)"):
        measure(vit, ["qk"], small)
    with pytest.raises(ValueError, match="Expected kinds to be a list"):
        measure(vit, [], regions_for(vit))
    with pytest.raises(ValueError, match="Expected attention to be one of qk, vv, identity"):
        resnet = trace_of("resnet")
        measure(resnet, ["kk"], regions_for(resnet))
