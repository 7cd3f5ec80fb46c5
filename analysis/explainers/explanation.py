"""What an explainer returns, and what explainers share: the image inside the graph, texts in parts, error messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.text_tokens import Caption
from surgery.features import unit_texts
from surgery.graph import Blocks, Reading, image_blocks, image_reading
from surgery.memory import is_out_of_memory
from surgery.models import Model

BUDGET_BYTES = 192 * 2**20
"""Working memory of the batched part of a backward pass; more texts than fit in go one part after the other."""
LOGIT_SCALE = 100.0
"""Of the trained CLIP models. Relevance of more than one layer depends on it, so it is the same for every model."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Relevance of every patch to every text.

    Attributes:
        patches: (b, gh, gw, t) in the explainer's own unit, before any min-max; float32, float64 of a float64 model.
        empty: (b, t) bool, whether the relevance is zero everywhere, so that it has no maximum and says nothing.
        explainer: name in `EXPLAINERS`.
        unit: what the numbers are.
        signed: whether negative values mean "against the text"; else 0 is the least.
        model: name of the model.
    """

    patches: np.ndarray
    empty: np.ndarray
    explainer: str
    unit: str
    signed: bool
    model: str


@dataclass(frozen=True, slots=True, eq=False)
class CaptionExplanation:
    """Relevance of every token of a caption to every image.

    Attributes:
        caption: the k tokens from start to end, and their words.
        tokens: (b, k) relevance, 0 for start and end; over the others the sum is 1 for relevances that are shares.
        empty: (b,) bool, whether no token is relevant at all: the published quotient is 0 / 0, here all are 0.
        pairs: (b, k, gh, gw) of token and patch, for exclip; else None.
        explainer, unit, signed, model: as in `Explanation`.
    """

    caption: Caption
    tokens: np.ndarray
    empty: np.ndarray
    pairs: np.ndarray | None
    explainer: str
    unit: str
    signed: bool
    model: str

    @property
    def words(self) -> np.ndarray:
        """(b, w) sum over the tokens of each word."""
        sums = [self.tokens[:, list(word.tokens)].sum(axis=1, keepdims=True) for word in self.caption.words]
        return np.concatenate([self.tokens[:, :0], *sums], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class ImagePass:
    """One batch of images on its way through a tower, for explainers.

    Attributes:
        model: in float32 or float64.
        pixels: (b, 3, H, W).
        blocks: of its image tower.
        streams: x_0 .. x_L, each (b, tokens, w), without a graph.
        text: (t, d) unit text features in the precision of the model, t = 0 where a caption is explained.
        position_interpolation: how the position embedding was brought to the grid.
    """

    model: Model
    pixels: Tensor
    blocks: Blocks
    streams: Sequence[Tensor]
    text: Tensor
    position_interpolation: str

    @property
    def grid(self) -> tuple[int, int]:
        return self.blocks.grid

    @property
    def batch(self) -> int:
        return len(self.pixels)

    def encode(self, pixels: Tensor) -> Tensor:
        """Image features (n, d), not normalised, of other pixels of the same size; differentiable."""
        tower = self.model.tower
        x = tower.embed(pixels, self.grid, self.position_interpolation)
        for index in range(len(self.blocks.blocks)):
            x = self.blocks.step(index, x)
        return tower.pool(x)

    def image(self, index: int) -> "ImagePass":
        """One image of the batch by itself."""
        one = slice(index, index + 1)
        return replace(self, pixels=self.pixels[one], streams=[x[one] for x in self.streams])

    def text_parts(self) -> Iterator[Tensor]:
        """Texts in parts that keep the gradients of one block's patterns within `BUDGET_BYTES`."""
        heads, n = self.blocks.blocks[0].heads, self.streams[0].shape[1]
        each = 3 * heads * n * n * self.text.element_size()
        return iter(self.text.split(max(1, BUDGET_BYTES // each)))

    def reading(self) -> Reading:
        """How the image feature gathers the patches."""
        return image_reading(self.model.tower, self.streams, self.grid)

    def fold(self, rows: Tensor) -> Tensor:
        """(t, b, gh * gw) -> (b, gh, gw, t)."""
        return rows.unflatten(-1, self.grid).movedim(0, -1)


def start_pass(model: Model, pixels: Tensor, text: Tensor | None, position_interpolation: str) -> ImagePass:
    """Runs the blocks once without a graph; half precision runs in float32."""
    exact = model.in_float32
    tower = exact.tower
    pixels = pixels.detach().clone().to(exact.device, exact.dtype)
    grid = tower.grid_of(pixels)
    with torch.no_grad():
        blocks = image_blocks(tower, grid)
        streams = blocks.streams(tower.embed(pixels, grid, position_interpolation))
        feature = tower.pool(streams[-1][:1])
        text = feature[:0] if text is None else unit_texts(text.detach().clone(), feature)
    return ImagePass(exact, pixels, blocks, streams, text, position_interpolation)


@torch.no_grad()
def image_features(run: ImagePass) -> Tensor:
    """The model's own unit image features (b, d), in at least float32."""
    return F.normalize(run.model.tower.pool(run.streams[-1]), dim=-1)


@contextmanager
def saying_what_fits(name: str, pixels: Tensor, target: str) -> Iterator[None]:
    """Where memory does not suffice in here, a MemoryError that says for what, and what needs less."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or ["no more"])[0]
        raise MemoryError(
            f"Expected the explainer {name!r} to fit into memory for {len(pixels)} images of {pixels.shape[-2]} x "
            f"{pixels.shape[-1]} pixels and {target}, but got: {reason}. "
            "Fewer images or texts at once, a smaller size, and grad_eclip or gradcam instead need less"
        ) from error


def refuse(name: str, need: str, model: Model) -> ValueError:
    """The error for an explainer without meaning for a tower."""
    return ValueError(
        f"Expected {need} for the explainer {name!r}, but got the tower of {model.name} "
        f"({type(model.tower).__name__}); gradcam and integrated_gradients work on every tower"
    )
