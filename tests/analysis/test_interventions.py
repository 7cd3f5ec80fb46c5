"""Ablations against a network that is really changed, and the logit lens against its definition."""

import numpy as np
import pytest
import torch

from analysis.decomposition import Component
from analysis.interventions import ablate, components_of, iterate_interventions, remove_together
from analysis.lens import logit_lens, turning_layer
from analysis.metrics import contrast
from analysis.regions import Region
from surgery import METHODS, dense_features, similarity
from tests.tiny import picture, tiny_model

TOWERS = ("tiny-vit", "tiny-vit-scaled", "tiny-map")


def _case(name, precision="fp64"):
    model = tiny_model(name, precision)
    pixels = model.preprocess([picture()])
    trace = model.trace(pixels)
    text = torch.randn(1, 24, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    region = Region.from_patches([(0, 0), (1, 1), (1, 2), (2, 1)], trace.grid)
    return model, pixels, trace, text, region


def _module_path(model, block, part):
    names = {"tiny-map": ("trunk.blocks", {"ls_1": "ls1", "ls_2": "ls2", "out_proj": "attn.proj"})}
    prefix, rename = names.get(model.name, ("transformer.resblocks", {"out_proj": "attn.out_proj"}))
    return model.clip.visual.get_submodule(f"{prefix}.{block}.{rename.get(part, part)}")


@pytest.mark.parametrize("block", [0, 2])
@pytest.mark.parametrize("kind", ["attention", "mlp"])
@pytest.mark.parametrize("name", TOWERS)
def test_a_zeroed_output_equals_a_network_with_the_output_hooked_to_zero(name, kind, block):
    model, pixels, trace, _, _ = _case(name)
    scale = _module_path(model, block, "ls_1" if kind == "attention" else "ls_2")
    hook = scale.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    try:
        expected = model.trace(pixels).output
        pooled = model.clip.encode_image(pixels)
    finally:
        hook.remove()
    changed = ablate(trace, Component(kind, block), "zero")
    assert torch.allclose(changed.output, expected, atol=1e-10)
    assert torch.allclose(dense_features(changed, METHODS["clip"]).cls, pooled, atol=1e-10)


@pytest.mark.parametrize("name", TOWERS)
def test_a_zeroed_head_equals_zeroed_columns_of_the_output_projection(name):
    model, pixels, trace, _, _ = _case(name)
    projection = _module_path(model, 1, "out_proj")
    width = projection.weight.shape[1] // model.tower.blocks[1].heads
    kept = projection.weight.detach().clone()
    try:
        with torch.no_grad():
            projection.weight[:, width : 2 * width] = 0
        expected = model.trace(pixels).output
    finally:
        with torch.no_grad():
            projection.weight.copy_(kept)
    assert torch.allclose(ablate(trace, Component("head", 1, 1), "zero").output, expected, atol=1e-10)


def test_mean_ablation_gives_every_patch_the_same_and_leaves_cls_alone():
    _, _, trace, _, _ = _case("tiny-vit")
    before, after = trace.block(1), ablate(trace, Component("attention", 1), "mean").block(1)
    assert torch.equal(after.attn_out[:, 0], before.attn_out[:, 0])
    assert torch.allclose(after.attn_out[:, 1:], before.attn_out[:, 1:].mean(1, keepdim=True).expand(-1, 36, -1))


def test_an_ablation_reaches_the_maps_of_clip():
    _, _, trace, text, region = _case("tiny-vit")
    found = list(iterate_interventions(trace, text, region))
    before = contrast(similarity(dense_features(trace, METHODS["clip"]), text).patches[0, :, :, 0], region)
    assert [i.component for i in found] == list(components_of(trace)) and len(found) == 8
    for intervention in found:
        assert intervention.change == pytest.approx(intervention.contrast - before, abs=1e-12)
        assert abs(intervention.change) > 1e-6
    last = ablate(trace, Component("mlp", 3), "mean")
    expected = contrast(similarity(dense_features(last, METHODS["clip"]), text).patches[0, :, :, 0], region)
    assert found[-1].contrast == pytest.approx(expected, abs=1e-12)


def test_heads_are_listed_and_blamed():
    _, _, trace, text, region = _case("tiny-vit")
    heads = [c for c in components_of(trace, heads=True) if c.kind == "head"]
    assert len(heads) == 16
    found = list(iterate_interventions(trace, text, region, heads[:3]))
    assert all(i.blame != 0 for i in found)


@pytest.mark.parametrize(
    ("component", "how", "message"),
    [
        (Component("embedding"), "mean", "a component of kind attention, head, mlp, but got 'embedding'"),
        (Component("mlp", 9), "mean", "block from 0 to 3, but got 9"),
        (Component("head", 1, 4), "mean", "head from 0 to 3, but got 4"),
        (Component("mlp", 1), "noise", "how to be one of mean, zero, but got 'noise'"),
    ],
)
def test_what_cannot_be_removed_is_named(component, how, message):
    with pytest.raises(ValueError, match=message):
        ablate(_case("tiny-vit")[2], component, how)


def test_a_head_of_an_edited_attention_output_is_refused():
    edited = ablate(_case("tiny-vit")[2], Component("attention", 1))
    with pytest.raises(ValueError, match=r"'a1\.h0' was edited before"):
        ablate(edited, Component("head", 1, 0))


def test_the_map_can_be_read_by_the_name_of_a_preset():
    _, _, trace, text, region = _case("tiny-vit")
    named = next(iterate_interventions(trace, text, region, method="maskclip"))
    assert named == next(iterate_interventions(trace, text, region, method=METHODS["maskclip"]))
    assert named != next(iterate_interventions(trace, text, region))


def test_one_image_and_one_text():
    _, _, trace, text, region = _case("tiny-vit")
    with pytest.raises(ValueError, match="one image and one text, but got 1 and 2"):
        next(iterate_interventions(trace, torch.cat([text, text]), region))


@pytest.mark.parametrize("name", TOWERS)
def test_the_lens_ends_at_the_map_of_clip(name):
    model, _, trace, text, region = _case(name)
    lens = logit_lens(trace, text)
    assert lens.similarity.shape == (1, trace.depth + 1, *trace.grid, 1)
    sim = similarity(dense_features(trace, METHODS["clip"]), text)
    np.testing.assert_allclose(lens.similarity[:, -1], sim.patches.numpy(), atol=1e-12)
    first = model.tower.readout(trace.stream(0)[:, model.tower.prefix :])
    expected = torch.nn.functional.cosine_similarity(first, text[0], dim=-1).reshape(trace.grid)
    np.testing.assert_allclose(lens.similarity[0, 0, :, :, 0], expected.numpy(), atol=1e-12)
    assert lens.contrast(region)[0, -1, 0] == pytest.approx(contrast(sim.patches[0, :, :, 0], region), abs=1e-12)


def test_a_resnet_has_no_lens():
    model = tiny_model("tiny-rn")
    with pytest.raises(ValueError, match="Expected a tower with a residual stream"):
        logit_lens(model.trace(model.preprocess([picture()])), torch.ones(1, 32))


@pytest.mark.parametrize(
    ("contrasts", "expected"),
    [([1, 2, 3], None), ([-1, -2], None), ([1, -1, -2], 1), ([1, -1, 1, 1, -1], 4), ([-1, 1], 1)],
)
def test_turning_layer_by_hand(contrasts, expected):
    assert turning_layer(np.array(contrasts)) == expected


@pytest.mark.parametrize("name", TOWERS)
def test_several_outputs_zeroed_at_once_equal_a_network_with_hooks_on_all(name):
    model, pixels, trace, _, _ = _case(name)
    hooks = [
        _module_path(model, block, part).register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        for block, part in ((0, "ls_2"), (2, "ls_1"), (2, "ls_2"))
    ]
    try:
        expected = model.trace(pixels).output
    finally:
        for hook in hooks:
            hook.remove()
    parts = [Component("mlp", 2), Component("attention", 2), Component("head", 2, 0), Component("mlp", 0)]
    assert torch.allclose(ablate(trace, parts, "zero").output, expected, atol=1e-10)
    assert torch.equal(ablate(trace, parts[::-1]).output, ablate(trace, parts).output)


def test_all_heads_of_a_block_together_leave_its_output_bias():
    _, _, trace, _, _ = _case("tiny-vit")
    without = ablate(trace, [Component("head", 1, head) for head in range(4)], "zero").block(1).attn_out
    bias = trace.tower.blocks[1].out_proj.bias
    assert torch.allclose(without, bias.expand_as(without), atol=1e-12)


def test_together_is_not_the_sum_of_one_by_one():
    _, _, trace, text, region = _case("tiny-vit")
    parts = (Component("head", 1, 1), Component("mlp", 1), Component("mlp", 3))
    joint = remove_together(trace, text, region, [*parts, parts[0]])
    assert [single.component for single in joint.singles] == [*parts]
    singles = list(iterate_interventions(trace, text, region, parts))
    assert joint.sum_of_changes == pytest.approx(sum(single.change for single in singles), abs=1e-12)
    values = similarity(dense_features(ablate(trace, parts), METHODS["clip"]), text).patches[0, :, :, 0]
    assert joint.contrast == pytest.approx(contrast(values, region), abs=1e-12)
    assert joint.interaction == pytest.approx(joint.change - joint.sum_of_changes) and abs(joint.interaction) > 1e-6
    assert joint.blame == pytest.approx(sum(single.blame for single in singles))
    alone = remove_together(trace, text, region, [parts[1]])
    assert alone.interaction == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="at least one component to remove, but got none"):
        remove_together(trace, text, region, [])
