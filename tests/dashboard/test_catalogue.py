"""The model picker: names, sizes, and a folder of checkpoints that cannot be left."""

from pathlib import Path

import pytest

from dashboard import catalogue
from dashboard.case import RANDOM


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "open_clip_config.json").write_text("{}")
    (tmp_path / "ViT-B-16__best.safetensors").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "ViT-B-16.safetensors").write_bytes(b"")  # says no more than an architecture
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv(catalogue.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_only_checkpoints_of_the_folder_are_offered(folder: Path) -> None:
    assert set(catalogue.local_entries()) == {"mine", "ViT-B-16__best.safetensors"}
    labels = [choice.model for choice in catalogue.model_choices()]
    assert labels[:3] == ["toy", "local:mine", "local:ViT-B-16__best.safetensors"]


def test_local_checkpoints_are_named_as_load_model_wants_them(folder: Path) -> None:
    assert catalogue.source_of("local:mine", "") == (f"local-dir:{folder / 'mine'}", None)
    path = folder / "ViT-B-16__best.safetensors"
    assert catalogue.source_of(f"local:{path.name}", "") == ("ViT-B-16", str(path))


@pytest.mark.parametrize("entry", ["../secret", "/etc", "notes.txt", "mine/../..", ""])
def test_no_other_path_can_be_named(folder: Path, entry: str) -> None:
    with pytest.raises(ValueError, match="Expected a local checkpoint to be one of mine, ViT-B-16__best"):
        catalogue.source_of(f"local:{entry}", "")


@pytest.mark.parametrize("name", ["local-dir:/etc", "hf-hub:org/repo", "/etc/passwd", "ViT-Z-99"])
def test_names_from_the_address_are_those_of_the_picker(name: str) -> None:
    with pytest.raises(ValueError, match="Expected model to be toy, a local checkpoint or an open_clip architecture"):
        catalogue.source_of(name, RANDOM)


def test_weights_are_those_of_the_architecture() -> None:
    assert catalogue.source_of("toy", "") == ("toy", None)
    assert catalogue.source_of("ViT-B-16", "openai") == ("ViT-B-16", "openai")
    assert catalogue.source_of("ViT-B-16", RANDOM) == ("ViT-B-16", "random")
    with pytest.raises(ValueError, match=r"Expected weights of ViT-B-16 to be one of random, .*, but got '/etc/x.pt'"):
        catalogue.source_of("ViT-B-16", "/etc/x.pt")


def test_the_picker_says_size_and_what_is_to_be_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(catalogue.FOLDER_VARIABLE, raising=False)
    labels = {choice.model: choice.label for choice in catalogue.model_choices()}
    assert "150 M" in labels["ViT-B-16"] and "224 px" in labels["ViT-B-16"]
    weights = catalogue.weight_choices("ViT-B-16")
    assert list(weights)[-1] == RANDOM and "no knowledge" in weights[RANDOM]
    missing = catalogue.missing_download("ViT-B-16", "openai")
    assert missing is None or weights["openai"] == "openai · 598 MB to download"


def test_what_needs_no_download() -> None:
    assert catalogue.weight_choices("toy") == {}
    assert catalogue.default_weights("toy") == ""
    assert catalogue.missing_download("toy", "") is None
    assert catalogue.missing_download("ViT-B-16", RANDOM) is None
