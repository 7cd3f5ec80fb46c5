"""Masks of one image, and the files that hold them."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from analysis.masks import MaskCandidates, mask_iou, masks_of_map, write_rle
from dashboard.cli.console import say
from data.images import LoadedImage
from data.samples import SAMPLES, load_sample
from data.store import write_bytes
from surgery import Method, Model, encode_dense, feature_surgery

if TYPE_CHECKING:
    from analysis.segment_anything import SegmentAnything
    from dashboard.cli.image_paths import ImageSource

CELL_IN, DPI = 2.6, 110
OBJECT_RGB = (0.84, 0.37, 0.0)


@dataclass(frozen=True, slots=True)
class MaskRequest:
    """What is asked of every image.

    Attributes:
        model: the model.
        method: of the maps, fitted to the tower.
        prompts: t texts.
        text: (t, d) their features.
        redundant: (1, d) feature of the empty text for a single prompt, else None.
        size: input size, see `Model.preprocess`.
        threshold, floor: see `analysis.masks.object_points`.
        box: whether the box around an object's cells is a prompt as well.
        sam: the Segment Anything model; None for the random walker.
    """

    model: Model
    method: Method
    prompts: tuple[str, ...]
    text: Tensor
    redundant: Tensor | None
    size: int | tuple[int, int] | None
    threshold: float
    floor: float | None
    box: bool
    sam: "SegmentAnything | None"


@dataclass(frozen=True, slots=True)
class FoundMask:
    """One object that a text points at.

    Attributes:
        text: the prompt.
        candidates: its masks.
    """

    text: str
    candidates: MaskCandidates


def compute_masks(request: MaskRequest, image: LoadedImage) -> list[FoundMask]:
    """Every object of every text, in the order of the texts."""
    pixels = request.model.preprocess([image.to_pil()], size=request.size)
    features = encode_dense(request.model, pixels, request.method)
    maps = feature_surgery(features, request.text, redundant=request.redundant).patches[0].float().cpu().numpy()
    return [
        FoundMask(text, candidates)
        for index, text in enumerate(request.prompts)
        for candidates in masks_of_map(
            image.rgb,
            maps[..., index],
            request.threshold,
            floor=request.floor,
            segmenter=request.sam,
            boxes=request.box,
        )
    ]


def say_ious(source: "ImageSource", found: Sequence[FoundMask]) -> None:
    """IoU of the best mask of each text with the object that a sample knows by that name."""
    known = load_sample(source.name).masks if source.path is None and source.name in SAMPLES else {}
    for text, truth in known.items():
        best = [mask_iou(one.candidates.best, truth) for one in found if one.text == text]
        if best:
            say(f'{source.name}, "{text}": IoU {max(best):.2f}')


def write_masks(folder: Path, stem: str, request: MaskRequest, image: LoadedImage, found: Sequence[FoundMask]) -> None:
    """Writes `<stem>_masks.png`, `<stem>_mask_N.png` and `<stem>_masks.json`."""
    for number, one in enumerate(found, start=1):
        stream = io.BytesIO()
        Image.fromarray(255 * one.candidates.best.astype(np.uint8)).save(stream, "PNG")
        write_bytes(folder / f"{stem}_mask_{number}.png", stream.getvalue())
    rows = [(one.text, one.candidates.best, float(one.candidates.scores[0])) for one in found]
    write_bytes(folder / f"{stem}_masks.json", write_rle(rows).encode())
    write_bytes(folder / f"{stem}_masks.png", masks_png(image, found))


def masks_png(image: LoadedImage, found: Sequence[FoundMask]) -> bytes:
    """Each mask on the grey photograph: the object in colour with its outline, points as dots and crosses."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = list(found) or [None]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    height, width = image.size_px
    figure = Figure(figsize=(columns * CELL_IN, rows * (CELL_IN * height / width + 0.55)), dpi=DPI)
    grey = np.repeat(image.rgb.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    for number, one in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.set_axis_off()
        if one is None:
            axes.imshow(image.rgb)
            axes.set_title("no point: the maps do not vary", fontsize=8)
            continue
        best, points = one.candidates.best, one.candidates.points
        axes.imshow(np.where(best[..., None], image.rgb, grey // 2 + 64))
        axes.contour(best, levels=[0.5], colors=[OBJECT_RGB], linewidths=1.2)
        if points is not None:
            for label, marker in ((1, "o"), (0, "x")):
                x, y = points.xy[points.labels == label].T
                axes.scatter(x, y, s=9, marker=marker, c="white" if label else "black", linewidths=0.7)
        title = "\n".join(textwrap.wrap(one.text, 34)[:2])
        score = f"expected IoU {one.candidates.scores[0]:.2f} · {one.candidates.source}"
        axes.set_title(f"{number}. {title}\n{score}", fontsize=7)
    figure.tight_layout(pad=0.4)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()
