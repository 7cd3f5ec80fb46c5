"""Which files of a folder are the weights, in open_clip's order, and sharded ones put together."""

import json
from pathlib import Path

from surgery.checkpoints.contents import Checkpoint, CheckpointError, Saved, Tensors
from surgery.checkpoints.converting import to_checkpoint
from surgery.checkpoints.reading import read_file
from surgery.checkpoints.unwrapping import find_state

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
INDEX_SUFFIX = ".index.json"
ORDER = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.pth",
    "model.pth",
)
"""open_clip's own order (`open_clip.factory._find_checkpoint_in_dir`), with the indices of sharded weights."""

ADAPTER = "adapter_config.json"


def read_checkpoint(path: Path) -> Checkpoint:
    """A file, the index of a sharded one, or a folder, in the names of open_clip.

    Raises:
        FileNotFoundError: no such file, no weights in the folder, a missing shard.
        CheckpointError: it holds something else; see `reading` and `converting`.
    """
    if path.is_dir():
        path = weights_in(path)
    if path.name.endswith(INDEX_SUFFIX):
        return to_checkpoint(_read_shards(path), path)
    return to_checkpoint(_whole(read_file(path), path), path)


def weights_in(folder: Path) -> Path:
    """The weights of a folder: by open_clip's order of names, else the only file, safetensors first.

    Raises:
        FileNotFoundError: there are none, or only an adapter.
        CheckpointError: several of the same kind with names that say nothing.
    """
    preferred = next((folder / name for name in ORDER if (folder / name).is_file()), None)
    if preferred is not None:
        return preferred
    files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES and path.is_file())
    files = [path for path in files if not path.name.startswith("adapter_")]
    if not files:
        only = " (only a LoRA adapter, which has to be merged first)" if (folder / ADAPTER).is_file() else ""
        raise FileNotFoundError(f"Expected weights ({', '.join(WEIGHT_SUFFIXES)}) in {folder}, but found none{only}")
    best = min(WEIGHT_SUFFIXES.index(path.suffix) for path in files)
    files = [path for path in files if WEIGHT_SUFFIXES.index(path.suffix) == best]
    if len(files) > 1:
        raise CheckpointError(
            f"Expected {folder} to hold one file of weights, or one of {', '.join(ORDER[:5])}, but got "
            f"{', '.join(path.name for path in files[:5])}"
        )
    return files[0]


def _read_shards(index: Path) -> Saved:
    """All shards that an index names, as one state dict."""
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"Expected {index.name} to be the index of sharded weights, but got other JSON"
        ) from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"Expected the {len(names)} shards of {index.name} beside it, but {len(missing)} are missing: "
            f"{', '.join(missing[:3])}"
        )
    tensors: Tensors = {}
    for name in names:
        tensors |= find_state(read_file(index.parent / name).content, name)
    absent = [key for key in weight_map if key not in tensors]
    if absent:
        raise CheckpointError(f"Expected the shards of {index.name} to hold {absent[0]}, but it is in none of them")
    return Saved(tensors, f"sharded weights ({len(names)} files)")


def _whole(saved: Saved, path: Path) -> Saved:
    """Refuses one shard of several, which is known by the index beside it."""
    for index in path.parent.glob(f"*{INDEX_SUFFIX}"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        except (ValueError, AttributeError):
            continue
        if path.name in shards and len(shards) > 1:
            raise CheckpointError(
                f"Expected {path.name} to be whole, but got one of {len(shards)} shards; load {index.name} or the "
                "folder instead"
            )
    return saved
