"""The closed form in alpha against the walk, and the alphas at which signs change against a search by the walk."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.alpha import alpha_curve, has_alpha_curve, iterate_cosines
from analysis.metrics import contrast
from analysis.regions import Region
from surgery import METHODS, Method, dense_features, similarity
from surgery.dense import Walk
from tests.tiny import picture, tiny_model

ALPHAS = (0.0, 0.25, 1.0, 3.5, 10.0, -2.0)
METHOD = Method("vv", blocks=3, mlp=False)


def _trace(name="tiny-vit", precision="fp64", images=2):
    model = tiny_model(name, precision)
    return model.trace(model.preprocess([picture(seed) for seed in range(images)]))


def _text(trace, count=3):
    generator = torch.Generator().manual_seed(0)
    width = dense_features(trace, METHODS["clip"]).cls.shape[1]
    return torch.randn(count, width, generator=generator, dtype=trace.output.dtype)


def _walked(trace, method, text):
    return similarity(dense_features(trace, method), text).patches


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-vit-scaled", "tiny-vit-average"])
@pytest.mark.parametrize("kind", ["vv", "qq+kk"])
@pytest.mark.parametrize(("blocks", "residual"), [(1, 1.0), (4, 1.0), (3, -0.6)])
def test_the_curve_is_the_walk(name, kind, blocks, residual):
    for precision, tolerance in (("fp64", 1e-12), ("fp32", 1e-6)):
        trace = _trace(name, precision)
        text, method = _text(trace), Method(kind, blocks, residual, mlp=False)
        cosines = alpha_curve(trace, text, method).cosines(ALPHAS)
        for alpha, values in zip(ALPHAS, cosines, strict=True):
            expected = _walked(trace, replace(method, alpha=alpha), text)
            torch.testing.assert_close(values, expected, atol=tolerance, rtol=0)


def test_one_number_gives_one_map_and_the_limit_drops_the_residual():
    trace = _trace()
    text = _text(trace)
    curve = alpha_curve(trace, text, METHOD)
    torch.testing.assert_close(curve.cosines(2.0), curve.cosines([1.0, 2.0])[1])
    last = Method("vv", blocks=1, mlp=False)
    limit = alpha_curve(trace, text, last).limit()
    torch.testing.assert_close(limit, _walked(trace, replace(last, residual=0.0), text), atol=1e-3, rtol=0)
    torch.testing.assert_close(limit, alpha_curve(trace, text, last).cosines(1e9), atol=1e-8, rtol=0)


def test_the_sign_of_a_cosine_changes_at_its_critical_alpha():
    trace = _trace()
    curve = alpha_curve(trace, _text(trace), METHOD)
    critical = curve.critical_alpha()
    assert critical.shape == (2, 6, 6, 3)
    changing = ~np.isnan(critical)
    assert 0.05 < changing.mean() < 0.95
    for image, row, column, text in np.argwhere(changing)[::20]:
        alpha = critical[image, row, column, text]
        below, at, above = curve.cosines([0.999 * alpha, alpha, 1.001 * alpha])[:, image, row, column, text].tolist()
        assert below * above < 0 and abs(at) < 1e-12
    dense = curve.cosines(np.geomspace(1e-3, 1e5, 500)).sign()
    assert (dense == dense[:1]).all(dim=0).numpy()[~changing].all()


def test_the_sign_of_a_contrast_changes_at_its_critical_alpha():
    trace = _trace()
    text, region = _text(trace, 12), Region.from_patches([(1, 1), (1, 2), (2, 2)], trace.grid)
    curve = alpha_curve(trace, text, METHOD)
    found = curve.critical_contrast(region)
    assert 0 < np.isnan(found).mean() < 1
    walked = []
    for image, label in np.argwhere(~np.isnan(found)):
        around = [_walked(trace, replace(METHOD, alpha=found[image, label] * f), text) for f in (0.999, 1.001)]
        walked.append([contrast(values[image, :, :, label], region) for values in around])
        assert contrast(curve.cosines(float(found[image, label]))[image, :, :, label], region) == pytest.approx(
            0, abs=1e-12
        )
    assert all(below * above < 0 for below, above in walked)
    dense = curve.contrasts(np.geomspace(1e-3, 1e4, 300), region).sign()
    assert (dense == dense[:1]).all(dim=0).numpy()[np.isnan(found)].all()


def test_every_alpha_at_which_a_contrast_turns_is_named():
    trace = _trace()
    text, region = _text(trace, 40), Region.from_patches([(1, 1), (1, 2), (2, 2)], trace.grid)
    curve = alpha_curve(trace, text, METHOD)
    found, first = curve.critical_contrasts(region), curve.critical_contrast(region)
    assert max(len(alphas) for row in found for alphas in row) > 1  # some turn and turn back
    signs = curve.contrasts(np.geomspace(1e-4, 1e5, 2000), region) < 0
    turns = (signs[1:] != signs[:-1]).sum(dim=0)
    for image, row in enumerate(found):
        for label, alphas in enumerate(row):
            assert len(alphas) == turns[image, label] and (np.diff(alphas) > 0).all()
            assert np.array_equal(alphas[:1], first[image, label : label + 1][: len(alphas)])
            if len(alphas):
                around = curve.contrasts(np.multiply.outer(alphas, [0.999, 1.001]).ravel(), region)[:, image, label]
                assert (around[::2] * around[1::2] < 0).all()


def test_cosines_of_many_methods_in_their_order():
    trace = _trace()
    text = _text(trace)
    methods = [
        "clip",
        *(Method(kind, alpha=alpha, mlp=False) for kind in ("qk", "vv") for alpha in (0.5, 1.0, 4.0)),
        *(Method("vv", alpha=alpha) for alpha in (0.5, 2.0)),
        Method("vv", residual=0.0, mlp=False),
        Method("vv", alpha=7.0, mlp=False),
    ]
    found = list(iterate_cosines(Walk(trace), methods, text))
    assert len(found) == len(methods)
    for method, values in zip(methods, found, strict=True):
        torch.testing.assert_close(values, _walked(trace, method, text), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["tiny-rn", "tiny-map"])
def test_towers_without_a_linear_read_out_are_walked(name):
    trace = _trace(name)
    text = _text(trace)
    methods = [Method("vv", alpha=alpha, mlp=False) for alpha in (0.5, 2.0)]
    for method, values in zip(methods, iterate_cosines(Walk(trace), methods, text), strict=True):
        torch.testing.assert_close(values, _walked(trace, method, text))
    with pytest.raises(ValueError, match="closed form in alpha, but got"):
        alpha_curve(trace, text, methods[0])


def test_what_has_no_closed_form_is_refused():
    trace = _trace()
    assert has_alpha_curve(trace.tower, METHOD) and not has_alpha_curve(trace.tower, METHODS["maskclip"])
    with pytest.raises(ValueError, match="Expected method to walk without MLP"):
        alpha_curve(trace, _text(trace), "maskclip")
    with pytest.raises(ValueError, match="Expected alphas to be finite numbers, but got"):
        alpha_curve(trace, _text(trace), METHOD).cosines([1.0, float("nan")])
