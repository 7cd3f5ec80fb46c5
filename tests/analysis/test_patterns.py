"""Tiles against whole attention patterns, and what a sweep over them measures."""

import numpy as np
import pytest
import torch

from analysis import patterns
from analysis.norms import compute_entropy
from analysis.patterns import measure_patterns, walk_tiles
from surgery.attention import KINDS, attend, attention_pattern, parse_kind
from surgery.trace import Trace
from tests.analysis.tiny import trace_of


@pytest.fixture(scope="module")
def vit() -> Trace:
    return trace_of("vit", dtype=torch.float64)


def assembled(trace: Trace, kind: str, **options) -> torch.Tensor:
    """The normalised pattern of block 1, image 1, from its tiles."""
    heads, tokens = trace.block(1).v.shape[1:3]
    whole = torch.full((heads, tokens, tokens), torch.nan, dtype=torch.float64)
    for tile in walk_tiles(trace, kind, 1, 1, **options):
        whole[tile.heads, tile.rows] = tile.weights / tile.total[..., None]
    return whole


@pytest.mark.parametrize("tile_bytes", [1, 1000, 2**21])
@pytest.mark.parametrize("kind", [*KINDS, "qq+kk+vv", "qk+vv+gaussian"])
def test_tiles_make_up_the_pattern(vit: Trace, kind: str, tile_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "CPU_TILE_BYTES", tile_bytes)
    p = vit.block(1).projections
    expected = attention_pattern(kind, p)[1] / max(1, len(parse_kind(kind).pairs))
    torch.testing.assert_close(assembled(vit, kind), expected, atol=1e-12, rtol=0)
    order = torch.randperm(p.v.shape[2], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(assembled(vit, kind, order=order), expected[:, order][:, :, order], atol=1e-12, rtol=0)


def test_no_tile_is_larger_than_the_limit(vit: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "CPU_TILE_BYTES", 5 * 17 * 8)
    sizes = [tile.weights.numel() * 8 for tile in walk_tiles(vit, "qk", 0, 0)]
    assert max(sizes) <= 5 * 17 * 8 and sum(sizes) == 4 * 17 * 17 * 8


def test_scores_of_a_thousand_overflow_nothing(vit: Trace) -> None:
    loud = trace_of("vit", dtype=torch.float32)
    with torch.inference_mode():
        loud.block(0).q.mul_(1000)
    p = loud.block(0).projections
    wide = (p.q.double() @ p.k.double().mT * p.scale).softmax(dim=-1)
    found = compute_entropy(loud).values[0]
    np.testing.assert_allclose(found, torch.special.entr(wide).sum(-1).numpy(), rtol=0, atol=1e-3)
    assert np.isfinite(found).all() and found.min() >= -1e-9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["qk", "gem"])
def test_what_is_not_finite_is_refused(value: float, kind: str) -> None:
    broken = trace_of("vit")
    with torch.inference_mode():
        broken.block(2).k[1, 0, 3, 0] = value
    members = np.zeros((2, 17), int)
    with pytest.raises(ValueError, match="Expected the attention of block 2 to be finite, but got NaN or infinite"):
        measure_patterns(broken, kind, members, entropy=True)


def test_equal_partners_count_alike_in_any_order() -> None:
    """Uniform attention: every token is the strongest partner, and the query itself is named."""
    uniform = trace_of("vit")
    with torch.inference_mode():
        uniform.block(0).q.zero_()
    members = np.tile([0, *[1, 2] * 8], (2, 1))
    found = measure_patterns(uniform, "qk", members, partners=True)
    assert (found.partners[0][..., 0] == 1).all() and (found.partners_of_mean[0][..., 0] == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_attention_of_many_tokens_needs_no_square(kind: str) -> None:
    """The output of attention over 40 x 40 patches takes a few times its inputs, not a pattern for every head."""
    from tests.benchmarks.harness import peak_bytes
    from tests.surgery.test_attention import projections

    p = projections(grid=(40, 40))
    pattern = p.v.shape[1] * 1601**2 * 8
    prior = 1601**2 * 8
    with torch.inference_mode():
        assert peak_bytes(lambda: attend(kind, p)) < pattern / 4 + (3 * prior if "gaussian" in kind else 0)
