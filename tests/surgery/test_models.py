"""Loading: what is accepted, what is refused and in which words."""

import warnings

import pytest
import torch

from surgery import METHODS, encode_dense, load_model
from surgery.downloads import WeightsNotFound, needs_quick_gelu
from surgery.weights import RandomWeightsWarning
from tests.tiny import picture, register, tiny_model


def test_a_folder_needs_a_configuration_and_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a folder with open_clip_config\.json"):
        load_model(f"local-dir:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(FileNotFoundError, match="Expected weights"):
        load_model(f"local-dir:{tmp_path}")


def test_unknown_names_list_the_nearest():
    with pytest.raises(ValueError, match=r"but got 'ViT-B-17'; nearest: .*ViT-B-16"):
        load_model("ViT-B-17")


def test_unknown_tags_list_the_known():
    with pytest.raises(ValueError, match=r"a tag of ViT-B-16 \(openai, .* but got 'opnai'"):
        load_model("ViT-B-16", pretrained="opnai")


def test_no_network_and_no_cache_name_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    way_out = r"load_model\('{}', pretrained='path/to/weights\.safetensors'\)"
    with pytest.raises(
        WeightsNotFound, match=f"weights 'openai' of ViT-B-16 .* {way_out.format('ViT-B-16-quickgelu')}"
    ):
        load_model("ViT-B-16", pretrained="openai")  # a file cannot say that it needs QuickGELU
    with pytest.raises(FileNotFoundError, match=way_out.format("ViT-B-16")):
        load_model("ViT-B-16", pretrained="laion2b_s34b_b88k")
    with pytest.raises(FileNotFoundError, match=way_out.format("ViT-B-32-quickgelu")):
        load_model("ViT-B-32-quickgelu", pretrained="metaclip_400m")
    with pytest.raises(FileNotFoundError, match=r"weights of hf-hub:nobody/nothing .* use local-dir:folder"):
        load_model("hf-hub:nobody/nothing")


def test_random_weights_are_announced_unless_asked_for(recwarn):
    register("tiny-vit")
    assert load_model("tiny-vit", "random", device="cpu").pretrained is None
    load_model("toy", device="cpu")
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]
    message = r"tiny-vit has random weights.*pretrained='path/to/weights\.safetensors'.* or say pretrained='random'"
    with pytest.warns(RandomWeightsWarning, match=message) as caught:
        load_model("tiny-vit", device="cpu")
    assert caught[0].filename == __file__
    with pytest.warns(RandomWeightsWarning, match=r"load_model\('ViT-S-32-alt', "):
        load_model("ViT-S-32-alt", device="cpu")
    with pytest.raises(ValueError, match="Expected pretrained to be None for 'toy'"):
        load_model("toy", "random")


def test_towers_that_cannot_be_operated_on_are_refused():
    with pytest.raises(ValueError, match=r"can be operated on \(open_clip ViTs .* a bias by relative position"):
        load_model("vit_relpos_medium_patch16_cls_224", "random", device="cpu")


def test_quick_gelu_follows_the_weights():
    assert needs_quick_gelu("ViT-B-16", "openai")
    assert needs_quick_gelu("ViT-B-16-quickgelu", "openai")
    assert not needs_quick_gelu("ViT-B-16", "laion400m_e31")
    with pytest.raises(ValueError, match="QuickGELU for ViT-B-32-quickgelu, but got 'laion2b_s34b_b79k'"):
        load_model("ViT-B-32-quickgelu", pretrained="laion2b_s34b_b79k")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device to be"),
        ({"precision": "int8"}, "precision to be one of auto, fp32, fp16, bf16, fp64, but got 'int8'"),
    ],
)
def test_wrong_device_and_precision(options, message):
    with pytest.raises(ValueError, match=message):
        load_model("toy", **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_an_absent_device_is_named():
    with pytest.raises(ValueError, match=r"device to be one that this machine has \(cpu.*but got 'cuda'"):
        load_model("toy", device="cuda")


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp64", torch.float64)])
def test_precision(precision, dtype):
    model = load_model("toy", device="cpu", precision=precision)
    features = encode_dense(model, model.preprocess([picture()]), METHODS["clip_surgery"])
    assert model.dtype == dtype
    assert features.patches.dtype == (torch.float64 if precision == "fp64" else torch.float32)
    exact = load_model("toy", device="cpu", precision="fp64")
    expected = encode_dense(exact, exact.preprocess([picture()]), METHODS["clip_surgery"])
    cosine = torch.nn.functional.cosine_similarity(features.patches.double(), expected.patches, dim=-1)
    assert cosine.min() > 0.98


def test_loading_is_silent(recwarn, caplog):
    load_model("toy", device="cpu")
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)] and not caplog.records


def test_logit_scale_and_bias():
    model = tiny_model("tiny-vit")
    assert model.logit_scale == pytest.approx(1 / 0.07, rel=1e-4) and model.logit_bias is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "tiny-vit" in repr(model)
