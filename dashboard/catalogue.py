"""What the model picker offers: the toy, local checkpoints of one folder, and the architectures of open_clip.

Local checkpoints are the entries of the folder in `CLIP_THEATRE_MODELS`, set where the dashboard is started: folders
with an `open_clip_config.json`, and files `<architecture>__<any name>.safetensors` (or .pt). A visitor chooses among
their names and can name no other path.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dashboard.case import RANDOM
from surgery.catalog import ModelInfo, TagInfo, describe, list_models

FOLDER_VARIABLE = "CLIP_THEATRE_MODELS"
LOCAL = "local:"
TOY = "toy"
QUICK = ("ViT-B-16", "openai")
"""The real model that is one click away."""

CHECKPOINT_SUFFIXES = (".safetensors", ".pt")


class DownloadNeeded(LookupError):
    """Weights are not on this machine and the visitor has not agreed to download them; `size` says how much it is."""

    def __init__(self, name: str, size: str) -> None:
        super().__init__(f"Expected the weights of {name} to be on this machine, but got none")
        self.size = size


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of the picker: what `Case.model` becomes, and how it reads."""

    model: str
    label: str


def local_entries() -> dict[str, Path]:
    """Name -> path of the local checkpoints; empty where no folder was given."""
    given = os.environ.get(FOLDER_VARIABLE)
    if not given or not Path(given).is_dir():
        return {}
    entries = sorted(Path(given).iterdir())
    folders = {path.name: path for path in entries if (path / "open_clip_config.json").is_file()}
    files = {path.name: path for path in entries if path.suffix in CHECKPOINT_SUFFIXES and "__" in path.stem}
    return folders | files


def source_of(model: str, weights: str) -> tuple[str, str | None]:
    """What `surgery.load_model` takes as name and pretrained.

    Args:
        model, weights: as in `Case`.

    Raises:
        ValueError: no such local checkpoint, no such architecture, or weights that it does not have.
    """
    if model.startswith(LOCAL):
        return _local_source(model.removeprefix(LOCAL))
    if model == TOY:
        return TOY, None
    info = _info(model)
    if weights == RANDOM:
        return model, RANDOM
    if weights not in {tag.tag for tag in info.tags}:
        choices = ", ".join((RANDOM, *(tag.tag for tag in info.tags)))
        raise ValueError(f"Expected weights of {model} to be one of {choices}, but got {weights!r}")
    return model, weights


def _local_source(entry: str) -> tuple[str, str | None]:
    entries = local_entries()
    if entry not in entries:
        raise ValueError(f"Expected a local checkpoint to be one of {', '.join(entries) or 'none'}, but got {entry!r}")
    path = entries[entry]
    return (f"local-dir:{path}", None) if path.is_dir() else (path.stem.partition("__")[0], str(path))


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(info.name for info in list_models())


def _info(model: str) -> ModelInfo:
    """An architecture by name; a name with a scheme, such as "local-dir:", is unknown here and opens no file."""
    if model not in _names():
        raise ValueError(
            f"Expected model to be toy, a local checkpoint or an open_clip architecture, but got {model!r}"
        )
    return describe(model)


def model_choices() -> list[Choice]:
    """All models of the picker, the toy first, then local checkpoints, then open_clip's by name."""
    supported = (info for info in list_models() if info.supported and info.name != TOY)
    local = [Choice(f"{LOCAL}{name}", f"{name} · local file") for name in local_entries()]
    return [Choice(TOY, f"toy · {_millions(_info(TOY))} · embedded"), *local, *map(_choice, supported)]


def _choice(info: ModelInfo) -> Choice:
    here = " · here" if info.ready else ""
    return Choice(info.name, f"{info.name} · {_millions(info)} · {info.image_size} px{here}")


def _millions(info: ModelInfo) -> str:
    return "size unknown" if info.parameters is None else f"{info.parameters / 1e6:.3g} M"


def weight_choices(model: str) -> dict[str, str]:
    """Weights -> how they read; empty where the model carries its own."""
    if model == TOY or model.startswith(LOCAL):
        return {}
    tags = {tag.tag: f"{tag.tag} · {tag_size(tag)}" for tag in _info(model).tags}
    return tags | {RANDOM: "random weights (no knowledge)"}


def tag_size(tag: TagInfo) -> str:
    """ "here", or about how much is to be downloaded."""
    if tag.cached:
        return "here"
    return "to download" if tag.download_mb is None else f"{_bytes(tag.download_mb)} to download"


def _bytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def default_weights(model: str) -> str:
    """The weights that a freshly chosen model gets: its own, a cached tag, its first tag, or random ones."""
    if model == TOY or model.startswith(LOCAL):
        return ""
    tags = _info(model).tags
    return next((tag.tag for tag in tags if tag.cached), tags[0].tag if tags else RANDOM)


def missing_download(model: str, weights: str) -> TagInfo | None:
    """The weights that would have to be downloaded first; None where all is here, or where the name is unknown."""
    if weights in ("", RANDOM) or model.startswith(LOCAL):
        return None
    return next((tag for tag in _info(model).tags if tag.tag == weights and not tag.cached), None)
