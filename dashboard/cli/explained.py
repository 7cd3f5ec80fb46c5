"""Relevance by explainers for `clip-theatre maps`: chosen, computed, drawn and described beside the maps of methods."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dashboard.cli.console import say, usage_errors

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from surgery import Model


def choose_explainers(model: "Model", names: Sequence[str], required: Sequence[str]) -> tuple[str, ...]:
    """The names that are explainers, each once, checked against the tower.

    Args:
        model: whose tower they explain.
        names: of methods and explainers.
        required: those of them that must be explainers.

    Raises:
        UsageError: an unknown one, or one without a meaning for the tower.
    """
    from analysis.explainers import EXPLAINERS, check_explainer

    stripped = [name.strip() for name in names]
    with usage_errors():
        for name in (name.strip() for name in required):
            check_explainer(model, name)
        chosen = tuple(dict.fromkeys(name for name in stripped if name in EXPLAINERS))
        for name in chosen:
            check_explainer(model, name)
    return chosen


def explain_all(model: "Model", pixels: "Tensor", text: "Tensor", names: Sequence[str]) -> "np.ndarray":
    """float32 (explainers, prompts, gh, gw) of the one image."""
    import numpy as np

    from analysis.explainers import EXPLAINERS, explain

    found = [explain(model, pixels, text, name) for name in names]
    for one in found:
        if one.empty.any():
            say(
                f"Note: {EXPLAINERS[one.explainer].title} finds no relevance at all for {int(one.empty.sum())} of the "
                "prompts, so that its map is zero everywhere and has no maximum; grad_eclip_own_heads, chefer_all or "
                "integrated_gradients may say more"
            )
    maps = [one.patches[0].transpose(2, 0, 1) for one in found]
    shape = (0, len(text), *model.tower.grid_of(pixels))
    return np.stack(maps).astype(np.float32) if maps else np.zeros(shape, np.float32)


def explained_png(
    photo: "np.ndarray",
    explained: "np.ndarray",
    prompts: Sequence[str],
    names: Sequence[str],
    image: str,
    settings: str,
) -> bytes:
    """Relevance as one picture, each map over its own largest magnitude, since units differ."""
    import numpy as np

    from analysis.explainers import EXPLAINERS
    from dashboard.overview import overview_png

    largest = np.abs(explained).max(axis=(-2, -1), keepdims=True)
    return overview_png(
        photo,
        explained / np.where(largest > 0, largest, 1),
        prompts,
        [EXPLAINERS[name].title for name in names],
        title=f"Relevance of every patch to each prompt: {image}",
        unit="share of each map's maximum",
        settings=settings,
    )


def describe_explainers(names: Sequence[str], prompts: Sequence[str], explained: "np.ndarray") -> list[dict[str, Any]]:
    """Unit and range of every map; `empty` where the relevance is zero everywhere."""
    from analysis.explainers import EXPLAINERS

    return [
        {
            "explainer": name,
            "prompt": prompt,
            "unit": EXPLAINERS[name].unit,
            "signed": EXPLAINERS[name].signed,
            "min": explained[e, t].min(),
            "max": explained[e, t].max(),
            "empty": bool(not explained[e, t].any()),
        }
        for e, name in enumerate(names)
        for t, prompt in enumerate(prompts)
    ]
