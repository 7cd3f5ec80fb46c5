"""Maps of one image by many methods, and the three files that hold them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from analysis.refinement import REFINEMENTS, Refinement, refine_maps
from dashboard.cli.explained import describe_explainers, explain_all, explained_png
from dashboard.cli.options import title_of
from dashboard.cli.provenance import describe_image, describe_model, describe_versions, settings_line
from dashboard.overview import overview_png
from data.geometry import Framing
from data.images import LoadedImage
from data.store import write_bytes, write_json, write_npz
from surgery import METHODS, Method, Model, class_probabilities, dense_features, feature_surgery, similarity
from surgery.dense import DenseFeatures, fit_method, iterate_dense_features
from surgery.features import Similarity
from surgery.words import PromptCut


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of every image.

    Attributes:
        model: the model.
        weights: what stands for its weights in words.
        methods: name as it was given -> method, fitted to the model's tower.
        explainers: names of explainers, whose relevance is drawn apart.
        prompts: t texts.
        cuts: those of them that are longer than the model reads.
        templates: name of the sentences around them.
        text: (t, d) their features.
        redundant: (1, d) feature of the empty text for feature surgery of a single prompt, else None.
        surgery: whether feature surgery is applied.
        size: a side of the model's input in pixels, (height, width), or None for its native size.
        fit: how images are brought to it, see `Model.preprocess`.
        refine: how the maps of methods are refined; None for not at all.
    """

    model: Model
    weights: str
    methods: Mapping[str, Method]
    explainers: tuple[str, ...]
    prompts: tuple[str, ...]
    cuts: tuple[PromptCut, ...]
    templates: str
    text: Tensor
    redundant: Tensor | None
    surgery: bool
    size: int | tuple[int, int] | None
    fit: str
    refine: Refinement | None = None

    def framing(self, image: LoadedImage) -> Framing:
        """Where an image lies on the input."""
        return self.model.framing(image.size_px, self.size, self.fit)

    @property
    def unit(self) -> str:
        """What the numbers are."""
        return "feature surgery" if self.surgery else "cosine"


@dataclass(frozen=True, slots=True)
class ImageMaps:
    """What was computed for one image.

    Attributes:
        maps: float32 (methods, prompts, gh, gw), or (methods, prompts, H, W) where they are refined by pixel.
        cls: float32 (methods, prompts), the same measure for the whole image. It depends on the method only through the
            interpolation of the position embedding, so not at all at the native size.
        probabilities: float32 (prompts,), the model's own zero-shot classification at this size.
        explained: float32 (explainers, prompts, gh, gw), each explainer in its own unit.
    """

    maps: np.ndarray
    cls: np.ndarray
    probabilities: np.ndarray
    explained: np.ndarray


def compute_maps(request: Request, image: LoadedImage) -> ImageMaps:
    """One trace an interpolation of the position embedding, and at the native size one for all methods."""
    model = request.model
    pixels = model.preprocess([image.to_pil()], size=request.size, fit=request.fit)
    native = model.tower.grid_of(pixels) == tuple(model.tower.native_grid)
    groups: dict[str, dict[str, Method]] = {"bicubic": {}}
    for name, method in request.methods.items():
        groups.setdefault("bicubic" if native else method.position_interpolation, {})[name] = method
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for interpolation, methods in groups.items():
        keep = max((method.reach for method in methods.values()), default=1)
        trace = model.trace(pixels, interpolation, keep=None if request.refine else min(keep, len(model.tower.blocks)))
        for name, features in zip(methods, iterate_dense_features(trace, methods.values()), strict=True):
            sim = _measure(request, features)
            patches = sim.patches if request.refine is None else refine_maps(sim.patches, request.refine, trace, pixels)
            found[name] = sim.cls[0], patches[0].movedim(-1, 0)  # (t,), (t, gh, gw)
        if interpolation == "bicubic":  # CLIP's own
            grid = trace.grid
            plain = similarity(dense_features(trace, fit_method(model.tower, METHODS["clip"])), request.text)
    probabilities = class_probabilities(plain.cls, model.logit_scale, model.logit_bias)[0]
    rows = [found[name] for name in request.methods]
    return ImageMaps(
        maps=_stack([maps for _, maps in rows], (len(request.prompts), *grid)),
        cls=_stack([cls for cls, _ in rows], (len(request.prompts),)),
        probabilities=probabilities.float().cpu().numpy(),
        explained=explain_all(model, pixels, request.text, request.explainers),
    )


