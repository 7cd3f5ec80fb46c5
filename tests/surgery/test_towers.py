"""The general contract of every kind of tower: the model's own feature, the read-out, blame, ablation, other sizes.

Each kind is built in a tiny configuration by open_clip's and timm's own constructors (`tests.towers`); that the real
architectures are of these kinds is checked in `test_families`.
"""

import copy
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from analysis.decomposition import Component, decompose
from analysis.explainers import explain, usable_explainers
from analysis.interventions import ablate
from surgery import METHODS, Method, dense_features, encode_dense, similarity, usable_methods
from surgery.graph import image_reading
from tests.tiny import picture
from tests.towers import FIXED_SIZE, LAST_LAYER, OWN, TOWERS, WITH_BLOCKS, tower_model

TIMM_BLOCKS = tuple(name for name in WITH_BLOCKS if name not in OWN)
RESIDUAL = tuple(name for name in WITH_BLOCKS if name != "rn")
FREE = Method("kk", blocks=2, residual=0.3, alpha=2.0)


def pixels_of(model, size=None):
    return model.preprocess([picture(0), picture(1)], size)


def own_feature(model, pixels):
    return model.clip.encode_image(pixels, normalize=False)


def blocks_of(model):
    """The model's own block modules."""
    visual = model.clip.visual
    return visual.trunk.blocks if hasattr(visual, "trunk") else visual.transformer.resblocks


def written(model, index, kind):
    """The module of a block behind which its attention or MLP output is added to the stream."""
    block, which = blocks_of(model)[index], 1 if kind == "attention" else 2
    return block.get_submodule(f"ls_{which}" if hasattr(block, "ls_1") else f"drop_path{which}")


