"""Methods against an independent reference, and against one another where one is a limit of the other."""

from dataclasses import replace

import pytest
import torch

from surgery import (
    METHODS,
    InterpolationWarning,
    Method,
    dense_features,
    encode_dense,
    iterate_dense_features,
    usable_methods,
)
from surgery.attention import KINDS
from tests.surgery import slow
from tests.tiny import TOWERS, picture, tiny_model

VITS = ("tiny-vit", "tiny-vit-scaled")


def _pixels(model, images=1, size=None):
    return model.preprocess([picture(seed) for seed in range(images)], size)


@pytest.mark.parametrize("name", VITS)
@pytest.mark.parametrize("kind", [*KINDS, "qq+kk+vv", "vv+gaussian", "kq"])
@pytest.mark.parametrize(
    "rest", [(1, 1.0, 1.0, True), (2, 1.0, 1.0, False), (4, 0.3, 2.0, True), (3, 0.0, -1.0, False)]
)
def test_any_method_equals_the_slow_reference(name, kind, rest):
    model = tiny_model(name, "fp64")
    pixels = _pixels(model, images=2)
    method = Method(kind, *rest)
    reference = slow.dense(model.clip, pixels, method)[:, 1:]
    ours = dense_features(model.trace(pixels), method).patches.flatten(1, 2)
    assert torch.allclose(ours, reference, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", TOWERS)
def test_clip_gives_the_feature_of_open_clip(name):
    for precision, tolerance in (("fp32", 1e-5), ("fp64", 1e-10)):
        model = tiny_model(name, precision)
        pixels = _pixels(model, images=2)
        with torch.inference_mode():
            expected = model.clip.encode_image(pixels)
        ours = encode_dense(model, pixels, METHODS["clip"]).cls
        assert torch.allclose(ours, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", VITS)
def test_clip_patches_are_the_read_out_of_the_last_tokens(name):
    model = tiny_model(name, "fp64")
    pixels = _pixels(model)
    last = slow.original_path(model.clip, pixels)[-1]
    expected = (model.clip.visual.ln_post(last) @ model.clip.visual.proj)[:, 1:]
    assert torch.allclose(encode_dense(model, pixels, METHODS["clip"]).patches.flatten(1, 2), expected, atol=1e-10)


@pytest.mark.parametrize("name", TOWERS)
def test_cls_is_of_the_original_path_for_every_method(name):
    model = tiny_model(name)
    trace = model.trace(_pixels(model))
    methods = usable_methods(model.tower).values()
    first = dense_features(trace, METHODS["clip"]).cls
    assert all(torch.equal(features.cls, first) for features in iterate_dense_features(trace, methods))


def test_map_read_out_of_a_one_token_image_is_the_pooled_output():
    model = tiny_model("tiny-map", "fp64")
    features = encode_dense(model, _pixels(model, images=3, size=8), METHODS["clip"])
    assert features.patches.shape == (3, 1, 1, 24)
    assert torch.allclose(features.patches[:, 0, 0], features.cls, atol=1e-12)


def test_sharing_attention_changes_nothing():
    model = tiny_model("tiny-vit")
    trace = model.trace(_pixels(model))
    methods = [Method(kind, alpha=alpha, mlp=False) for kind in ("vv", "qq") for alpha in (0.5, 1.0, 2.0)]
    for method, shared in zip(methods, iterate_dense_features(trace, methods), strict=True):
        assert torch.equal(shared.patches, dense_features(trace, method).patches)


def test_alpha_and_residual_have_their_limits():
    model = tiny_model("tiny-vit", "fp64")
    trace = model.trace(_pixels(model))
    directions = [
        torch.nn.functional.normalize(dense_features(trace, method).patches, dim=-1)
        for method in (
            Method("qq", residual=1.0, alpha=1e9, mlp=False),
            Method("qq", residual=0.0, alpha=1.0, mlp=False),
            Method("qq", residual=1.0, alpha=0.0, mlp=False),
        )
    ]
    assert torch.allclose(directions[0], directions[1], atol=1e-6)
    assert not torch.allclose(directions[1], directions[2], atol=1e-2)
    before_last = model.tower.readout(trace.block(-1).x[:, 1:])
    assert torch.allclose(dense_features(trace, Method("qq", alpha=0.0, mlp=False)).patches.flatten(1, 2), before_last)


def test_a_resnet_walks_its_only_block():
    model = tiny_model("tiny-rn", "fp64")
    pixels = _pixels(model)
    pool = model.clip.visual.attnpool
    trace = model.trace(pixels)
    value = trace.block(0).x @ pool.v_proj.weight.T + pool.v_proj.bias
    expected = value @ pool.c_proj.weight.T + pool.c_proj.bias
    features = dense_features(trace, METHODS["maskclip"])
    assert torch.allclose(features.patches.flatten(1, 2), expected[:, 1:], atol=1e-12)
    assert (features.method.blocks, features.method.residual, features.method.mlp) == (1, 0.0, False)
    assert set(usable_methods(model.tower)) == {"clip", "maskclip", "clip_surgery"}


def test_encode_dense_uses_the_methods_own_interpolation():
    model = tiny_model("tiny-vit")
    pixels = _pixels(model, size=(64, 32))
    surgery = replace(METHODS["clip_surgery"], blocks=4)
    own = encode_dense(model, pixels, surgery).patches
    assert torch.equal(own, dense_features(model.trace(pixels, "bilinear"), surgery).patches)
    with pytest.warns(InterpolationWarning, match=r"by 'bilinear', but this trace by 'bicubic': on its grid of 8 x 4"):
        other = dense_features(model.trace(pixels, "bicubic"), surgery)
    assert not torch.allclose(own, other.patches, atol=1e-4)
    assert other.method == replace(surgery, position_interpolation="bicubic")
    assert own.shape[1:3] == (8, 4)


def test_at_the_native_size_every_interpolation_is_the_same(recwarn):
    model = tiny_model("tiny-vit")
    surgery = replace(METHODS["clip_surgery"], blocks=4)
    assert dense_features(model.trace(_pixels(model), "bicubic"), surgery).method == surgery
    assert not [w for w in recwarn if w.category is InterpolationWarning]


def test_the_warning_names_the_line_of_the_caller():
    model = tiny_model("tiny-vit")
    trace = model.trace(_pixels(model, size=(64, 32)))
    with pytest.warns(InterpolationWarning) as caught:
        dense_features(trace, replace(METHODS["clip_surgery"], blocks=4))
    assert caught[0].filename == __file__


def test_what_has_no_meaning_is_refused():
    trace = tiny_model("tiny-rn").trace(_pixels(tiny_model("tiny-rn")))
    with pytest.raises(ValueError, match="one of qk, vv, identity for the attention pool of a ResNet, but got 'gem'"):
        dense_features(trace, METHODS["gem"])
    model = tiny_model("tiny-vit")
    with pytest.raises(ValueError, match=r"blocks to be from 1 to 4 .* but got 6"):
        encode_dense(model, _pixels(model), METHODS["clip_surgery"])


def test_a_preset_is_known_by_its_name_too():
    model = tiny_model("tiny-vit")
    pixels = _pixels(model)
    trace = model.trace(pixels)
    for features in (dense_features(trace, "maskclip"), encode_dense(model, pixels, "maskclip")):
        assert features.method == METHODS["maskclip"]
        assert torch.equal(features.patches, dense_features(trace, METHODS["maskclip"]).patches)
    names = [features.method for features in iterate_dense_features(trace, ["clip", METHODS["clearclip"]])]
    assert names == [METHODS["clip"], METHODS["clearclip"]]


def test_what_is_no_method_is_refused_with_the_names():
    trace = tiny_model("tiny-vit").trace(_pixels(tiny_model("tiny-vit")))
    with pytest.raises(ValueError, match=r"Expected method to be one of clip, maskclip, .*, but got 'CLIP'"):
        dense_features(trace, "CLIP")
    with pytest.raises(TypeError, match=r"Expected method to be a Method or one of clip, maskclip, .*, but got None"):
        dense_features(trace, None)
