"""The catalog against models that are really built, and against a cache whose files are known."""

import json
from functools import cache

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip.model import _build_vision_tower

from surgery import catalog, shapes
from surgery.towers import FAMILIES, build_tower
from tests.tiny import CONFIGS

# One of every family of configurations, and of every timm size.
COUNTED = (
    "ViT-B-16",
    "ViT-B-32-256",
    "ViT-M-16-alt",
    "ViT-L-14-CLIPA",
    "ViT-H-14-worldwide",
    "RN50",
    "RN50x4",
    "ViT-B-16-SigLIP",
    "ViT-B-16-SigLIP2",
    "ViT-L-16-SigLIP-256",
    "ViT-SO400M-16-SigLIP-i18n-256",
    "ViT-gopt-16-SigLIP2-256",
    "coca_base",
    "coca_ViT-L-14",
    "convnext_large_d",
    "EVA02-B-16",
    "MobileCLIP-S1",
    "PE-Core-T-16-384",
    "ViTamin-S",
)


def build(name):
    with torch.device("meta"):
        return open_clip.create_model(name, pretrained_text=False, device="meta")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    """No weights on this machine, whatever it holds, and no architecture but open_clip's own."""
    for name in CONFIGS:  # registered by other tests of this process
        monkeypatch.delitem(open_clip.factory._MODEL_CONFIGS, name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("name", COUNTED)
def test_numbers_are_those_of_the_built_model(name):
    clip, info = build(name), catalog.describe(name)
    tower = build_tower(clip.visual)
    assert info.supported
    assert info.parameters == sum(p.numel() for p in clip.parameters())
    assert (info.patch_px, info.patch_px) == tuple(tower.patch_px)
    assert (info.image_size // info.patch_px,) * 2 == tuple(tower.native_grid)


def distinct_towers():
    """An architecture for every image tower in open_clip's configurations; sizes of an image alone make no other."""
    found = {}
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        vision = config["vision_cfg"]
        key = vision.get("timm_model_name") or json.dumps({k: v for k, v in vision.items() if k != "image_size"})
        found.setdefault((key, config["embed_dim"]), name)
    return list(found.values())


@cache
def visual_of(name):
    """The image tower of an architecture without memory; of open_clip's own ViTs, whose blocks are alike, one block."""
    config = open_clip.get_model_config(name)
    vision = config["vision_cfg"]
    if isinstance(vision.get("layers"), int):
        vision = {**vision, "layers": 1}
    with torch.device("meta"):
        return _build_vision_tower(config["embed_dim"], vision, False).eval()


def test_every_architecture_is_of_the_family_that_its_configuration_says():
    for name in distinct_towers():
        info = catalog.describe(name)
        try:
            tower = build_tower(visual_of(name))
        except ValueError as error:
            assert info.family == "" and info.reason in str(error), name
        else:
            assert (tower.family, *tower.patch_px, bool(tower.blocks)) == (
                info.family,
                info.patch_px,
                info.patch_px,
                info.has_blocks,
            ), name


def test_trunks_have_the_parameters_of_the_table():
    for name in distinct_towers():
        config = open_clip.get_model_config(name)
        if config["vision_cfg"].get("timm_model_name") in shapes.TRUNKS:
            built = sum(p.numel() for p in visual_of(name).parameters())
            assert shapes._count_timm(config["vision_cfg"], config["embed_dim"]) == built, name


def test_families_are_counted():
    """How many of open_clip 3.3's architectures and weights can be operated on, and who cannot and why."""
    models = [info for info in catalog.list_models() if info.name != catalog.TOY]
    rows = catalog.count_families(models)
    assert sum(row.architectures for row in rows) == len(models) == len(open_clip.list_models())
    assert sum(row.tags for row in rows) == sum(len(info.tags) for info in models)
    assert {row.family for row in rows} >= {*FAMILIES, ""} - {"naflex"}
    operable = [info for info in models if info.has_blocks]
    assert len(operable) >= 120 and sum(len(info.tags) for info in operable) >= 170
    assert {row.reason for row in rows if not row.family} == {
        "a timm trunk of type VisionTransformerRelPos, whose attention scores have a bias by relative position"
    }
    last = {info.name.partition("_")[0] for info in models if info.family == "last layer"}
    assert {"convnext", "MobileCLIP-S1", "MobileCLIP2-S4", "swin"} <= last and not any("ViT" in name for name in last)


def test_list_holds_every_architecture_once_toy_first():
    names = [info.name for info in catalog.list_models()]
    assert names == ["toy", *open_clip.list_models()]
    assert all(info.parameters or "side" in info.reason for info in catalog.list_models() if info.family)


def test_toy_is_counted_from_its_own_file_and_always_ready():
    from surgery import load_model

    toy, info = load_model("toy", device="cpu"), catalog.describe("toy")
    assert info.parameters == sum(p.numel() for p in toy.clip.parameters())
    assert (info.image_size, info.image_size) == tuple(toy.native_size)
    assert info.ready and info.tags == ()


def test_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match="got 'ViT-B-17'; nearest: ViT-B-1"):
        catalog.describe("ViT-B-17")


@pytest.mark.parametrize("name", ["roberta-ViT-B-32", "ViT-B-16-SigLIP"])
@pytest.mark.parametrize("installed", [False, True])
def test_text_sides_of_hugging_face_need_transformers(monkeypatch, name, installed):
    monkeypatch.setattr(catalog.importlib.util, "find_spec", lambda package: object() if installed else None)
    info = catalog.describe(name)
    expected = "its text side needs roberta-base of the hub" if name.startswith("roberta") else ""
    assert info.reason == (expected if installed else catalog.NEEDS_TRANSFORMERS)
    assert info.supported is (installed or name == "ViT-B-16-SigLIP")  # its image side works without


def test_a_configuration_of_unknown_shape_is_built_instead_of_guessed(tmp_path):
    config = open_clip.get_model_config("ViT-S-32-alt")
    config["vision_cfg"] |= {"layers": 2, "pos_embed_type": "sin_cos_2d"}
    (tmp_path / "catalog-odd.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "catalog-odd.json")
    info = catalog.describe("catalog-odd")
    assert info.parameters == sum(p.numel() for p in build("catalog-odd").parameters())
    assert info.supported and info.family == "vit"


def cache_file(folder, repository, file):
    """A file in the layout of huggingface_hub's cache."""
    root = folder / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    snapshot = root / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / file).write_bytes(b"weights")


def cached_tags(name):
    return {tag.tag for tag in catalog.describe(name).tags if tag.cached}


def test_nothing_is_cached_in_an_empty_cache():
    tags = catalog.describe("ViT-B-16").tags
    assert not any(tag.cached for tag in tags)
    assert {tag.download_mb for tag in tags} == {598}  # 149,620,737 parameters of 4 bytes
    assert not catalog.describe("ViT-B-16").ready


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_hub_weights_are_found_under_both_names(tmp_path, file):
    cache_file(tmp_path / "hub", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", file)
    assert cached_tags("ViT-B-16") == {"laion2b_s34b_b88k"}
    assert catalog.describe("ViT-B-16").ready


def test_another_file_of_the_repository_is_not_the_weights(tmp_path):
    cache_file(tmp_path / "hub", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "open_clip_config.json")
    assert cached_tags("ViT-B-16") == set()


def test_weights_of_an_address_are_looked_for_in_the_clip_cache(tmp_path):
    source = {"url": "https://example.org/models/some-weights.pt"}
    assert not catalog.is_cached(source)
    (tmp_path / ".cache" / "clip").mkdir(parents=True)
    (tmp_path / ".cache" / "clip" / "some-weights.pt").write_bytes(b"weights")
    assert catalog.is_cached(source)
    assert not catalog.is_cached(source | {"hf_hub": "org/repo/"})  # open_clip prefers the hub where both are given
    assert not catalog.is_cached({})
