"""Loading over a stand-in hub: tiny models under the real names of repositories, cached ones without a network."""

import json
import os
import re
import warnings

import open_clip
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save as save_tensors

from surgery import WeightsNotFound, downloads, hub, integrity, load_model
from surgery.tokenizers import create_tokenizer
from tests.checkpoints.sources import (
    CLIP_CONFIG,
    QUICK,
    TEXTS,
    clip_model,
    pixels,
    register,
    siglip_ids,
    siglip_model,
    source,
)
from tests.hub import Hub, go_online, serve

OPENAI, OWN, HF_CLIP, HF_SIGLIP, ROBERTA = (
    "timm/resnet50_clip.openai",
    "org/own-clip",
    "openai/clip-vit-base-patch32",
    "google/siglip-base-patch16-224",
    "FacebookAI/roberta-tiny",
)


def as_bytes(module: torch.nn.Module) -> bytes:
    return save_tensors({key: tensor.contiguous() for key, tensor in module.state_dict().items()})


def word_tokenizer(folder) -> dict[str, bytes]:
    """The files of a small tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", "a", "red", "circle", "two", "dogs", "on", "the", "grass"]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Repositories: a tag's, an open_clip one, two of transformers, a text tower."""
    from transformers import RobertaConfig

    register()
    roberta = RobertaConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40
    )
    siglip = {"config.json": siglip_model().module.config.to_json_string().encode()}
    siglip |= {"model.safetensors": as_bytes(siglip_model().module)}
    siglip |= word_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return {
        OPENAI: {"open_clip_model.safetensors": as_bytes(source(QUICK).module)},
        OWN: {
            "open_clip_config.json": json.dumps({"model_cfg": CLIP_CONFIG}).encode(),
            "open_clip_pytorch_model.bin": _pickled(source().module),
        },
        HF_CLIP: {
            "config.json": clip_model().module.config.to_json_string().encode(),
            "model.safetensors": as_bytes(clip_model().module),
        },
        HF_SIGLIP: siglip,
        ROBERTA: {"config.json": roberta.to_json_string().encode()}
        | word_tokenizer(tmp_path_factory.mktemp("roberta")),
        "org/coca": {"open_clip_config.json": b"", "open_clip_model.safetensors": b"never asked for"},
    }


def _pickled(module: torch.nn.Module) -> bytes:
    import io

    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    return stream.getvalue()


@pytest.fixture
def online(files, tmp_path, monkeypatch):
    with serve(files) as server:
        go_online(monkeypatch, server.address, tmp_path / "hub")
        monkeypatch.setattr(hub, "PAUSE_S", 0.01)
        monkeypatch.setattr(integrity, "_CHECKED", set())
        monkeypatch.setenv("HOME", str(tmp_path))
        yield server


@pytest.fixture
def tiny_rn50(monkeypatch):
    """RN50 as small as the weights that the stand-in hub has under its name."""
    real = open_clip.get_model_config
    monkeypatch.setattr(
        open_clip,
        "get_model_config",
        lambda name: json.loads(json.dumps(CLIP_CONFIG)) if name == "RN50" else real(name),
    )


def asked_for(server: Hub, part: str) -> int:
    return sum(part in path for _, path, _ in server.requests)


def test_a_tag_is_fetched_checked_and_loaded(online, tiny_rn50, monkeypatch):
    model = load_model("RN50", "openai", device="cpu")
    torch.testing.assert_close(model.encode_text(list(TEXTS)), source(QUICK).text, atol=1e-5, rtol=0)
    count = len(online.requests)
    load_model("RN50", "openai", device="cpu")
    assert len(online.requests) == count
    assert downloads.is_cached(open_clip.get_pretrained_cfg("RN50", "openai"))


def test_a_fault_names_the_weights_and_the_way_out(online, tiny_rn50):
    online.breaks("gated")
    with pytest.raises(
        WeightsNotFound, match=r"weights 'openai' of RN50 to be cached .* is gated; .* HF_TOKEN"
    ) as caught:
        load_model("RN50", "openai", device="cpu")
    assert caught.value.kind == "gated" and "load_model('RN50-quickgelu'" in str(caught.value)
    online.mends()
    load_model("RN50", "openai", device="cpu")


def test_only_a_missing_file_leads_on_to_the_next(online):
    online.breaks("status", code=500, match="open_clip_model.safetensors")
    with pytest.raises(WeightsNotFound, match="answered 500"):
        load_model(f"hf-hub:{OWN}", device="cpu")
    assert asked_for(online, "open_clip_pytorch_model.bin") == 0
    online.mends()
    model = load_model(f"hf-hub:{OWN}", device="cpu")
    torch.testing.assert_close(model.encode_text(list(TEXTS)), source().text, atol=1e-5, rtol=0)


