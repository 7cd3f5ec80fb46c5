"""Reference outputs of the published explainers and newer methods, with the models that they were made on."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from PIL import Image

from surgery import Model
from tests.stand_ins import stand_in_model


@cache
def conformance_model(shared: Path, name: str) -> Model:
    """A stand-in model, made once."""
    return stand_in_model(shared, name, Path(mkdtemp()))


def open_explainer(shared: Path, stem: str):
    """Arrays of a file of ../shared/reference/explainers, the model they were made with, and its input."""
    arrays = dict(np.load(shared / "reference" / "explainers" / f"{stem}.npz"))
    model = conformance_model(shared, stem.split("_")[1])
    image = Image.fromarray(arrays["image"])
    return arrays, model, model.preprocess([image], size=image.size[::-1])


def error(ours, reference: np.ndarray) -> float:
    """Largest difference over the largest value of the reference."""
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else np.asarray(ours)
    assert ours.shape == reference.shape
    return float(np.abs(ours - reference).max() / max(float(np.abs(reference).max()), 1e-30))
