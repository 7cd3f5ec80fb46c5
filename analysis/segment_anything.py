"""Points and boxes into Segment Anything: SAM, SAM 2 and SAM 3's point tracker, through transformers.

Source: Kirillov et al. 2023, "Segment Anything", arXiv 2304.02643; Ravi et al. 2024, "SAM 2", arXiv 2408.00714; the
step from text to points to mask is that of Li et al. 2023, "CLIP Surgery", arXiv 2304.05653.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from analysis.masks import Box, MaskCandidates, sort_candidates
from surgery import PromptPoints
from surgery.faults import HubFault
from surgery.hub import fetch, find_cached

DEFAULT = "facebook/sam-vit-base"
FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "model.safetensors")
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
        wanted = {k: v for k, v in inputs.items() if k not in ("original_sizes", "reshaped_input_sizes")}
        out = self.model(**wanted, multimask_output=True)
        masks = self.processor.post_process_masks(out.pred_masks.float().cpu(), sizes, *reshaped)[0][0]  # (3, H, W)
        scores = out.iou_scores.flatten().float().cpu().numpy()
        return sort_candidates(masks.numpy().astype(bool), scores, self.name, points, box)


def load_segment_anything(
    name: str = DEFAULT, device: str | torch.device = "cpu", *, download: bool = False
) -> SegmentAnything:
    """A Segment Anything model from a folder, the Hugging Face cache, or, on consent, the hub.

    Args:
        name: a folder that holds a model saved by transformers, or a repository such as "facebook/sam-vit-base",
            "facebook/sam2.1-hiera-tiny".
        device: a PyTorch device.
        download: whether files that are not in the cache may be fetched.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        FileNotFoundError: the files are not here and may not be fetched; the message says what to do.
        ValueError: a folder that holds another model.
    """
    try:
        from transformers import AutoModelForMaskGeneration, AutoProcessor
    except ImportError as error:
        raise ModuleNotFoundError(
            "Expected the package transformers for Segment Anything; in the folder of the clone: "
            'pip install -e ".[sam]"'
        ) from error
    folder = Path(name).expanduser() if Path(name).expanduser().is_dir() else _fetched(name, download)
    try:
        model = AutoModelForMaskGeneration.from_pretrained(folder, local_files_only=True)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(
            f"Expected {name} to hold a Segment Anything model of transformers, but got: {line}"
        ) from error
    return SegmentAnything(name, model, processor, torch.device(device))


def _fetched(repository: str, download: bool) -> Path:
    """The folder of the cache that holds a repository's files."""
    found = {file: find_cached(repository, file) for file in FILES}
    missing = [file for file, path in found.items() if path is None and file not in OPTIONAL]
    if missing and not download:
        raise FileNotFoundError(
            f"Expected {repository} to be a folder or in the cache of the Hugging Face Hub, but {missing[0]} is not "
            "here; allow the download (--download), or take the random walker, which needs none"
        )
    for file in FILES if missing else ():
        try:
            found[file] = fetch(repository, file)
        except HubFault:
            if file not in OPTIONAL:
                raise
    return found["config.json"].parent
