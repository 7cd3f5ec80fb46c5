"""Norms, cosines, outliers and entropies against loops over tokens."""

import math

import numpy as np
import pytest
import torch

from analysis.norms import (
    OutlierToken,
    StreamMeasure,
    compute_cosine_to_cls,
    compute_entropy,
    compute_norms,
    outlier_tokens,
    token_groups,
)
from analysis.regions import Region
from surgery.trace import Trace
from tests.analysis.tiny import TOWERS, trace_of

LEFT = [(0, 0), (1, 0), (2, 0)]


@pytest.fixture(scope="module", params=list(TOWERS))
def trace(request) -> Trace:
    return trace_of(request.param)


@pytest.fixture(scope="module")
def vit() -> Trace:
    return trace_of("vit")


def regions_for(trace: Trace) -> list[Region]:
    """A different region for each of the two images."""
    return [Region.from_patches(LEFT, trace.grid), Region.from_patches([(0, 1)], trace.grid)]


def test_norms_equal_a_loop_over_tokens(trace: Trace) -> None:
    norms = compute_norms(trace)
    blocks, (images, tokens) = trace.depth, trace.output.shape[:2]
    for stream, attribute in (("residual", "x"), ("attention", "attn_out"), ("mlp", "mlp_out")):
        if stream not in norms.streams:
            continue
        values = getattr(norms, stream)
        assert values.dtype == np.float32 and values.shape == (blocks, images, tokens)
        for l in range(blocks):
            recorded = getattr(trace.block(l), attribute)
            expected = [[math.sqrt(sum(c * c for c in token)) for token in image] for image in recorded.tolist()]
            np.testing.assert_allclose(values[l], expected, rtol=1e-5)
    np.testing.assert_allclose(norms.output, trace.output.norm(dim=-1), rtol=1e-5)


def test_streams_that_a_tower_lacks_are_absent() -> None:
    resnet = trace_of("resnet")
    assert compute_norms(resnet).streams == ("residual", "attention")
    assert compute_cosine_to_cls(resnet).streams == ("attention",)
    with pytest.raises(ValueError, match="Expected stream to be one of residual, attention, but got 'mlp'"):
        compute_norms(resnet).mean("mlp")


def test_groups_are_the_tokens_they_name(trace: Trace) -> None:
    groups = token_groups(trace, regions_for(trace))
    prefix, (rows, columns) = trace.tower.prefix, trace.grid
    assert ("cls" in groups, "registers" in groups) == (trace.tower.has_cls, bool(trace.tower.registers))
    for image, foreground in enumerate((LEFT, [(0, 1)])):
        tokens = {prefix + row * columns + column for row, column in foreground}
        patches = set(range(prefix, prefix + rows * columns))
        assert set(np.flatnonzero(groups["foreground"][image])) == tokens
        assert set(np.flatnonzero(groups["background"][image])) == patches - tokens
        assert set(np.flatnonzero(groups["patches"][image])) == patches
        if prefix:
            assert set(np.flatnonzero(groups["cls"][image])) == {0}


def test_summaries_equal_a_loop_over_images(trace: Trace) -> None:
    norms = compute_norms(trace, regions_for(trace))
    for group, masks in norms.groups.items():
        for image, mask in enumerate(masks):
            for l in range(trace.depth):
                values = [float(v) for v, counts in zip(norms.attention[l, image], mask, strict=True) if counts]
                assert norms.mean("attention", group)[l, image] == pytest.approx(sum(values) / len(values), rel=1e-5)
                frobenius = math.sqrt(sum(v * v for v in values))
                assert norms.frobenius("attention", group)[l, image] == pytest.approx(frobenius, rel=1e-5)
                expected = np.quantile(values, (0.25, 0.5))
                np.testing.assert_allclose(
                    norms.quantiles("attention", group, (0.25, 0.5))[:, l, image], expected, rtol=1e-5
                )


def test_frobenius_of_patches_is_that_of_the_matrix(vit: Trace) -> None:
    expected = torch.linalg.matrix_norm(vit.block(1).attn_out[:, 1:])
    np.testing.assert_allclose(compute_norms(vit).frobenius("attention")[1], expected, rtol=1e-5)


