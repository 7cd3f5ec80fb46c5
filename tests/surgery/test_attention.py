"""Attention patterns: their rows, their products, and the parser of kinds."""

import pytest
import torch

from surgery import METHODS, Method
from surgery.attention import KINDS, Projections, attend, attention_pattern, gaussian_prior, parse_kind


def projections(prefix=1, grid=(2, 3)):
    generator = torch.Generator().manual_seed(0)
    n = prefix + grid[0] * grid[1]
    q, k, v = (torch.randn(2, 4, n, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    return Projections(q, k, v, 8**-0.5, torch.tensor([5.0, 7.0], dtype=torch.float64), grid, prefix)


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("kind", [*KINDS, "qq+kk+vv"])
def test_rows_sum_to_the_number_of_pairs_and_give_the_output(kind, prefix):
    p = projections(prefix)
    pattern = attention_pattern(kind, p)
    pairs = max(1, len(parse_kind(kind).pairs))
    assert torch.allclose(pattern.sum(-1), torch.full_like(pattern[..., 0], pairs))
    assert (pattern >= 0).all()
    assert torch.allclose(pattern @ p.v, attend(kind, p), atol=1e-12)


def test_gem_does_not_depend_on_the_batch():
    p = projections()
    alone = Projections(p.q[1:], p.k[1:], p.v[1:], p.scale, p.input_norm[1:], p.grid, p.prefix)
    assert torch.allclose(attend("gem", p)[1:], attend("gem", alone))


def test_gaussian_prior_by_hand():
    prior = gaussian_prior((1, 2), 1, torch.zeros(1, dtype=torch.float64))
    near = torch.exp(torch.tensor(-1 / 50, dtype=torch.float64))
    assert torch.equal(prior[0], torch.zeros(3)) and torch.equal(prior[:, 0], torch.zeros(3))
    assert torch.allclose(prior[1:, 1:], torch.tensor([[1, near], [near, 1]], dtype=torch.float64))


@pytest.mark.parametrize("kind", ["", "xy", "qqq", "qq+", "gaussian", "gem+gaussian", "identity+qq", "qq+qq", None, 3])
def test_unknown_kinds_are_refused(kind):
    with pytest.raises(ValueError, match="Expected attention to be one of qk, vv"):
        Method(attention=kind)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blocks", 0),
        ("blocks", 1.5),
        ("blocks", True),
        ("residual", float("nan")),
        ("alpha", "1"),
        ("alpha", float("inf")),
        ("mlp", 1),
        ("position_interpolation", "nearest"),
    ],
)
def test_out_of_range_parameters_are_named(field, value):
    with pytest.raises(ValueError, match=f"Expected {field} to be .*, but got {value!r}"):
        Method(**{field: value})


def test_the_table_of_presets():
    rows = {
        name: (m.attention, m.blocks, m.residual, m.alpha, m.mlp, m.position_interpolation)
        for name, m in METHODS.items()
    }
    assert rows == {
        "clip": ("qk", 1, 1, 1, True, "bicubic"),
        "maskclip": ("identity", 1, 1, 1, True, "bicubic"),
        "clip_surgery": ("vv", 6, 1, 1, False, "bilinear"),
        "sclip": ("qq+kk", 1, 1, 1, True, "bicubic"),
        "gem": ("gem", 6, 1, 1, False, "bicubic_antialias"),
        "naclip": ("kk+gaussian", 1, 0, 1, False, "bicubic"),
        "clearclip": ("qq", 1, 0, 1, False, "bicubic"),
        "cliptrase": ("qq+kk+vv", 1, 1, 1, True, "bicubic"),
        "tagclip": ("identity", 1, 1, 1, True, "bilinear"),
        "itaclip": ("0.5*qq+kk + 0.5*qq+kk@-6..-5|-3", 1, 1, 1, False, "bicubic"),
        "resclip": ("1.4*kk+gaussian + 0.6*qk@-7..-4", 1, 0, 1, False, "bicubic"),
        "sc_clip": ("0.5*sim@-4 + 0.5*kk", 1, 0, 1, False, "bicubic"),
    }
    stepped = {name: m.steps for name, m in METHODS.items() if m.steps}
    assert stepped == {"sc_clip": "repair + before@-4 + levels@-9..-3 + cls*0.3 + after@-9"}
