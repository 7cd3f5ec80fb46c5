"""Loading any open_clip model that can be operated on, and the `Model` that the rest of the project works with."""

import copy
import warnings
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from data.geometry import Framing, check_fit, letterbox_px
from data.images import to_rgb
from surgery.blocks import unwrap
from surgery.checkpoints import CheckpointWarning
from surgery.text import TokenFeatures, encode_text, encode_tokens
from surgery.text_sources import ImageOnlyClip, with_text_of
from surgery.tokenizers import create_tokenizer
from surgery.towers import Tower, build_tower
from surgery.trace import OnBlock, Trace, record
from surgery.weights import RandomWeightsWarning, create_clip, first_line, random_weights_message

PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp64": torch.float64,
}


class Model:
    """An open_clip model, its image tower as blocks, its text tower as features. Never changed after loading.

    Attributes:
        name: as given to `load_model`.
        pretrained: tag or path of the weights; None for random ones, "local" for a folder's own.
        clip: the open_clip module, in eval mode; taken out of DataParallel or torch.compile where it was in one.
        tower: its image tower, see `surgery.towers`.
        device, dtype: where and in which precision it runs.
        text_name: the model that the text tower and the tokenizer are of; `name` but for image towers on their own.
        remarks: what was said when it was loaded, such as that a file does not tell its activation.
    """

    remarks: tuple[str, ...] = ()

    def __init__(
        self, name: str, pretrained: str | None, clip: nn.Module, device: torch.device, text_name: str | None = None
    ) -> None:
        self.name = name
        self.text_name = name if text_name is None else text_name
        self.pretrained = pretrained
        self.clip = unwrap(clip).eval().requires_grad_(False)
        self.tower: Tower = build_tower(self.clip.visual)
        self.device = device
        self.dtype = next(self.clip.visual.parameters()).dtype

    def __repr__(self) -> str:
        return f"Model({self.name!r}, pretrained={self.pretrained!r}, device={self.device}, dtype={self.dtype})"

    @property
    def native_size(self) -> tuple[int, int]:
        """Height and width in pixels of the input it was trained on."""
        return tuple(g * p for g, p in zip(self.tower.native_grid, self.tower.patch_px, strict=True))

    @property
    def logit_scale(self) -> float:
        """Factor of the cosines in the zero-shot softmax (or sigmoid), already exponentiated.

        Raises:
            ValueError: a file of the image tower alone, which has none.
        """
        if isinstance(self.clip, ImageOnlyClip):
            raise self.clip.lacking()
        return float(self.clip.logit_scale.detach().double().exp())

    @property
    def logit_bias(self) -> float | None:
        """SigLIP's bias of the zero-shot sigmoid; None for a CLIP."""
        bias = getattr(self.clip, "logit_bias", None)
        return None if bias is None else float(bias)

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of red, green and blue that pixels in [0, 1] are normalised with."""
        return tuple(self._preprocess_cfg["mean"]), tuple(self._preprocess_cfg["std"])

    @cached_property
    def tokenizer(self) -> Any:
        """The open_clip tokenizer of the model.

        Raises:
            FileNotFoundError: a Hugging Face tokenizer whose package or files are not here.
        """
        try:
            return create_tokenizer(self.text_name)
        except Exception as error:
            raise FileNotFoundError(
                f"Expected the tokenizer of {self.name} to be at hand, but got: {first_line(error)}. "
                "Tokenizers of SigLIP and multilingual models need their files and the packages transformers and "
                'sentencepiece; in the folder of the clone: pip install -e ".[siglip]"'
            ) from error

    @cached_property
    def in_float32(self) -> "Model":
        """The model itself, or for half precision a float32 copy, made once: gradients need it."""
        if self.dtype in (torch.float32, torch.float64):
            return self
        return Model(self.name, self.pretrained, copy.deepcopy(self.clip).float(), self.device, self.text_name)

    def preprocess(
        self, images: Sequence[Image.Image], size: int | tuple[int, int] | None = None, *, fit: str = "stretch"
    ) -> Tensor:
        """Resizes (bicubic) and normalises images.

        Args:
            images: PIL images of any mode, brought to upright 8-bit RGB as `data.images.load_image` does.
            size: None for the model's native size, a side in pixels, or (height, width).
            fit: "stretch"; "crop", which scales the shorter side and cuts the longer one, as most CLIPs were trained;
                or "letterbox", which keeps the shape: `size` or the native size is the longer side, and the other one
                is filled up with the mean colour to whole patches. See `data.geometry.Framing` for what lies where.

        Returns:
            (b, 3, H, W) on the model's device and in its dtype.

        Raises:
            ValueError: no image, a size that is not a positive multiple of the patch, an unknown fit, or images whose
                letterboxes differ in size.
            TypeError: something that is not a PIL image.
        """
        images = [images] if isinstance(images, Image.Image) else list(images)
        for image in images:
            if not isinstance(image, Image.Image):
                raise TypeError(f"Expected images to be PIL images, but got {type(image).__name__}")
        if not images:
            raise ValueError("Expected images to hold at least one image, but got none")
        upright = [to_rgb(image) for image in images]
        framings = [self.framing((image.height, image.width), size, fit) for image in upright]
        sizes = {framing.input_px for framing in framings}
        if len(sizes) > 1:
            raise ValueError(f"Expected images of one shape for a batch of letterboxes, but got inputs {sorted(sizes)}")
        framed = [_frame(image, framing, self.fill_rgb) for image, framing in zip(upright, framings, strict=True)]
        return self.normalise(torch.from_numpy(np.stack(framed)))

    @property
    def fill_rgb(self) -> tuple[int, int, int]:
        """The colour beyond the image in a letterbox: the mean of the training images, 0 after normalisation."""
        return tuple(round(255 * value) for value in self.normalization[0])

    def framing(
        self, image_px: tuple[int, int], size: int | tuple[int, int] | None = None, fit: str = "stretch"
    ) -> Framing:
        """Where an image of (height, width) pixels lies on the model's input; arguments and errors of `preprocess`."""
        check_fit(fit)
        if fit == "letterbox" and not isinstance(size, tuple | list):
            side = max(self.pixel_size(size))
            return Framing.of(fit, image_px, letterbox_px(image_px, side, self.tower.patch_px))
        return Framing.of(fit, image_px, self.pixel_size(size))

    def normalise(self, rgb: Tensor) -> Tensor:
        """The second half of `preprocess`: uint8 (b, H, W, 3) -> (b, 3, H, W) on the model's device, in its dtype."""
        precision = torch.float64 if self.dtype == torch.float64 else torch.float32
        mean, std = (
            torch.tensor(values, dtype=torch.float64).to(self.device, precision)[:, None, None]
            for values in self.normalization
        )
        pixels = rgb.to(self.device, non_blocking=True).movedim(-1, 1)  # (b, 3, H, W)
        return pixels.contiguous().to(precision).div_(255).sub_(mean).div_(std).to(self.dtype)

    def pixel_size(self, size: int | tuple[int, int] | None) -> tuple[int, int]:
        """Height and width in pixels of an input size as in `preprocess`; raises ValueError for one that is none."""
        if size is None:
            return self.native_size
        pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
        if len(pair) != 2 or not all(isinstance(side, int) for side in pair):
            raise ValueError(f"Expected size to be None, a side in pixels or (height, width), but got {size!r}")
        self.tower.grid_for(pair)
        return pair

    @property
    def _preprocess_cfg(self) -> dict[str, Any]:
        return unwrap(self.clip.visual).preprocess_cfg

    def trace(
        self,
        pixels: Tensor,
        position_interpolation: str = "bicubic",
        *,
        keep: int | Collection[int] | None = None,
        store: torch.device | str | None = None,
        on_block: OnBlock | None = None,
        heads: bool = False,
    ) -> Trace:
        """One recorded forward pass; see `surgery.trace.record` for the arguments."""
        return record(
            self.tower,
            pixels.to(self.device, self.dtype),
            model=self.name,
            position_interpolation=position_interpolation,
            keep=keep,
            store=store,
            on_block=on_block,
            heads=heads,
        )

    def encode_text(self, texts: Sequence[str], templates: str | Sequence[str] = "none") -> Tensor:
        """Text features (t, d) of unit norm; see `surgery.text.encode_text`."""
        return encode_text(self, texts, templates)

    def token_features(self, texts: Sequence[str]) -> TokenFeatures:
        """Features of every text token; see `surgery.text.encode_tokens`."""
        return encode_tokens(self, texts)