def test_unknown_names_are_refused(vit: Trace) -> None:
    norms = compute_norms(vit)
    with pytest.raises(ValueError, match="Expected stream to be one of residual, attention, mlp, but got 'x'"):
        norms.mean("x")
    with pytest.raises(ValueError, match="Expected group to be one of cls, patches, but got 'foreground'"):
        norms.quantiles("mlp", "foreground")


def test_half_precision_norms_do_not_overflow() -> None:
    trace = trace_of("vit", dtype=torch.float16)
    with torch.inference_mode():
        trace.block(0).x.fill_(1000)  # the sum of its squares is beyond float16
    np.testing.assert_allclose(compute_norms(trace).residual[0], 8000, rtol=1e-6)


def test_cosines_equal_the_read_out_of_each_stream(trace: Trace) -> None:
    cosines, tower = compute_cosine_to_cls(trace), trace.tower
    with torch.inference_mode():
        target = tower.pool(trace.output)
        for l in range(trace.depth):
            read = tower.readout(trace.block(l).attn_out)
            expected = [
                [torch.dot(token, cls) / token.norm() / cls.norm() for token in tokens]
                for tokens, cls in zip(read, target, strict=True)
            ]
            np.testing.assert_allclose(cosines.attention[l], expected, atol=1e-5)


def test_the_output_of_the_cls_token_is_the_cls_feature() -> None:
    for name in ("vit", "resnet"):
        np.testing.assert_allclose(compute_cosine_to_cls(trace_of(name)).output[:, 0], 1, atol=1e-5)


def test_the_residual_of_a_block_is_the_output_of_the_one_before(vit: Trace) -> None:
    cosines = compute_cosine_to_cls(vit)
    with torch.inference_mode():
        record = vit.block(1)
        summed = record.x + record.attn_out + record.mlp_out
    assert np.allclose(compute_norms(vit).residual[2], summed.norm(dim=-1), rtol=1e-5)
    assert np.abs(cosines.residual).max() <= 1 + 1e-6


def measure_of(residual: np.ndarray, output: np.ndarray, grid=(3, 4)) -> StreamMeasure:
    return StreamMeasure("L2 norm", residual, residual, None, output, {}, grid, "made up")


def test_outliers_are_found_where_they_were_put() -> None:
    rng = np.random.default_rng(0)
    residual = rng.normal(10, 1, size=(2, 2, 13)).astype(np.float32)
    output = rng.normal(10, 1, size=(2, 13)).astype(np.float32)
    residual[:, :, 0] = 1000  # the CLS token is none
    residual[1, 0, 1 + 2 * 4 + 3] = 60
    output[1, 1 + 4], output[1, 1 + 2] = 40, 80
    found = outlier_tokens(measure_of(residual, output))
    assert [(t.image, t.block, t.row, t.column, t.norm) for t in found] == [
        (0, 1, 2, 3, 60.0),
        (1, 2, 0, 2, 80.0),
        (1, 2, 1, 0, 40.0),
    ]


def test_the_score_of_an_outlier_by_hand() -> None:
    residual = np.array([[[1.0, 2.0, 3.0, 4.0, 50.0]]])  # median 3, median absolute deviation 1
    (token,) = outlier_tokens(measure_of(residual, np.arange(5.0)[None], grid=(1, 5)))
    assert token == OutlierToken(image=0, block=0, row=0, column=4, norm=50.0, score=pytest.approx(47 / 1.4826))
    assert outlier_tokens(measure_of(residual, np.arange(5.0)[None], grid=(1, 5)), threshold=32) == ()


def test_among_equal_tokens_an_outlier_is_thirty_percent_longer() -> None:
    equal = np.full((1, 1, 12), 3.0)
    equal[0, 0, 5] = 3.8
    assert outlier_tokens(measure_of(equal, np.zeros((1, 12)))) == ()
    equal[0, 0, 5] = 4.0
    (token,) = outlier_tokens(measure_of(equal, np.zeros((1, 12))))
    assert (token.row, token.column, token.score) == (1, 1, pytest.approx(1 / 0.15))