def test_damaged_weights_are_named_and_fetched_again_on_consent(online, tiny_rn50):
    path = downloads.fetch_tag("RN50", "openai")
    content = bytearray(path.read_bytes())
    content[-1000:-936] = bytes(64)
    path.resolve().write_bytes(content)
    os.utime(path.resolve(), (1, 1))
    with pytest.raises(WeightsNotFound, match=re.escape(f"{path} is damaged")) as caught:
        load_model("RN50", "openai", device="cpu")
    assert caught.value.kind == "damaged" and caught.value.damaged == path
    with pytest.raises(WeightsNotFound):
        downloads.download_weights("RN50", "openai")
    integrity.discard(caught.value.damaged)
    downloads.download_weights("RN50", "openai")
    load_model("RN50", "openai", device="cpu")


def test_a_tower_is_refused_before_its_weights_are_fetched(online, files):
    coca = {"vision_cfg": CLIP_CONFIG["vision_cfg"] | {"patch_dropout": "no number"}}
    files["org/coca"]["open_clip_config.json"] = json.dumps({"model_cfg": CLIP_CONFIG | coca}).encode()
    with pytest.raises(ValueError, match="Expected hf-hub:org/coca to be an architecture that open_clip can build"):
        load_model("hf-hub:org/coca", device="cpu")
    assert asked_for(online, "open_clip_model.safetensors") == 0


def test_a_hub_id_of_transformers_loads_with_its_activation(online):
    model = load_model(f"hf-hub:{HF_CLIP}", device="cpu")
    torch.testing.assert_close(model.encode_text(list(TEXTS)), clip_model().text, atol=1e-5, rtol=0)
    with torch.inference_mode():
        image = torch.nn.functional.normalize(model.clip.encode_image(pixels()), dim=-1)
    torch.testing.assert_close(image, clip_model().image, atol=1e-5, rtol=0)


def test_a_siglip_of_transformers_brings_its_tokenizer(online, monkeypatch):
    model = load_model(f"hf-hub:{HF_SIGLIP}", device="cpu")
    with torch.inference_mode():
        text = torch.nn.functional.normalize(model.clip.encode_text(siglip_ids()), dim=-1)
    torch.testing.assert_close(text, siglip_model().text, atol=1e-5, rtol=0)
    ids = model.tokenizer(["a red circle", "two dogs"], context_length=16)
    assert ids[:, :4].tolist() == [[3, 4, 5, 1], [6, 7, 1, 0]] and ids.shape == (2, 16)
    assert model.encode_text(["a red circle"]).shape == (1, 32)
    count = len(online.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_model(f"hf-hub:{HF_SIGLIP}", device="cpu")
        assert torch.equal(again.tokenizer(["a red circle"], context_length=16), ids[:1])
    assert len(online.requests) == count


@pytest.fixture
def multilingual(tmp_path):
    text = {
        "hf_model_name": ROBERTA,
        "hf_tokenizer_name": ROBERTA,
        "hf_pooler_type": "mean_pooler",
        "context_length": 12,
    }
    config = CLIP_CONFIG | {"text_cfg": text}
    (tmp_path / "form-roberta.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "form-roberta.json")
    return "form-roberta"


def test_a_text_tower_of_hugging_face_is_built_from_the_cache(online, multilingual, monkeypatch):
    model = load_model(multilingual, "random", device="cpu")
    first = model.encode_text(["two dogs on the grass", "a"])
    count = len(online.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load_model(multilingual, "random", device="cpu")
    again.clip.load_state_dict(model.clip.state_dict())
    torch.testing.assert_close(again.encode_text(["two dogs on the grass", "a"]), first)
    assert len(online.requests) == count


def test_a_text_tower_that_is_nowhere_says_so(online, multilingual, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsNotFound, match=f"configuration of the text tower {ROBERTA} .* HF_HUB_OFFLINE"):
        load_model(multilingual, "random", device="cpu")


def test_a_tokenizer_that_stops_halfway_is_completed_the_next_time(online, tmp_path):
    online.breaks("status", code=500, match="tokenizer_config.json", times=1)
    with pytest.raises(WeightsNotFound, match=f"tokenizer of {ROBERTA}.*answered 500"):
        downloads.fetch_tokenizer(ROBERTA)
    assert (downloads.fetch_tokenizer(ROBERTA) / "tokenizer.json").is_file()


def test_a_published_siglip_takes_its_tokenizer_from_the_hub(online, files, monkeypatch):
    files["timm/ViT-B-16-SigLIP"] = {k: v for k, v in files[HF_SIGLIP].items() if k.startswith("token")}
    tokenizer = create_tokenizer("ViT-B-16-SigLIP")
    assert tokenizer.context_length == 64 and tokenizer(["A red, circle!"])[0, :4].tolist() == [3, 4, 5, 1]
    del files["timm/ViT-B-16-SigLIP"]
