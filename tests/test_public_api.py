"""The public API as the README and the design promise it: these names and shapes are fixed."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis import Region, decompose, diagnose, flip_auc, score_contrast
from data.toy import make_scenes
from surgery import (
    CLASSIC,
    METHODS,
    Method,
    dense_features,
    encode_dense,
    feature_surgery,
    load_model,
    prompt_points,
    similarity,
    similarity_maps,
)

ROOT = Path(__file__).resolve().parents[1]


def test_surgery_from_image_to_points():
    model = load_model("toy", device="auto", precision="auto")
    scene = make_scenes(1, 3)[0]
    pixels = model.preprocess([scene.image], size=None)
    trace = model.trace(pixels, position_interpolation="bicubic")
    feats = dense_features(trace, METHODS["clip_surgery"])
    d = feats.cls.shape[-1]
    assert feats.cls.shape == (1, d) and feats.patches.shape == (1, 14, 14, d)
    assert encode_dense(model, pixels, METHODS["clearclip"]).patches.shape == feats.patches.shape

    text = model.encode_text(["a red circle", "grass"], templates="clip_surgery")
    assert text.shape == (2, d)
    np.testing.assert_allclose(text.norm(dim=-1).cpu(), 1, atol=1e-5)
    for templates in ("imagenet", "photo", "none", ["a drawing of {}."]):
        assert model.encode_text([""], templates=templates).shape == (1, d)

    sim = similarity(feats, text)
    assert sim.cls.shape == (1, 2) and sim.patches.shape == (1, 14, 14, 2)
    sim = feature_surgery(feats, text, redundant=None)
    sim = feature_surgery(feats, text[:1], redundant=model.encode_text([""])[0])
    maps = similarity_maps(sim, size=(48, 64), normalize=None)
    assert maps.shape == (1, 1, 48, 64)
    points = prompt_points(sim.patches[0, :, :, 0], image_size=(48, 64), threshold=0.8, downsample=2)
    assert points.xy.shape == (len(points.labels), 2) and points.xy.dtype.kind == points.labels.dtype.kind == "i"


def test_analysis_of_a_toy_scene():
    model, scene = load_model("toy", device="cpu"), make_scenes(1, 3)[0]
    thing = scene.objects[0]
    trace = model.trace(model.preprocess([scene.image]))
    text = model.encode_text([thing.phrase])
    region = Region.from_mask(255 * thing.mask.astype(np.uint8), grid=trace.grid)
    assert region.foreground.shape == region.background.shape == trace.grid
    blame = decompose(trace, text, METHODS["clip"])
    assert blame.terms.shape == (1, len(blame.labels), 14, 14, 1) and blame.similarity.shape == (1, 14, 14, 1)
    np.testing.assert_allclose(blame.terms.sum(1), blame.similarity, atol=1e-4)
    values = blame.similarity[0, :, :, 0]
    assert -1 <= score_contrast(values, region) <= 1 and 0 <= flip_auc(values, region) <= 1
    report = diagnose(model, scene.image, thing.phrase, thing.mask)
    assert set(report.contrast) == set(report.flip_auc) == set(CLASSIC)
    assert report.summary and len(report.culprits) <= 5


def test_a_method_is_frozen_and_has_variants():
    method = Method(attention="vv", blocks=6, residual=1.0, alpha=1.0, mlp=False, position_interpolation="bilinear")
    assert method == METHODS["clip_surgery"]
    assert replace(method, alpha=2.0).alpha == 2.0
    with pytest.raises(AttributeError):
        method.alpha = 2.0


def test_the_python_of_the_readme_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "a4.h0" in done.stdout and "lipped" in done.stdout
    assert (tmp_path / "maps.html").stat().st_size > 10_000