@contextmanager
def hooked(module, change):
    """Replaces the output of a module by `change` of it."""
    handle = module.register_forward_hook(lambda module, inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def last_tokens(model, pixels):
    """x_L, from a hook on the last block of an ordinary pass."""
    seen = []
    with hooked(blocks_of(model)[-1], seen.append):
        own_feature(model, pixels)
    return seen[0]


def feature_of_one_token(model, first, token):
    """The model's own head on a sequence of one patch (behind CLS and registers where it pools by an average)."""
    visual = model.clip.visual
    if hasattr(visual, "trunk"):
        trunk, sequence = visual.trunk, torch.cat([first, token], dim=1)
        if trunk.global_pool in ("token", "map"):
            sequence = token
            prefix = (
                trunk.num_prefix_tokens if trunk.global_pool == "map" and hasattr(trunk, "pool_include_prefix") else 0
            )
            sequence = torch.cat([first, token], dim=1) if prefix else token
        return visual.head(trunk.forward_head(trunk.norm(sequence)))
    average = visual.attn_pool is None and visual.pool_type == "avg"
    return visual._pool(torch.cat([first, token], dim=1) if average else token)[0] @ visual.proj


@pytest.mark.parametrize("name", TOWERS)
def test_cls_is_the_feature_of_the_model(name):
    model = tower_model(name)
    pixels = pixels_of(model)
    feats = encode_dense(model, pixels, "clip")
    torch.testing.assert_close(feats.cls, own_feature(model, pixels), atol=1e-10, rtol=0)
    assert feats.patches.shape == (2, *model.tower.native_grid, feats.cls.shape[1])


@pytest.mark.parametrize("name", RESIDUAL)
def test_patches_are_what_the_model_makes_of_a_patch_alone(name):
    model = tower_model(name)
    pixels = pixels_of(model)
    x, prefix = last_tokens(model, pixels), model.tower.prefix
    assert x.shape[1] == prefix + np.prod(model.tower.native_grid)
    alone = [feature_of_one_token(model, x[:, :prefix], x[:, i : i + 1]) for i in range(prefix, x.shape[1])]
    patches = encode_dense(model, pixels, "clip").patches.flatten(1, 2)
    torch.testing.assert_close(patches, torch.stack(alone, dim=1), atol=1e-10, rtol=0)


def test_patches_of_a_resnet_are_its_attention_pool_with_every_place_as_the_query():
    model = tower_model("rn")
    pixels, visual = pixels_of(model), model.clip.visual
    pool = visual.attnpool
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels))))).flatten(2).permute(2, 0, 1)
    x = torch.cat([x.mean(dim=0, keepdim=True), x]) + pool.positional_embedding[:, None]
    q, k, v = (
        layer(x).unflatten(-1, (pool.num_heads, -1)).permute(1, 2, 0, 3)
        for layer in (pool.q_proj, pool.k_proj, pool.v_proj)
    )
    attended = pool.c_proj(((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2))
    patches = encode_dense(model, pixels, "clip").patches.flatten(1, 2)
    torch.testing.assert_close(patches, attended[:, 1:], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", LAST_LAYER)
def test_patches_of_a_last_layer_are_what_the_network_averages(name):
    """Features of the places; where no norm and no MLP stands between, their mean is the feature of the image."""
    model = tower_model(name)
    pixels, visual = pixels_of(model), model.clip.visual
    x = visual.trunk.forward_features(pixels)
    x = x if name == "swin" else x.movedim(1, -1)  # (b, gh, gw, w)
    norm, fc = getattr(visual.trunk.head, "norm", None), visual.trunk.head.fc
    x = x if norm is None else F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
    expected = visual.head(fc(x))
    feats = encode_dense(model, pixels, "clip")
    torch.testing.assert_close(feats.patches, expected, atol=1e-10, rtol=0)
    if name in ("mobileclip-s", "swin"):
        torch.testing.assert_close(feats.patches.mean(dim=(1, 2)), feats.cls, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_the_reading_of_the_feature_ends_at_the_feature(name):
    """CLS, the mean token or the query of an attention pool: its pattern over what it sees, finished by the model."""
    model = tower_model(name)
    pixels, tower = pixels_of(model), model.tower
    trace = model.trace(pixels)
    streams = [trace.stream(index) for index in range(trace.depth + 1)]
    if tower.pooling == "patches":
        with pytest.raises(ValueError, match="but got one that averages its patches"):
            image_reading(tower, streams, trace.grid)
        return
    reading = image_reading(tower, streams, trace.grid)
    feature = reading.finish(torch.einsum("bhn,bhnd->bhd", reading.pattern(), reading.v))
    torch.testing.assert_close(feature.reshape(2, -1), own_feature(model, pixels), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["coca", "eva02", "pe", "vitamin", "timm-registers", "convnext"])
def test_explainers_follow(name):
    """Every explainer with a meaning gives a map over the patches; Grad-CAM and integrated gradients always do."""
    model = tower_model(name)
    pixels = pixels_of(model)[:1]
    text = torch.randn(2, own_feature(model, pixels).shape[1], generator=torch.Generator().manual_seed(3))
    names = usable_explainers(model.tower)
    assert {"gradcam", "integrated_gradients"} <= set(names) and ("chefer" in names) == (
        model.tower.pooling != "patches"
    )
    for explainer in names:
        found = explain(model, pixels, text.double(), explainer).patches
        assert found.shape == (1, *model.tower.native_grid, 2) and bool(torch.as_tensor(found).isfinite().all())


@pytest.mark.parametrize("name", LAST_LAYER)
def test_a_last_layer_refuses_methods_that_need_blocks(name):
    model = tower_model(name)
    assert list(usable_methods(model.tower)) == ["clip"]
    with pytest.raises(ValueError, match="method to be clip for a tower without blocks over all tokens"):
        dense_features(model.trace(pixels_of(model)), "maskclip")


@pytest.mark.parametrize("name", TIMM_BLOCKS + tuple(OWN)[:-1])
def test_every_stream_is_that_of_the_model(name):
    model = tower_model(name)
    pixels, seen = pixels_of(model), []
    handles = [block.register_forward_hook(lambda m, i, output: seen.append(output)) for block in blocks_of(model)]
    own_feature(model, pixels)
    for handle in handles:
        handle.remove()
    trace = model.trace(pixels)
    for index, stream in enumerate(seen, start=1):
        torch.testing.assert_close(trace.stream(index), stream, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", TOWERS)
def test_blame_sums_to_the_similarity(name):
    model = tower_model(name)
    trace = model.trace(pixels_of(model))
    width = model.tower.pool(trace.output).shape[-1]
    text = torch.randn(3, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for method in blamed(model.tower):
        blame = decompose(trace, text, method)
        expected = similarity(dense_features(trace, method), text).patches.numpy()
        np.testing.assert_array_equal(blame.similarity, expected)
        np.testing.assert_allclose(blame.terms.sum(axis=1), expected, atol=1e-10)
        if "head" in {c.kind for c in blame.components}:
            coarse = decompose(trace, text, method, heads=False)
            np.testing.assert_allclose(blame.merged().terms, coarse.terms, atol=1e-10)


def blamed(tower):
    """Methods of every kind that walk: the original path, with a residual and without, with MLPs and without."""
    if not tower.blocks:
        return [METHODS["clip"]]
    if tower.kinds is not None:
        return [METHODS["clip"], METHODS["maskclip"]]
    return [METHODS["clip"], METHODS["maskclip"], replace(METHODS["gem"], blocks=3), METHODS["naclip"], FREE]


@pytest.mark.parametrize("kind", ["attention", "mlp"])
@pytest.mark.parametrize("name", RESIDUAL)
def test_an_ablation_equals_a_hooked_pass(name, kind):
    model = tower_model(name)
    pixels, prefix = pixels_of(model), model.tower.prefix

    def averaged(output):
        patches = output[:, prefix:]
        return torch.cat([output[:, :prefix], patches.mean(dim=1, keepdim=True).expand_as(patches)], dim=1)

    trace = model.trace(pixels)
    for how, change in (("zero", torch.zeros_like), ("mean", averaged)):
        with hooked(written(model, 1, kind), change):
            expected = own_feature(model, pixels)
        changed = dense_features(ablate(trace, Component(kind, 1), how), "clip").cls
        torch.testing.assert_close(changed, expected, atol=1e-10, rtol=0)
        assert (changed - own_feature(model, pixels)).abs().max() > 1e-6


@pytest.mark.parametrize("name", TIMM_BLOCKS)
def test_a_head_is_removed_before_the_norm_and_the_projection_behind_it(name):
    model = tower_model(name)
    pixels, attn = pixels_of(model), blocks_of(model)[1].attn
    width = attn.proj.in_features // attn.num_heads

    def without_head_2(module, inputs):
        kept = inputs[0].clone()
        kept[..., 2 * width : 3 * width] = 0
        return (kept,)

    handle = attn.norm.register_forward_pre_hook(without_head_2)
    expected = own_feature(model, pixels)
    handle.remove()
    changed = dense_features(ablate(model.trace(pixels), Component("head", 1, 2), "zero"), "clip").cls
    torch.testing.assert_close(changed, expected, atol=1e-10, rtol=0)


def at_size(model, size):
    """The feature function of the model brought to another size by timm itself."""
    visual = copy.deepcopy(model.clip.visual)
    if hasattr(visual.trunk, "set_input_size"):
        visual.trunk.set_input_size(img_size=size)
    return visual


@pytest.mark.parametrize("name", [n for n in TOWERS if n not in (*OWN, *FIXED_SIZE)])
def test_other_sizes_are_those_of_timm(name):
    """timm interpolates learned positions bicubically with antialiasing, and gives rotary ones for the new grid."""
    model = tower_model(name)
    rows, columns = model.native_size
    size = (rows, 2 * columns)
    pixels = pixels_of(model, size)
    trace = model.trace(pixels, position_interpolation="bicubic_antialias")
    torch.testing.assert_close(model.tower.pool(trace.output), at_size(model, size)(pixels), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        model.tower.pool(model.trace(pixels_of(model)).output), own_feature(model, pixels_of(model))
    )


@pytest.mark.parametrize("name", FIXED_SIZE)
def test_a_tower_of_one_size_refuses_another(name):
    with pytest.raises(ValueError, match=r"size to be \(64, 64\), the only one of this tower, but got \(64, 128\)"):
        tower_model(name).preprocess([picture()], (64, 128))


def test_registers_are_counted_apart():
    towers = {name: tower_model(name).tower for name in TOWERS}
    assert {n: (t.has_cls, t.registers) for n, t in towers.items() if t.registers} == {
        "timm-registers": (True, 4),
        "timm-rope-registers": (False, 1),
    }
    without_cls = {n for n, t in towers.items() if not t.has_cls} - set(LAST_LAYER)
    assert without_cls == {
        "siglip",
        "siglip-average",
        "naflex",
        "pe-without-cls",
        "vitamin",
        "timm-average",
        "timm-rope-registers",
    }


def test_rotary_kinds_use_the_rotated_queries_and_keys():
    model = tower_model("eva02")
    block, attn = model.tower.blocks[0], blocks_of(model)[0].attn
    trace = model.trace(pixels_of(model))
    y = blocks_of(model)[0].norm1(trace.stream(0))
    plain = attn.q_proj(y).unflatten(-1, (4, -1)).transpose(1, 2)
    p = block.project(trace.stream(0), trace.grid, 1)
    torch.testing.assert_close(p.q[:, :, :1], plain[:, :, :1])  # CLS is not turned
    torch.testing.assert_close(p.q.norm(dim=-1), plain.norm(dim=-1), atol=1e-6, rtol=0)
    assert (p.q[:, :, 2:] - plain[:, :, 2:]).abs().max() > 0.1
    torch.testing.assert_close(p.v, attn.v_proj(y).unflatten(-1, (4, -1)).transpose(1, 2))
