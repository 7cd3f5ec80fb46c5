"""Points and boxes into Segment Anything: SAM, SAM 2 and SAM 3's point tracker, through transformers.

Source: Kirillov et al. 2023, "Segment Anything", arXiv 2304.02643; Ravi et al. 2024, "SAM 2", arXiv 2408.00714; the
step from text to points to mask is that of Li et al. 2023, "CLIP Surgery", arXiv 2304.05653.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from analysis.masks import Box, MaskCandidates, sort_candidates
from surgery import PromptPoints
from surgery.faults import HubFault
from surgery.hub import Report, fetch, find_cached

DEFAULT = "facebook/sam-vit-base"
DOWNLOADS_MB = {DEFAULT: 375, "facebook/sam2.1-hiera-tiny": 156, "facebook/sam3": 3440}
"""Repositories to choose from, and about how much each takes; the last one asks for an account that was let in."""
FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "model.safetensors")
NOT_INSTALLED = (
    'Expected the package transformers for Segment Anything; in the folder of the clone: pip install -e ".[sam]"'
)
OPTIONAL = {"preprocessor_config.json", "processor_config.json"}
"""Which of the two a repository has depends on its age."""


class SegmentAnything:
    """A loaded Segment Anything model; `masks` may be called from several threads.

    Attributes:
        name: as it was asked for.
        model, processor: of transformers.
        device: where it runs.
    """

    def __init__(self, name: str, model: torch.nn.Module, processor: Any, device: torch.device) -> None:
        self.name, self.processor, self.device = name, processor, device
        self.model = model.eval().requires_grad_(False).to(device)
        self._last: tuple[bytes, Any] | None = None

    @torch.inference_mode()
    def masks(self, rgb: np.ndarray, points: PromptPoints | None = None, box: Box | None = None) -> MaskCandidates:
        """Three candidates of one object, with the IoU that the model predicts.

        Args:
            rgb: uint8 (H, W, 3).
            points: positive and negative points in pixels of the image.
            box: in pixels of the image.

        Raises:
            ValueError: neither points nor a box.
        """
        prompts: dict[str, Any] = {}
        if points is not None and len(points.labels):
            prompts["input_points"] = [[points.xy.astype(float).tolist()]]
            prompts["input_labels"] = [[points.labels.tolist()]]
        if box is not None:
            prompts["input_boxes"] = [[list(box)]]
        if not prompts:
            raise ValueError("Expected points or a box, but got neither")
        inputs = self.processor(images=Image.fromarray(rgb), return_tensors="pt", **prompts).to(self.device)
        sizes = inputs["original_sizes"].cpu()
        reshaped = [inputs[key].cpu() for key in ("reshaped_input_sizes",) if key in inputs]  # SAM 1 pads
        wanted = {key: inputs[key] for key in ("input_points", "input_labels", "input_boxes") if key in inputs}
        embeddings = self._embeddings(rgb, inputs["pixel_values"])
        out = self.model(image_embeddings=embeddings, **wanted, multimask_output=True)
        masks = self.processor.post_process_masks(out.pred_masks.float().cpu(), sizes, *reshaped)[0][0]  # (3, H, W)
        scores = out.iou_scores.flatten().float().cpu().numpy()
        return sort_candidates(masks.numpy().astype(bool), scores, self.name, points, box)

    def _embeddings(self, rgb: np.ndarray, pixel_values: torch.Tensor) -> Any:
        """What the image encoder makes of an image: dear, and kept for the next points on the same one."""
        key = hashlib.sha256(f"{rgb.shape}".encode() + rgb.tobytes()).digest()
        kept = self._last
        if kept is None or kept[0] != key:
            kept = self._last = key, self.model.get_image_embeddings(pixel_values)
        return kept[1]


def is_installed() -> bool:
    """Whether the package that runs Segment Anything is here."""
    return find_spec("transformers") is not None


def is_here(name: str) -> bool:
    """Whether a folder or repository can be loaded without a download."""
    return Path(name).expanduser().is_dir() or not _missing(name)


def _missing(repository: str) -> list[str]:
    return [file for file in FILES if file not in OPTIONAL and find_cached(repository, file) is None]


def load_segment_anything(
    name: str = DEFAULT,
    device: str | torch.device = "cpu",
    *,
    download: bool = False,
    report: Report | None = None,
) -> SegmentAnything:
    """A Segment Anything model from a folder, the Hugging Face cache, or, on consent, the hub.

    Args:
        name: a folder that holds a model saved by transformers, or a repository such as "facebook/sam-vit-base",
            "facebook/sam2.1-hiera-tiny".
        device: a PyTorch device.
        download: whether files that are not in the cache may be fetched.
        report: told how far that is, see `surgery.hub.fetch`.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        FileNotFoundError: the files are not here and may not be fetched; the message says what to do.
        ValueError: a folder that holds another model.
    """
    try:
        from transformers import AutoModelForMaskGeneration, AutoProcessor
    except ImportError as error:
        raise ModuleNotFoundError(NOT_INSTALLED) from error
    folder = Path(name).expanduser() if Path(name).expanduser().is_dir() else _fetched(name, download, report)
    try:
        model = AutoModelForMaskGeneration.from_pretrained(folder, local_files_only=True)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(
            f"Expected {name} to hold a Segment Anything model of transformers, but got: {line}"
        ) from error
    return SegmentAnything(name, model, processor, torch.device(device))


def _fetched(repository: str, download: bool, report: Report | None) -> Path:
    """The folder of the cache that holds a repository's files."""
    missing = _missing(repository)
    if missing and not download:
        raise FileNotFoundError(
            f"Expected {repository} to be a folder or in the cache of the Hugging Face Hub, but {missing[0]} is not "
            "here; allow the download (--download), or take the random walker, which needs none"
        )
    for file in FILES if missing else ():
        try:
            fetch(repository, file, report)
        except HubFault as fault:
            if fault.kind != "missing" or file not in OPTIONAL:
                raise
    return find_cached(repository, FILES[0]).parent