def test_outliers_refuse_other_measures_and_thresholds(vit: Trace) -> None:
    with pytest.raises(ValueError, match="Expected norms to be from compute_norms, but got a measure of cosine"):
        outlier_tokens(compute_cosine_to_cls(vit))
    with pytest.raises(ValueError, match="Expected threshold to be above 0, but got 0"):
        outlier_tokens(compute_norms(vit), threshold=0)


def reference_entropy(q: torch.Tensor, k: torch.Tensor, scale: float) -> list[list[float]]:
    """(heads, tokens) nats, from double-precision q and k (heads, tokens, d)."""
    rows = []
    for head_q, head_k in zip(q.double(), k.double(), strict=True):
        scores = (head_q @ head_k.T * scale).tolist()
        rows.append([])
        for row in scores:
            weights = [math.exp(s - max(row)) for s in row]
            rows[-1].append(-sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights if w))
    return rows


@pytest.mark.parametrize("name", list(TOWERS))
@pytest.mark.parametrize(("kind", "left", "right"), [("qk", "q", "k"), ("vv", "v", "v")])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
def test_entropy_equals_a_loop_in_double_precision(name, dtype, tolerance, kind: str, left: str, right: str) -> None:
    trace = trace_of(name, dtype=dtype)
    entropy = compute_entropy(trace, kind=kind)
    assert entropy.values.dtype == np.float64
    assert entropy.values.shape == (trace.depth, *trace.block(0).v.shape[:3])
    for l in range(trace.depth):
        record = trace.block(l)
        for image in range(2):
            q, k = getattr(record, left)[image], getattr(record, right)[image]
            expected = reference_entropy(q, k, record.projections.scale)
            np.testing.assert_allclose(entropy.values[l, image], expected, rtol=0, atol=tolerance)


def test_limits_of_entropy(vit: Trace) -> None:
    assert (compute_entropy(vit, kind="identity").values == 0).all()
    same = trace_of("vit")
    with torch.inference_mode():
        same.block(0).q.zero_()
    np.testing.assert_allclose(compute_entropy(same).values[0], math.log(17), atol=1e-12)


def test_mean_entropy_of_a_group_equals_a_loop(vit: Trace) -> None:
    entropy = compute_entropy(vit, regions_for(vit))
    for group in ("cls", "patches", "foreground", "background"):
        for image in range(2):
            mask = entropy.groups[group][image]
            expected = entropy.values[2, image, 1][mask].mean()
            assert entropy.mean(group)[2, image, 1] == pytest.approx(expected)
    assert entropy.mean().shape == (3, 2, 4)
    with pytest.raises(ValueError, match="Expected group to be one of"):
        entropy.mean("heads")


@pytest.mark.parametrize("measure", [compute_norms, compute_cosine_to_cls, compute_entropy])
def test_regions_that_do_not_fit_are_refused(vit: Trace, measure) -> None:
    region = Region.from_patches([(0, 0)], (2, 2))
    with pytest.raises(ValueError, match=r"Expected region to be of the grid \(4, 4\), but got \(2, 2\)"):
        measure(vit, region)
    with pytest.raises(ValueError, match="one for each of 2 images, but got 3"):
        measure(vit, [region] * 3)


@pytest.mark.parametrize("measure", [compute_norms, compute_cosine_to_cls])
def test_a_stream_that_is_not_finite_is_named(measure) -> None:
    broken = trace_of("vit")
    with torch.inference_mode():
        broken.block(1).mlp_out[0, 2, 0] = float("nan")
    with pytest.raises(ValueError, match="Expected the mlp stream of block 1 to be finite, but got 1 NaN or infinite"):
        measure(broken)


@pytest.mark.parametrize("measure", [compute_norms, compute_cosine_to_cls, compute_entropy])
def test_blocks_that_were_not_kept_are_named(vit: Trace, measure) -> None:
    partial = Trace(vit.tower, vit.model, (None, *vit.records[1:]), vit.output, vit.grid, vit.position_interpolation)
    with pytest.raises(ValueError, match="Expected block 0 to be kept"):
        measure(partial)


def test_a_kind_without_meaning_for_the_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected attention to be one of qk, vv, identity"):
        compute_entropy(trace_of("resnet"), kind="kk")
