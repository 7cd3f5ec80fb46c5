"""Text features on disk: what is found again, what is told apart, and what is rebuilt."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import surgery.text
from surgery.text import encode_text
from surgery.text_cache import open_text_cache, text_fingerprint
from tests.surgery.text_models import WordTokenizer, text_model

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["dog", "grass", ""]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIP_THEATRE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def computed(monkeypatch):
    """The texts whose features were computed, not read."""
    texts, original = [], surgery.text._compute_ensemble

    def counted(model, group, templates):
        texts.extend(group)
        return original(model, group, templates)

    monkeypatch.setattr(surgery.text, "_compute_ensemble", counted)
    return texts


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_second_run_reads_the_same_bits(folder, computed):
    first = encode_text(text_model(), TEXTS, "photo")
    assert computed == TEXTS
    again = encode_text(text_model(), TEXTS[::-1], "photo")  # another object, the same weights
    assert computed == TEXTS
    assert torch.equal(again, first.flip(0))


def test_a_new_class_costs_only_itself(folder, computed):
    encode_text(text_model(), TEXTS, "photo")
    encode_text(text_model(), ["tree", *TEXTS], "photo")
    assert computed == [*TEXTS, "tree"]
    assert len(files(folder)) == 4


def test_other_templates_are_told_apart(folder, computed):
    model = text_model()
    photo = encode_text(model, ["dog"], "photo")
    assert not torch.allclose(encode_text(model, ["dog"]), photo)
    assert torch.equal(encode_text(model, ["dog"], ["a photo of a {}."]), photo)
    assert computed == ["dog", "dog"]


def _other(change):
    model = text_model()
    change(model)
    return model


def _nudge(model):
    with torch.no_grad():
        model.clip.ln_final.bias[3] += 1e-6


def _activate(model):
    for block in model.clip.transformer.resblocks:
        block.mlp.gelu = torch.nn.GELU(approximate="tanh")


OTHERS = {
    "seed": lambda: text_model(seed=1),
    "one weight": lambda: _other(_nudge),
    "activation": lambda: _other(_activate),
    "heads": lambda: _other(lambda m: setattr(m.clip.transformer.resblocks[0].attn, "num_heads", 4)),
    "pooling": lambda: _other(lambda m: setattr(m.clip, "text_pool_type", "first")),
    "precision": lambda: text_model(dtype=torch.float64),
    "half": lambda: text_model(dtype=torch.bfloat16),
    "mask": lambda: text_model("bidirectional"),
    "tokenizer": lambda: _other(lambda m: setattr(m, "tokenizer", WordTokenizer())),
    "device": lambda: _other(lambda m: setattr(m, "device", torch.device("cuda"))),
}


@pytest.mark.parametrize("change", OTHERS)
def test_other_models_are_told_apart(change):
    assert text_fingerprint(OTHERS[change]()) != text_fingerprint(text_model())


def test_features_of_bf16_never_come_out_of_the_cache_as_float32(folder, computed):
    exact = encode_text(text_model(), ["dog"])
    for model in (text_model(dtype=torch.bfloat16), text_model()):
        encode_text(model, ["dog"])
    assert computed == ["dog", "dog"]  # in float32, in bf16, and not again
    assert torch.equal(encode_text(text_model(), ["dog"]), exact)


def test_the_image_tower_does_not_matter():
    model = text_model()
    with torch.no_grad():
        model.clip.visual.conv1.weight += 1
        model.clip.logit_scale += 1
    assert text_fingerprint(model) == text_fingerprint(text_model())


def test_weights_changed_in_place_are_noticed(folder, computed):
    model = text_model()
    before = encode_text(model, ["dog"])
    model.clip.load_state_dict(text_model(seed=1).clip.state_dict())
    assert not torch.allclose(encode_text(model, ["dog"]), before)
    assert torch.equal(encode_text(text_model(seed=1), ["dog"]), encode_text(model, ["dog"]))


def test_the_fingerprint_is_computed_once(monkeypatch):
    model = text_model()
    fingerprint = text_fingerprint(model)
    monkeypatch.setattr("surgery.text_cache._compute_fingerprint", lambda *_: pytest.fail("computed twice"))
    assert text_fingerprint(model) == fingerprint


def test_weights_loaded_in_inference_mode_have_a_fingerprint():
    with torch.inference_mode():
        model = text_model()
    assert text_fingerprint(model) == text_fingerprint(text_model())


def _array(content, change):
    values = np.frombuffer(content[32:], np.float32).copy()
    return content[:32] + change(values).tobytes()


DAMAGE = {
    "empty": lambda content: b"",
    "digest only": lambda content: content[:32],
    "truncated": lambda content: content[:-4],
    "longer": lambda content: content + bytes(4),
    "one bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "other format": lambda content: json.dumps({"dog": 1}).encode(),
    "not finite": lambda content: _array(content, lambda values: values * np.nan),
    "wrong shape": lambda content: _array(content, lambda values: values[:5]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_entries_are_rebuilt(damage, folder, computed):
    model = text_model()
    expected = encode_text(model, TEXTS)
    whole = {path: path.read_bytes() for path in files(folder)}
    for path, content in whole.items():
        path.write_bytes(DAMAGE[damage](content))
    assert torch.equal(encode_text(model, TEXTS), expected)
    assert computed == TEXTS * 2
    assert {path: path.read_bytes() for path in files(folder)} == whole


def test_an_entry_of_another_text_is_not_believed(folder, computed):
    model = text_model()
    dog = encode_text(model, ["dog"])
    grass = encode_text(model, ["grass"])
    store = open_text_cache(model, ("{}",))
    store.path("grass").write_bytes(store.path("dog").read_bytes())
    assert torch.equal(encode_text(model, ["dog", "grass"]), torch.cat([dog, grass]))


def test_nan_is_not_kept(folder, computed):
    model = text_model()
    with torch.no_grad():
        model.clip.text_projection.fill_(torch.nan)
    assert encode_text(model, ["dog"]).isnan().all()
    assert files(folder) == []


def test_the_cache_can_be_switched_off(folder, computed, monkeypatch):
    model = text_model()
    encode_text(model, ["dog"], cache=False)
    monkeypatch.setenv("CLIP_THEATRE_CACHE", "Off")
    monkeypatch.chdir(folder)
    encode_text(model, ["dog"])
    assert computed == ["dog", "dog"]
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CLIP_THEATRE_CACHE", str(tmp_path / "file"))
    model = text_model()
    with pytest.warns(RuntimeWarning, match="Text features could not be cached in .*file"):
        features = encode_text(model, ["dog"])
    assert torch.equal(features, encode_text(model, ["dog"], cache=False))


SCRIPT = """
import torch
from tests.surgery.text_models import text_model
from surgery.text import encode_text
print("ready", flush=True)
input()
encode_text(text_model(), [f"number {i}" for i in range(100)])
"""


def test_two_processes_may_write_at_once(folder, computed):
    pipe = subprocess.PIPE
    other = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("\n")
    other.stdin.flush()
    texts = [f"number {i}" for i in range(100)]
    encode_text(text_model(), texts)
    other.communicate(timeout=120)
    assert other.returncode == 0
    computed.clear()
    features = encode_text(text_model(), texts)
    assert computed == []
    assert len(files(folder)) == 100
    assert torch.allclose(features, encode_text(text_model(), texts, cache=False), atol=1e-6)
