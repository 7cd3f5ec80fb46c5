"""Models of the shared `pseudo_weights.py`, loaded through the public loader."""

import importlib.util
import json
from pathlib import Path

import open_clip
import torch

from surgery import Model, load_model


def stand_in_model(shared: Path, name: str, folder: Path) -> Model:
    """A configuration of `pseudo_weights.CONFIGS` with its stand-in weights, by way of files in `folder`."""
    spec = importlib.util.spec_from_file_location("pseudo_weights", shared / "reference" / "pseudo_weights.py")
    pseudo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pseudo)
    (folder / f"{name}.json").write_text(json.dumps(pseudo.CONFIGS[name]))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.save(pseudo.fill(open_clip.create_model(name)).state_dict(), folder / f"{name}.pt")
    return load_model(name, pretrained=folder / f"{name}.pt", device="cpu")
