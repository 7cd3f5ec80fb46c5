"""Explainers of an image: a name, what it stands for, and one call for all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from analysis.explainers.chefer import chefer, chefer_all
from analysis.explainers.explanation import Explanation, ImagePass, refuse, saying_what_fits, start_pass
from analysis.explainers.grad_eclip import grad_eclip
from analysis.explainers.gradcam import gradcam
from analysis.explainers.integrated import integrated_gradients
from analysis.explainers.legrad import legrad, legrad_all
from analysis.explainers.rollout import rollout
from analysis.explainers.value_kk import value_kk
from surgery.graph import pools_one_token
from surgery.models import Model
from surgery.towers import Tower


@dataclass(frozen=True, slots=True)
class Explainer:
    """One way of explaining the cosine of an image and a text.

    Attributes:
        title: as its paper writes it.
        unit: what its numbers are.
        compute: pass -> (b, gh, gw, t).
        signed: whether negative values have a meaning.
        need: "any" tower, one with "blocks", whose feature gathers patches by "one attention" (CLS, attention pool, MAP
            head), is read from "one token" (CLS, mean token), or has "residual" blocks.
        position_interpolation: how its authors bring the position embedding to another grid.
    """

    title: str
    unit: str
    compute: Callable[[ImagePass], Tensor]
    signed: bool = False
    need: str = "any"
    position_interpolation: str = "bicubic"


EXPLAINERS: dict[str, Explainer] = {
    "chefer": Explainer("Chefer et al., last block", "relevance of attention", chefer, need="one attention"),
    "chefer_all": Explainer("Chefer et al., all blocks", "relevance of attention", chefer_all, need="blocks"),
    "rollout": Explainer("Attention rollout", "share of attention", rollout, need="blocks"),
    "grad_eclip": Explainer(
        "Grad-ECLIP", "gradient times value", grad_eclip, need="one attention", position_interpolation="bicubic_size"
    ),
    "grad_eclip_own_heads": Explainer(
        "Grad-ECLIP, own heads",
        "gradient times value",
        partial(grad_eclip, own_heads=True),
        need="one attention",
        position_interpolation="bicubic_size",
    ),
    "gradcam": Explainer("Grad-CAM", "gradient times activation", gradcam),
    "legrad": Explainer(
        "LeGrad, last two blocks",
        "gradient of attention",
        legrad,
        need="residual",
        position_interpolation="bicubic_antialias",
    ),
    "legrad_all": Explainer(
        "LeGrad, all blocks",
        "gradient of attention",
        legrad_all,
        need="residual",
        position_interpolation="bicubic_antialias",
    ),
    "value_kk": Explainer(
        "Value × k-k",
        "cosine times cosine",
        value_kk,
        signed=True,
        need="one token",
        position_interpolation="bicubic_size",
    ),
    "integrated_gradients": Explainer("Integrated gradients", "share of the cosine", integrated_gradients, signed=True),
}

NEEDS: dict[str, tuple[str, Callable[[Tower], bool]]] = {
    "any": ("any tower", lambda tower: True),
    "blocks": ("a tower with attention over all tokens", lambda tower: bool(tower.blocks)),
    "one attention": (
        "a tower whose image feature is gathered by one attention (CLS, attention pool or MAP head)",
        lambda tower: tower.pooling in ("token", "attention") and bool(tower.blocks),
    ),
    "one token": ("a tower that is read from a token among the others (CLS or mean token)", pools_one_token),
    "residual": ("a tower of residual blocks", lambda tower: tower.has_residual),
}


def get_explainer(name: str) -> Explainer:
    """The explainer of a name.

    Raises:
        ValueError: there is none; the message lists the valid ones.
    """
    if name not in EXPLAINERS:
        raise ValueError(f"Expected explainer to be one of {', '.join(EXPLAINERS)}, but got {name!r}")
    return EXPLAINERS[name]


def check_explainer(model: Model, name: str) -> Explainer:
    """The explainer of a name, if it has a meaning for the tower of a model.

    Raises:
        ValueError: an unknown name, or an explainer without meaning for the tower.
    """
    explainer = get_explainer(name)
    need, fits = NEEDS[explainer.need]
    if not fits(model.tower):
        raise refuse(name, need, model)
    return explainer


def usable_explainers(tower: Tower) -> tuple[str, ...]:
    """Names of the explainers that have a meaning for a tower."""
    return tuple(name for name, explainer in EXPLAINERS.items() if NEEDS[explainer.need][1](tower))


@torch.inference_mode(False)
def explain(
    model: Model, pixels: Tensor, text: Tensor, name: str, *, position_interpolation: str | None = None
) -> Explanation:
    """Relevance of every patch to every text, in the explainer's own unit.

    Args:
        model: see `surgery.load_model`; half precision is explained in float32.
        pixels: (b, 3, H, W) from `model.preprocess`.
        text: (t, d) text features; normalised here. A sum or difference of two features is a target like any other.
        name: one of `EXPLAINERS`.
        position_interpolation: as in `Model.trace`, None for the explainer's own; no matter at the native size.

    Raises:
        ValueError: an unknown name, an explainer without meaning for the tower, or shapes that do not fit.
        MemoryError: the graph does not fit into memory.
    """
    explainer = check_explainer(model, name)
    with torch.enable_grad(), saying_what_fits(name, pixels, f"{len(text)} texts"):
        run = start_pass(model, pixels, text, position_interpolation or explainer.position_interpolation)
        values = explainer.compute(run)
    return pack(values.detach().cpu().numpy(), name, explainer, model)


def pack(patches: np.ndarray, name: str, explainer: Explainer, model: Model) -> Explanation:
    """The result of (b, gh, gw, t) values."""
    empty = ~patches.any(axis=(1, 2))
    return Explanation(patches, empty, name, explainer.unit, explainer.signed, model.name)
