"""What every written file says about where its numbers come from."""

import platform
from importlib.metadata import version
from typing import Any

from data.images import LoadedImage
from surgery import Model

PACKAGES = ("clip-theatre", "open_clip_torch", "torch", "timm", "numpy")


def describe_image(image: LoadedImage) -> dict[str, Any]:
    """Name, identity and size of an image."""
    height, width = image.size_px
    return {"name": image.name, "sha256": image.sha256, "height_px": height, "width_px": width}


def describe_model(model: Model, weights: str, size_px: tuple[int, int]) -> dict[str, Any]:
    """A model, where it ran, and the input it was given."""
    return {
        "name": model.name,
        "weights": weights,
        "device": str(model.device),
        "precision": _precision(model),
        "input_px": size_px,
        "grid": model.tower.grid_for(size_px),
        "patch_px": model.tower.patch_px,
        "logit_scale": model.logit_scale,
        "logit_bias": model.logit_bias,
    }


def describe_versions() -> dict[str, str]:
    """Versions of Python and of what computes."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def settings_line(model: Model, weights: str, size_px: tuple[int, int], templates: str, *more: str) -> str:
    """The settings for the foot of a picture."""
    height, width = size_px
    rows, columns = model.tower.grid_for(size_px)
    parts = [
        f"{model.name} ({weights})",
        f"{height} x {width} px, {rows} x {columns} patches",
        f"templates: {templates}",
    ]
    return " · ".join(
        [*parts, *more, f"{model.device}, {_precision(model)}", f"clip-theatre {version('clip-theatre')}"]
    )


def _precision(model: Model) -> str:
    return str(model.dtype).removeprefix("torch.")
