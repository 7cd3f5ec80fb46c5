"""Every array of the published implementations' reference outputs, within 1e-4 (values of order 1)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from surgery import METHODS, dense_features, encode_dense, feature_surgery, prompt_points, similarity_maps
from surgery.methods import Method
from tests.stand_ins import stand_in_model

TOLERANCE = 1e-4
ATTENTION = {"vanilla": "qk", "MaskCLIP": "identity", "SCLIP": "qq+kk", "ClearCLIP": "qq", "GEM": "gem", "KK": "kk"}
ATTENTION["NACLIP"] = "kk+gaussian"
VARIANTS = {
    "residual_ffn": {"residual": 1.0, "mlp": True},
    "no_residual_no_ffn": {"residual": 0.0, "mlp": False},
    "residual": {"blocks": 6, "residual": 1.0, "mlp": False},
    "no_residual": {"blocks": 6, "residual": 0.0, "mlp": False},
}


@pytest.fixture(scope="module")
def stand_in(shared, tmp_path_factory):
    """Models of `pseudo_weights.py`, loaded through the public loader."""
    folder = tmp_path_factory.mktemp("conformance")
    return {name: stand_in_model(shared, name, folder) for name in ("conformance-vit", "conformance-rn")}


@pytest.fixture(scope="module")
def text(shared):
    return {
        k: torch.from_numpy(v) for k, v in np.load(shared / "reference" / "text.npz").items() if v.dtype.kind == "f"
    }


def _read(shared, stem):
    arrays = np.load(shared / "reference" / f"{stem}.npz")
    return Image.fromarray(arrays["image"]), arrays


def _close(ours, reference):
    ours = ours.numpy() if isinstance(ours, torch.Tensor) else ours
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() < TOLERANCE


def _tokens(features):
    return torch.cat([features.cls[:, None], features.patches.flatten(1, 2)], dim=1)[0]


def _pixels(model, image):
    return model.preprocess([image], size=image.size[::-1])


@pytest.mark.parametrize("side", [224, 512])
def test_clip_surgery_on_a_vit(shared, stand_in, text, side):
    image, reference = _read(shared, f"clip_surgery_conformance-vit_bench_{side}x{side}")
    model = stand_in["conformance-vit"]
    features = encode_dense(model, _pixels(model, image), METHODS["clip_surgery"])
    _close(_tokens(features), reference["clip_surgery"])
    if "clip" in reference:
        _close(_tokens(encode_dense(model, _pixels(model, image), METHODS["clip"])), reference["clip"])

    sim = feature_surgery(features, text["ensemble"])
    _close(torch.cat([sim.cls[:, None], sim.patches.flatten(1, 2)], dim=1)[0], reference["similarity"])
    single = feature_surgery(features, text["ensemble"][:1], redundant=text["empty"])
    _close(torch.cat([single.cls[:, None], single.patches.flatten(1, 2)], dim=1)[0], reference["similarity_single"])
    if "map_bench" in reference:
        size = reference["map_bench"].shape
        _close(similarity_maps(sim, size=size, normalize="minmax")[0, 0], reference["map_bench"])

    points = prompt_points(sim.patches[0, :, :, 0], image_size=(480, 640), threshold=0.8)
    np.testing.assert_array_equal(points.xy, reference["points"])
    np.testing.assert_array_equal(points.labels, reference["labels"])


@pytest.mark.parametrize("side", [224, 512])
def test_clip_surgery_on_a_resnet(shared, stand_in, side):
    image, reference = _read(shared, f"clip_surgery_conformance-rn_bench_{side}x{side}")
    model = stand_in["conformance-rn"]
    features = encode_dense(model, _pixels(model, image), METHODS["clip_surgery"])
    _close(_tokens(features)[1:], reference["clip_surgery"][1:])
    if "clip" in reference:
        _close(_tokens(encode_dense(model, _pixels(model, image), METHODS["clip"])), reference["clip"])


@pytest.mark.parametrize("size", ["224x224", "224x336"])
@pytest.mark.parametrize("family", ["clearclip", "naclip"])
def test_clearclip_and_naclip_variants(shared, stand_in, family, size):
    image, reference = _read(shared, f"{family}_conformance-vit_horses_{size}")
    model = stand_in["conformance-vit"]
    names = [name for name in reference if name != "image"]
    assert len(names) >= 3
    for name in names:
        kind, variant = name.split(".")
        mode = "bicubic_antialias" if kind == "GEM" else "bicubic"
        method = replace(Method(attention=ATTENTION[kind], **VARIANTS[variant]), position_interpolation=mode)
        trace = model.trace(_pixels(model, image), position_interpolation=mode)
        patches = dense_features(trace, method).patches[0].flatten(0, 1)
        error = np.abs(patches.numpy() - reference[name]).max()
        assert error < TOLERANCE, f"{name}: {error}"
