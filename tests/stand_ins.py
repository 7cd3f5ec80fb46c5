"""Models of the shared `pseudo_weights.py`, loaded through the public loader."""

import copy
import importlib.util
import json
from pathlib import Path

import open_clip
import torch

from surgery import Model, load_model


def stand_in_model(shared: Path, name: str, folder: Path) -> Model:
    """A configuration of `pseudo_weights.CONFIGS` with its stand-in weights, by way of files in `folder`.

    "conformance-vit12" is the first of them with 12 blocks in both towers, as several published codes need.
    """
    spec = importlib.util.spec_from_file_location("pseudo_weights", shared / "reference" / "pseudo_weights.py")
    pseudo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pseudo)
    deep = copy.deepcopy(pseudo.CONFIGS["conformance-vit"])
    deep["vision_cfg"]["layers"] = deep["text_cfg"]["layers"] = 12
    configs = {**pseudo.CONFIGS, "conformance-vit12": deep}
    (folder / f"{name}.json").write_text(json.dumps(configs[name]))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.save(pseudo.fill(open_clip.create_model(name)).state_dict(), folder / f"{name}.pt")
    return load_model(name, pretrained=folder / f"{name}.pt", device="cpu")