def _frame(image: Image.Image, framing: Framing, fill: tuple[int, ...]) -> np.ndarray:
    """An upright RGB image as it lies on the input, uint8 (H, W, 3)."""
    height, width = framing.scaled_px
    scaled = image.resize((width, height), Image.Resampling.BICUBIC)
    if framing.scaled_px == framing.input_px:
        return np.asarray(scaled)
    (top, left), (rows, columns) = framing.shift_px, framing.input_px
    if framing.fit == "crop":
        return np.asarray(scaled.crop((-left, -top, columns - left, rows - top)))
    canvas = Image.new("RGB", (columns, rows), fill)
    canvas.paste(scaled, (left, top))
    return np.asarray(canvas)


def stretch_image(image: Image.Image, size_px: tuple[int, int]) -> np.ndarray:
    """The first half of `Model.preprocess`, which needs no model: RGB, bicubic, stretched; uint8 (height, width, 3)."""
    return np.asarray(to_rgb(image).resize(size_px[::-1], Image.Resampling.BICUBIC))


def load_model(
    name: str,
    pretrained: str | Path | None = None,
    *,
    device: str | torch.device = "auto",
    precision: str = "auto",
    activation: str | None = None,
    text: Model | None = None,
) -> Model:
    """Loads a model.

    Args:
        name: an open_clip architecture ("ViT-B-16"), "hf-hub:org/repo", "local-dir:folder", or "toy" (embedded). A
            folder or repository holds an open_clip model, or a CLIPModel or SiglipModel of Hugging Face.
        pretrained: a tag ("openai"), the path of a file or folder of weights (see docs/checkpoints.md), or "random".
            None for "hf-hub:", "local-dir:" and "toy", which carry their own; else it means random weights and warns.
            A file whose text context or image grid differs from the architecture is loaded at its own size.
        device: "auto" (CUDA, then MPS, then CPU) or a PyTorch device.
        precision: "auto" (bf16 or fp16 on a GPU, fp32 on a CPU), "fp32", "fp16", "bf16" or "fp64".
        activation: "gelu" or "quick_gelu", for a file that cannot say which it was trained with; None takes what the
            tag, the configuration or the file says, else what the architecture has, and warns.
        text: the model whose text tower goes with a file of the image tower alone.

    Raises:
        ValueError: unknown name (the nearest ones are listed), tag, device, precision or activation; an image tower
            that cannot be operated on; a file that holds something else (the message says what, and what would work),
            that needs pickle, or whose numbers are not finite.
        FileNotFoundError: a missing file or folder, or weights that are neither cached nor to be downloaded.

    Warns:
        RandomWeightsWarning: an open_clip architecture without `pretrained`.
        CheckpointWarning: a file that does not say its activation, or that holds more than a CLIP.
    """
    chosen = choose_device(device)
    dtype = _choose_dtype(precision, chosen)
    pretrained = str(pretrained) if pretrained is not None else None
    loaded = create_clip(name, pretrained, activation)
    clip = loaded.clip
    if loaded.image_only:
        clip = ImageOnlyClip(clip.visual, str(loaded.source)) if text is None else with_text_of(text.clip, clip.visual)
    elif text is not None:
        raise ValueError(f"Expected text to be None for {name}, which has a text tower of its own, but got {text!r}")
    _refuse_overflow(clip, dtype, name)
    model = Model(name, loaded.source, clip.to(chosen, dtype), chosen, text_name=text.text_name if text else None)
    model.remarks = loaded.remarks
    if pretrained is None and loaded.source is None:
        warnings.warn(random_weights_message(name), RandomWeightsWarning, stacklevel=2)
    for remark in loaded.remarks:
        warnings.warn(remark, CheckpointWarning, stacklevel=2)
    return model


def _refuse_overflow(clip: nn.Module, dtype: torch.dtype, name: str) -> None:
    """Numbers that float16 cannot hold would become infinite without a word."""
    if dtype != torch.float16:
        return
    largest = torch.finfo(dtype).max
    for key, tensor in clip.named_parameters():
        if float(tensor.detach().abs().max()) > largest:
            raise ValueError(
                f"Expected precision to hold the weights of {name}, but got fp16, which ends at {largest:.0f}, below a "
                f"number in {key}; use bf16 or fp32"
            )


def choose_device(device: str | torch.device) -> torch.device:
    """The PyTorch device of a name, "auto" included.

    Raises:
        ValueError: an unknown one, or one that this machine does not have.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"Expected device to be auto, cpu, cuda, cuda:N or mps, but got {device!r}") from error
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(chosen.type, False):
        usable = ", ".join(kind for kind, here in present.items() if here)
        raise ValueError(f"Expected device to be one that this machine has ({usable}), but got {str(device)!r}")
    return chosen


def _choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
    if precision not in PRECISIONS:
        raise ValueError(f"Expected precision to be one of auto, {', '.join(PRECISIONS)}, but got {precision!r}")
    return PRECISIONS[precision]
