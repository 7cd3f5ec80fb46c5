"""Explainers of a caption: how much each of its tokens has to do with an image."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from analysis.explainers.chefer import read_row, walk_back
from analysis.explainers.exclip import pairs_of
from analysis.explainers.explanation import (
    LOGIT_SCALE,
    CaptionExplanation,
    image_features,
    start_pass,
)
from analysis.explainers.grad_eclip import block_reads, contributions
from analysis.text_tokens import Caption, read_caption, token_tower
from surgery.graph import Blocks, cosines, gradients_of_each, text_blocks, text_reading
from surgery.models import Model
from surgery.text_tower import TextTower
from surgery.words import tokenize, warn_if_cut

GRAD_ECLIP_BLOCKS = 8
"""Last blocks of the text tower that the published code sums over."""


@dataclass(frozen=True, slots=True, eq=False)
class CaptionPass:
    """A caption on its way through the text tower.

    Attributes:
        tower: the text tower, in float32 or float64.
        blocks: over all positions, padding included, as the published code runs them.
        streams: x_0 .. x_L, each (1, context length, w), without a graph.
        end: position of the end token.
        images: (b, d) unit image features.
    """

    tower: TextTower
    blocks: Blocks
    streams: list[Tensor]
    end: int
    images: Tensor

    def finish(self, x: Tensor) -> Tensor:
        """Last stream (1, n, w) -> the text feature (1, d), not normalised."""
        return self.tower.project(self.tower.ln_final(x))[:, self.end]


def chefer_caption(run: CaptionPass) -> Tensor:
    """Row of R at the end token, last block only: (b, end + 1)."""
    return read_row(text_reading(run.tower, run.streams[-2], run.end), run.images)[:, 0]


def chefer_all_caption(run: CaptionPass) -> Tensor:
    """Row of R at the end token, all blocks: (b, end + 1)."""
    last = run.streams[-1].clone().requires_grad_()
    (cotangents,) = gradients_of_each(LOGIT_SCALE * cosines(run.finish(last), run.images), [last])
    row = torch.zeros(len(run.images), last.shape[1], dtype=last.dtype, device=last.device)
    row[:, run.end] = 1
    return walk_back(run.blocks, run.streams, cotangents, row)[:, : run.end + 1]


@torch.no_grad()
def rollout_caption(run: CaptionPass, *, rows: Tensor | None = None) -> Tensor:
    """Row of the rollout at the end token over its own tokens (1, end + 1); or `rows` (k, n) carried through it."""
    row = rows
    if row is None:
        row = torch.zeros_like(run.streams[-1][..., 0])
        row[:, run.end] = 1
    for index in reversed(range(len(run.blocks.blocks))):
        weights = run.blocks.pattern(run.blocks.blocks[index].project(run.streams[index], (0, 0), 0))[0].mean(dim=0)
        row = (row @ weights + row) / 2
    return row if rows is not None else row[:, : run.end + 1].expand(len(run.images), -1)


def grad_eclip_caption(run: CaptionPass, *, blocks: int = GRAD_ECLIP_BLOCKS, own_heads: bool = False) -> Tensor:
    """ReLU of the sum over the last blocks: (b, end + 1)."""
    reads = block_reads(run.blocks, run.streams, run.finish, run.images, run.end, blocks, own_heads)
    return sum(contributions(read) for read in reads)[:, 0, : run.end + 1].clamp(min=0)


@dataclass(frozen=True, slots=True)
class CaptionExplainer:
    """One way of explaining a caption by an image; fields as in `Explainer`, compute: pass -> (b, end + 1)."""

    title: str
    compute: Callable[[CaptionPass], Tensor] | None
    unit: str = "share of the words' relevance"
    signed: bool = False


CAPTION_EXPLAINERS: dict[str, CaptionExplainer] = {
    "chefer": CaptionExplainer("Chefer et al., last block", chefer_caption),
    "chefer_all": CaptionExplainer("Chefer et al., all blocks", chefer_all_caption),
    "rollout": CaptionExplainer("Attention rollout", rollout_caption),
    "grad_eclip": CaptionExplainer("Grad-ECLIP", grad_eclip_caption),
    "grad_eclip_own_heads": CaptionExplainer("Grad-ECLIP, own heads", partial(grad_eclip_caption, own_heads=True)),
    "exclip": CaptionExplainer("exCLIP", None, "part of the cosine", signed=True),
}


VECTORS_A_PART = 32
"""Image vectors of one batched backward pass through the text tower."""


@torch.inference_mode(False)
def explain_caption(
    model: Model, pixels: Tensor, caption: str, name: str, *, position_interpolation: str = "bicubic"
) -> CaptionExplanation:
    """Relevance of the tokens of one caption to images.

    Args:
        model: with open_clip's causal text tower; half precision is explained in float32.
        pixels: (b, 3, H, W) from `model.preprocess`.
        caption: one text, without a template.
        name: one of `CAPTION_EXPLAINERS`; "exclip" gives pairs of token and patch as well, and as tokens their sums
            over the patches, start and end token included.
        position_interpolation: as in `Model.trace`; no matter at the native size.

    Raises:
        ValueError: an unknown name, a caption without words, or a tower whose tokens have no features of their own.

    Warns:
        PromptCutWarning: the caption has more tokens than the model reads.
    """
    explainer, read = _checked(name), _read(model, caption)
    tower, ids, end = _ids(model, read)
    with torch.enable_grad():
        run = start_pass(model, pixels, None, position_interpolation)
        if explainer.compute is None:
            pairs = pairs_of(run, tower, ids, end)
            tokens = pairs.sum(dim=(-2, -1))
        else:
            pairs, tokens = (
                None,
                shares_of_words(explainer.compute(start_caption(tower, ids, end, image_features(run)))),
            )
    return CaptionExplanation(
        caption=read,
        tokens=tokens.detach().cpu().numpy(),
        empty=~tokens.any(dim=1).cpu().numpy(),
        pairs=None if pairs is None else pairs.detach().cpu().numpy(),
        explainer=name,
        unit=explainer.unit,
        signed=explainer.signed,
        model=model.name,
    )


@torch.inference_mode(False)
def caption_relevance(
    model: Model, caption: str, vectors: Tensor, name: str, on_step: Callable[[int], None] = lambda done: None
) -> Tensor:
    """Relevance (n, k) of a caption's tokens to image vectors, such as its patches, before it is brought to shares.

    Args:
        model: as in `explain_caption`.
        caption: one text, without a template.
        vectors: (n, d), of unit norm, or of less or the opposite sign for a term of a sum or difference of texts.
        name: one of `CAPTION_EXPLAINERS`, but for "exclip", which needs an image.
        on_step: called before every few vectors with the number done so far; what it raises ends the computation.

    Raises:
        ValueError: as `explain_caption`.
    """
    explainer, read = _checked(name), _read(model, caption)
    if explainer.compute is None:
        raise ValueError(f"Expected explainer to explain a vector, but got {name!r}, which needs an image")
    tower, ids, end = _ids(model, read)
    vectors = vectors.detach().clone().to(tower.positional_embedding)
    rows = []
    with torch.enable_grad():
        run = start_caption(tower, ids, end, vectors)
        for index, part in enumerate(vectors.split(VECTORS_A_PART)):
            on_step(index * VECTORS_A_PART)
            rows.append(explainer.compute(replace(run, images=part)).detach())
    return torch.cat(rows)


def _checked(name: str) -> CaptionExplainer:
    if name not in CAPTION_EXPLAINERS:
        raise ValueError(f"Expected explainer to be one of {', '.join(CAPTION_EXPLAINERS)}, but got {name!r}")
    return CAPTION_EXPLAINERS[name]


def _read(model: Model, caption: str) -> Caption:
    read = read_caption(model, caption)
    if not read.words:
        raise ValueError(f"Expected caption to hold at least one word, but got {caption!r}")
    warn_if_cut(model, [caption], "none")
    return read


def _ids(model: Model, caption: Caption) -> tuple[TextTower, Tensor, int]:
    """The text tower in at least float32, the caption's ids (1, context length), and where its end token is."""
    exact = model.in_float32
    return token_tower(exact), tokenize(exact, [caption.text]).to(exact.device), len(caption.tokens) - 1


def start_caption(tower: TextTower, ids: Tensor, end: int, images: Tensor) -> CaptionPass:
    """Runs the text blocks once without a graph."""
    with torch.no_grad():
        blocks = text_blocks(tower, ids.shape[1])
        streams = blocks.streams(tower.embed(ids))
    return CaptionPass(tower, blocks, streams, end, images)


def shares_of_words(row: Tensor) -> Tensor:
    """Relevance (b, end + 1) -> shares of the words, 0 at start and end; all 0 where the sum is 0."""
    shares = row.clone()
    shares[:, [0, -1]] = 0
    total = shares.sum(dim=1, keepdim=True)
    return shares / torch.where(total == 0, torch.ones_like(total), total)
