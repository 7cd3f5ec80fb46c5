"""The committed toy model: its files, and that it knows the toy world."""

import gzip
import json
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from data.toy import Scene, make_scenes
from data.toy.captions import toy_words
from data.toy.train import CONFIG_FILE, MERGES_FILE, MODEL_DIR, WEIGHTS_FILE, toy_config, write_model_folder

EVALUATION_SEED = 4_242


@pytest.fixture(scope="module")
def tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.get_tokenizer(f"local-dir:{MODEL_DIR}", bpe_path=str(MODEL_DIR / MERGES_FILE))


@pytest.fixture(scope="module")
def model_and_preprocess() -> tuple:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{MODEL_DIR}")
    return model.eval(), preprocess


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return make_scenes(64, EVALUATION_SEED)


@pytest.fixture(scope="module")
def image_features(model_and_preprocess: tuple, scenes: list[Scene]) -> torch.Tensor:
    model, preprocess = model_and_preprocess
    with torch.inference_mode():
        return F.normalize(model.encode_image(torch.stack([preprocess(scene.image) for scene in scenes])), dim=-1)


def text_features(model_and_preprocess: tuple, tokenizer: open_clip.SimpleTokenizer, texts: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        return F.normalize(model_and_preprocess[0].encode_text(tokenizer(texts)), dim=-1)


def test_the_model_is_small() -> None:
    files = [path for path in MODEL_DIR.iterdir() if path.is_file()]
    assert {path.name for path in files} == {CONFIG_FILE, WEIGHTS_FILE, MERGES_FILE}
    assert sum(path.stat().st_size for path in files) <= 5e6


def test_the_script_makes_the_committed_config_and_merges(tmp_path: Path) -> None:
    write_model_folder(tmp_path)
    again, committed = (gzip.decompress((folder / MERGES_FILE).read_bytes()) for folder in (tmp_path, MODEL_DIR))
    assert again == committed
    assert (tmp_path / CONFIG_FILE).read_text() == (MODEL_DIR / CONFIG_FILE).read_text()


def test_weights_and_config_fit_each_other() -> None:
    config = json.loads((MODEL_DIR / CONFIG_FILE).read_text())["model_cfg"]
    expected = {name: value.shape for name, value in open_clip.CLIP(**config).state_dict().items()}
    with safe_open(MODEL_DIR / WEIGHTS_FILE, framework="pt") as weights:
        stored = {name: torch.Size(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        assert all(torch.isfinite(weights.get_tensor(name)).all() for name in stored)
    assert stored == expected


def test_every_word_of_the_toy_is_one_token(tokenizer: open_clip.SimpleTokenizer) -> None:
    assert all(len(tokenizer.encode(word)) == 1 for word in toy_words())
    assert tokenizer.eot_token_id == tokenizer.vocab_size - 1  # the pooled token is the one with the highest id
    assert toy_config(tokenizer.vocab_size) == json.loads((MODEL_DIR / CONFIG_FILE).read_text())


def test_the_longest_caption_fits_the_context(tokenizer: open_clip.SimpleTokenizer) -> None:
    longest = "there is an orange circle, an orange ring and an orange crescent on bricks in the scene"
    assert len(tokenizer.encode(longest)) + 2 <= tokenizer.context_length


def test_captions_are_retrieved_in_a_batch_of_64(
    model_and_preprocess: tuple, tokenizer: open_clip.SimpleTokenizer, image_features: torch.Tensor, scenes: list[Scene]
) -> None:
    texts = text_features(model_and_preprocess, tokenizer, [scene.caption for scene in scenes])
    cosines = image_features @ texts.T  # (64, 64)
    for direction in (0, 1):
        assert (cosines.argmax(direction) == torch.arange(64)).float().mean() >= 0.8


def test_bare_prompts_have_their_meaning(
    model_and_preprocess: tuple, tokenizer: open_clip.SimpleTokenizer, image_features: torch.Tensor, scenes: list[Scene]
) -> None:
    words = sorted({scene.background for scene in scenes})
    guesses = (image_features @ text_features(model_and_preprocess, tokenizer, words).T).argmax(1)
    assert sum(words[i] == scene.background for i, scene in zip(guesses, scenes, strict=True)) >= 52