def _stack(rows: list[Tensor], shape: tuple[int, ...]) -> np.ndarray:
    """float32 (rows, *shape), also of no rows."""
    return np.stack([row.float().cpu().numpy() for row in rows]) if rows else np.zeros((0, *shape), np.float32)


def _measure(request: Request, features: DenseFeatures) -> Similarity:
    if request.surgery:
        return feature_surgery(features, request.text, redundant=request.redundant)
    return similarity(features, request.text)


def write_maps(folder: Path, stem: str, request: Request, image: LoadedImage, found: ImageMaps, minmax: bool) -> None:
    """Writes `<stem>_maps.png`, `.npz` and `.json`, each of them whole or not at all."""
    arrays = {
        "maps": found.maps,
        "cls": found.cls,
        "probabilities": found.probabilities,
        "methods": np.array(list(request.methods), dtype=str),
        "explained": found.explained,
        "explainers": np.array(request.explainers, dtype=str),
        "prompts": np.array(request.prompts),
        "unit": np.array(request.unit),
        "image_sha256": np.array(image.sha256),
    }
    framing = request.framing(image)
    settings = settings_line(
        request.model,
        request.weights,
        framing.input_px,
        request.templates,
        framing.fit,
        f"feature surgery: {'yes' if request.surgery else 'no'}",
        *([] if request.refine is None else [f"refined by {REFINEMENTS[request.refine.kind]}"]),
    )
    photo = image.framed(framing, request.model.fill_rgb).rgb
    write_npz(folder / f"{stem}_maps.npz", arrays)
    if request.methods:
        picture = overview_png(
            photo,
            found.maps,
            request.prompts,
            [title_of(name) for name in request.methods],
            title=f"Similarity of every patch with each prompt: {image.name}",
            unit=request.unit,
            settings=settings,
            minmax=minmax,
        )
        write_bytes(folder / f"{stem}_maps.png", picture)
    if request.explainers:
        picture = explained_png(photo, found.explained, request.prompts, request.explainers, image.name, settings)
        write_bytes(folder / f"{stem}_{'explained' if request.methods else 'maps'}.png", picture)
    write_json(folder / f"{stem}_maps.json", describe_maps(request, image, found, minmax, f"{stem}_maps.npz"))


def describe_maps(
    request: Request, image: LoadedImage, found: ImageMaps, minmax: bool, npz_name: str
) -> dict[str, Any]:
    """Every setting, and the numbers of each map in short; the maps themselves are in the .npz."""
    return {
        "image": describe_image(image),
        "model": describe_model(request.model, request.weights, request.framing(image).input_px),
        "framing": request.framing(image),
        "prompts": request.prompts,
        "prompts_cut": request.cuts,
        "templates": request.templates,
        "feature_surgery": request.surgery,
        "redundant_text": "" if request.redundant is not None else None,
        "methods": dict(request.methods),
        "explainers": describe_explainers(request.explainers, request.prompts, found.explained),
        "refinement": request.refine,
        "unit": request.unit,
        "picture_scale": "min-max of each map" if minmax else "signed, shared",
        "probabilities": dict(zip(request.prompts, found.probabilities, strict=True)),
        "measures": list(_measures(request, found)),
        "arrays": npz_name,
        "versions": describe_versions(),
    }


def _measures(request: Request, found: ImageMaps) -> Iterator[dict[str, Any]]:
    cell = "strongest_pixel" if request.refine is not None and request.refine.by_pixel else "strongest_patch"
    for m, name in enumerate(request.methods):
        for t, prompt in enumerate(request.prompts):
            values = found.maps[m, t]
            row, column = np.unravel_index(values.argmax(), values.shape)
            yield {
                "method": name,
                "prompt": prompt,
                f"cls_{'score' if request.surgery else 'cosine'}": found.cls[m, t],
                "min": values.min(),
                "mean": values.mean(dtype=np.float64),
                "max": values.max(),
                cell: {"row": row, "column": column},
            }
