"""The recorded pass: equal to the model's own, partial records, interventions, threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from surgery import METHODS, dense_features
from surgery.trace import rerun
from tests.surgery import slow
from tests.tiny import TOWERS, picture, tiny_model


def _pixels(model, seed=0, size=None):
    return model.preprocess([picture(seed)], size)


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-vit-scaled"])
def test_streams_are_those_of_the_model(name):
    model = tiny_model(name, "fp64")
    trace = model.trace(_pixels(model))
    for index, expected in enumerate(slow.original_path(model.clip, _pixels(model))):
        assert torch.allclose(trace.stream(index), expected, atol=1e-10)


@pytest.mark.parametrize("name", TOWERS)
def test_every_block_adds_up(name):
    model = tiny_model(name, "fp64")
    trace = model.trace(_pixels(model))
    for index in range(trace.depth):
        block = trace.block(index)
        written = block.attn_out if block.mlp_out is None else block.attn_out + block.mlp_out
        before = block.x if model.tower.has_residual else 0
        assert torch.allclose(before + written, trace.stream(index + 1), atol=1e-12)


def test_nothing_of_the_model_changes():
    model = tiny_model("tiny-vit")
    before = {name: value.clone() for name, value in model.clip.state_dict().items()}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.clip.modules())
    dense_features(model.trace(_pixels(model, size=64)), METHODS["maskclip"])
    assert all(torch.equal(before[name], value) for name, value in model.clip.state_dict().items())
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.clip.modules())


def test_kept_blocks_are_enough_for_a_method_and_others_are_named():
    model = tiny_model("tiny-vit")
    full, last, some = (model.trace(_pixels(model), keep=keep) for keep in (None, 1, [0, 3]))
    assert torch.equal(dense_features(full, METHODS["naclip"]).patches, dense_features(last, METHODS["naclip"]).patches)
    assert torch.equal(full.block(0).v, some.block(0).v)
    with pytest.raises(ValueError, match=r"block 1 to be kept by this trace, but got only \[0, 3\]"):
        some.block(1)
    with pytest.raises(ValueError, match="block to be from 0 to 3, but got 4"):
        full.block(4)
    with pytest.raises(ValueError, match=r"keep to name blocks from 0 to 3, but got \[7\]"):
        model.trace(_pixels(model), keep=[7])
    with pytest.raises(ValueError, match="keep to be from 0 to 4 blocks, but got 5"):
        model.trace(_pixels(model), keep=5)


def test_records_can_be_stored_elsewhere_and_come_back():
    model = tiny_model("tiny-vit")
    stored = model.trace(_pixels(model), store="meta")
    assert stored.records[0].q.device.type == "meta" and stored.device.type == "cpu"
    moved = model.trace(_pixels(model), store="cpu")
    assert torch.equal(moved.block(2).attn_out, model.trace(_pixels(model)).block(2).attn_out)


@pytest.mark.parametrize("name", [n for n in TOWERS if n != "tiny-rn"])
def test_a_rerun_from_a_block_equals_a_full_run_with_the_change(name):
    model = tiny_model(name, "fp64")
    trace = model.trace(_pixels(model))
    for index in range(trace.depth):
        changed = rerun(trace, index, attn_out=torch.zeros_like(trace.block(index).attn_out))
        expected = _full_run_without_attention(model, trace, index)
        assert torch.allclose(changed.output, expected, atol=1e-10)
        assert changed.records[:index] == trace.records[:index]
        assert changed.block(index).edited and not trace.block(index).edited


def _full_run_without_attention(model, trace, without):
    """The blocks one by one in plain terms, with one attention output left out."""
    x = trace.stream(0)
    for index, block in enumerate(model.tower.blocks):
        modules = dict(model.clip.visual.named_modules())
        path = f"transformer.resblocks.{index}" if "transformer" in modules else f"trunk.blocks.{index}"
        own = modules[path]
        norm, ls = (own.ln_1, own.ls_1) if hasattr(own, "ln_1") else (own.norm1, own.ls1)
        y = norm(x)
        attended = own.attention(y) if hasattr(own, "attention") else own.attn(y)
        u = x if index == without else x + ls(attended)
        x = u + block.mlp_out(u)
    return x


def test_a_rerun_with_the_same_output_changes_nothing():
    model = tiny_model("tiny-vit", "fp64")
    trace = model.trace(_pixels(model))
    record = trace.block(1)
    assert torch.allclose(rerun(trace, 1, attn_out=record.attn_out).output, trace.output, atol=1e-12)
    assert torch.allclose(rerun(trace, 1, mlp_out=record.mlp_out).output, trace.output, atol=1e-12)


def test_a_resnet_has_no_mlp_to_replace():
    model = tiny_model("tiny-rn")
    trace = model.trace(_pixels(model))
    with pytest.raises(ValueError, match="Expected a block with an MLP, but got block 0 of tiny-rn"):
        rerun(trace, 0, mlp_out=trace.output)


def test_two_threads_on_one_model_give_the_serial_answer():
    model = tiny_model("tiny-vit")
    inputs = [_pixels(model, seed) for seed in range(6)]
    serial = [model.trace(pixels).output for pixels in inputs]
    with ThreadPoolExecutor(2) as pool:
        threaded = list(pool.map(lambda pixels: model.trace(pixels).output, inputs * 5))
    assert all(torch.equal(a, b) for a, b in zip(serial * 5, threaded, strict=True))


@pytest.mark.parametrize("shape", [(1, 3, 50, 48), (1, 3, 0, 48), (3, 48, 48), (1, 1, 48, 48)])
def test_wrong_pixels_are_refused(shape):
    with pytest.raises(ValueError, match=r"Expected (size to be a multiple of the patch|pixels to be of shape)"):
        tiny_model("tiny-vit").trace(torch.zeros(shape))


def test_unknown_interpolation_is_refused():
    with pytest.raises(
        ValueError, match="one of bicubic, bilinear, bicubic_antialias, bicubic_size, but got 'nearest'"
    ):
        tiny_model("tiny-vit").trace(torch.zeros(1, 3, 48, 64), position_interpolation="nearest")
