"""What a head writes, in words: the texts whose directions hold most of what it writes to image features.

What a component writes reaches the feature of a token through the read-out, which is linear once its norms are frozen.
Over many tokens (the CLS token of many images, or all patches of one) that gives a cloud of points C (n, d) in the
space of the texts, the component's direct effects. TextSpan explains the cloud's variance greedily:

    R <- texts projected onto the span of C;  C <- C - mean(C)
    repeat: take the text r of largest variance of C r;  remove r from all rows of C and of R

Each text gets the share of C's variance that removing it took away; shares add up to at most 1. A share near 0 says
that no text of the list speaks of what varies: the list bounds what can be found. What a head writes alike everywhere
is in the mean, which TextSpan leaves out; `HeadWords.mean` reads it against the same texts.

Source: Gandelsman et al. 2024, "Interpreting CLIP's Image Representation via Text-Based Decomposition", ICLR, arXiv
2310.05916, algorithm 1; there over the CLS token of ImageNet's images with 3,498 texts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from analysis.decomposition import Component
from surgery import Model, Trace
from surgery.attention import Projections, attend
from surgery.blocks import Block
from surgery.chain import PulledBack

TOKENS = ("image", "patches")
COUNT = 8
"""Texts that are named unless another number is asked for."""
NOTHING = 1e-12
"""Share of the variance below which nothing is left to explain."""


@dataclass(frozen=True, slots=True)
class NearText:
    """A text with a number: a share of variance, or a cosine."""

    text: str
    value: float


@dataclass(frozen=True, slots=True)
class HeadWords:
    """A component in words.

    Attributes:
        component: a head, attention output or MLP.
        spanned: texts in the order found, with their shares of the variance.
        mean: texts nearest to what is written alike everywhere, with cosines; see `nearest_texts`.
        samples: number of tokens that the variance is over.
        tokens: "image" (CLS of every image) or "patches".
        model: name of the model.
    """

    component: Component
    spanned: tuple[NearText, ...]
    mean: tuple[NearText, ...]
    samples: int
    tokens: str
    model: str

    @property
    def explained(self) -> float:
        """Share of the variance that all named texts hold together."""
        return sum(near.value for near in self.spanned)


@torch.inference_mode()
def iterate_effects(
    trace: Trace, tokens: str = "image", blocks: Sequence[int] | None = None
) -> Iterator[tuple[Component, Tensor]]:
    """`direct_effects` of every head, attention output and MLP, block by block.

    Args:
        trace: a recorded pass that kept the blocks.
        tokens: see `direct_effects`.
        blocks: which blocks; None for all.

    Yields:
        Component and (b, n, d); of a block that was edited no heads.
    """
    tower = trace.tower
    rows = _rows(trace, tokens)
    final = trace.output[:, rows]
    wide = torch.promote_types(final.dtype, torch.float32)
    axes = torch.eye(tower.readout(final[:1, :1]).shape[-1], dtype=wide, device=trace.device)
    back = tower.chain.pull_back(final, axes, axes.new_ones(*final.shape[:2], 1))
    for index in range(trace.depth) if blocks is None else blocks:
        record, block = trace.block(index), tower.blocks[index]
        if not record.edited:
            for head, effect in enumerate(_head_effects(block, record.projections, rows, back)):
                yield Component("head", index, head), effect
        yield Component("attention", index), back(record.attn_out[:, rows])
        if record.mlp_out is not None:
            yield Component("mlp", index), back(record.mlp_out[:, rows])


def _head_effects(block: Block, p: Projections, rows: slice, back: PulledBack) -> Tensor:
    """(heads, b, n, d)."""
    heads_out = attend("qk", replace(p, q=p.q[:, :, rows]))  # (b, heads, n, head width)
    through = block.out.pull_back(heads_out.transpose(1, 2).flatten(2), back.directions, back.scale)
    axes = through.directions.unflatten(-1, (block.heads, -1))  # (d, heads, head width)
    return torch.einsum("bhnk,dhk->hbnd", heads_out.to(axes), axes) * through.scale


def direct_effects(trace: Trace, component: Component, tokens: str = "image") -> Tensor:
    """What a component writes to the features of tokens, norms frozen, in the space of the texts.

    Args:
        trace: a recorded pass that kept the component's block.
        component: a head, an attention output or an MLP.
        tokens: "image" for CLS, which the model's own image feature is read from, or "patches".

    Returns:
        (b, n, d), not divided by the length of the feature, as the source has it; n is 1 for "image".

    Raises:
        ValueError: no such component or tokens, a tower whose image feature is not read from CLS, or an edited block.
    """
    _rows(trace, tokens)
    _check(trace, component)
    return next(effect for part, effect in iterate_effects(trace, tokens, [component.block]) if part == component)


def _rows(trace: Trace, tokens: str) -> slice:
    """Which tokens are meant."""
    if tokens not in TOKENS:
        raise ValueError(f"Expected tokens to be one of {', '.join(TOKENS)}, but got {tokens!r}")
    if tokens == "patches":
        return slice(trace.tower.prefix, None)
    if trace.tower.pooling != "token":
        pooling = trace.tower.pooling
        raise ValueError(f"Expected tokens to be patches for a tower that pools by {pooling!r}, but got 'image'")
    return slice(0, 1)


def _check(trace: Trace, component: Component) -> None:
    tower = trace.tower
    if component.kind not in ("head", "attention", "mlp") or component.block not in range(trace.depth):
        raise ValueError(
            f"Expected a head, attention or MLP of block 0 to {trace.depth - 1}, but got {component.label!r}"
        )
    block, record = tower.blocks[component.block], trace.block(component.block)
    if component.kind == "mlp" and record.mlp_out is None:
        raise ValueError(f"Expected a block with an MLP, but got block {component.block} of {trace.model}")
    if component.kind == "head" and component.head not in range(block.heads):
        raise ValueError(f"Expected a head from 0 to {block.heads - 1}, but got {component.head}")
    if component.kind == "head" and record.edited:
        raise ValueError(
            f"Expected a block whose attention output is its own, but {component.label!r} was edited before"
        )


@torch.inference_mode()
def text_span(effects: Tensor, text: Tensor, names: Sequence[str], count: int = COUNT) -> tuple[NearText, ...]:
    """Algorithm 1 of the source.

    Args:
        effects: (n, d) direct effects of one component.
        text: (m, d) text features.
        names: of the texts.
        count: most texts to name.

    Returns:
        Texts with the share of the variance each took away, in the order found; fewer than `count` where the variance
        is used up.

    Raises:
        ValueError: shapes that do not agree, fewer than two effects, or values that are not finite.
    """
    data, texts = _checked(effects, text, names)
    spread = torch.linalg.svd(data, full_matrices=False)
    basis = spread.Vh[spread.S.max() * torch.finfo(torch.float64).eps * max(data.shape) < spread.S]
    texts = texts @ basis.mT @ basis
    data = data - data.mean(dim=0)
    total, found = data.square().sum(), []
    reach = texts.norm(dim=1).max() * NOTHING
    for _ in range(min(count, len(texts))):
        if data.square().sum() <= NOTHING * total or total == 0:
            break
        lengths = texts.norm(dim=1)
        spread_along = (data @ texts.mT).square().sum(dim=0).where(lengths > reach, torch.zeros(()).to(texts))
        top = int(spread_along.argmax())
        if spread_along[top] == 0:
            break
        unit = texts[top] / lengths[top]
        along = data @ unit
        found.append(NearText(names[top], float(along.square().sum() / total)))
        data = data - along[:, None] * unit
        texts = texts - (texts @ unit)[:, None] * unit
    return tuple(found)


def _checked(effects: Tensor, text: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    if effects.ndim != 2 or text.ndim != 2 or effects.shape[1] != text.shape[1] or len(text) != len(names):
        raise ValueError(
            f"Expected effects (n, d), text (m, d) and m names, but got {tuple(effects.shape)}, {tuple(text.shape)} "
            f"and {len(names)}"
        )
    if len(effects) < 2:
        raise ValueError(f"Expected at least two tokens, between which something can vary, but got {len(effects)}")
    data, texts = effects.double().cpu(), F.normalize(text.double().cpu(), dim=1)
    if not (data.isfinite().all() and texts.isfinite().all()):
        raise ValueError("Expected effects and text to be finite, but got values that are not")
    return data, texts


@torch.inference_mode()
def nearest_texts(direction: Tensor, text: Tensor, names: Sequence[str], count: int = COUNT) -> tuple[NearText, ...]:
    """Texts by the cosine of a direction with what each says beyond what all of them have in common.

    Args:
        direction: (d,) in the space of the texts.
        text: (m, d) text features; their mean is subtracted, since all texts of a CLIP lie in one narrow cone.
        names: of the texts.
        count: number of texts.

    Returns:
        The texts of largest cosine, largest first; for the opposite end call it with `-direction`.

    Raises:
        ValueError: shapes that do not agree.
    """
    if direction.ndim != 1 or text.ndim != 2 or text.shape[1] != len(direction) or len(text) != len(names):
        raise ValueError(
            f"Expected direction (d,), text (m, d) and m names, but got {tuple(direction.shape)}, {tuple(text.shape)} "
            f"and {len(names)}"
        )
    texts = F.normalize(text.double().cpu(), dim=1)
    cosines = F.normalize(texts - texts.mean(dim=0), dim=1) @ F.normalize(direction.double().cpu(), dim=0)
    best = cosines.argsort(descending=True, stable=True)[:count].tolist()
    return tuple(NearText(names[index], float(cosines[index])) for index in best)


def describe_effects(
    effects: Tensor,
    component: Component,
    text: Tensor,
    names: Sequence[str],
    *,
    tokens: str,
    model: str,
    count: int = COUNT,
) -> HeadWords:
    """A component in words, from its direct effects (n, d); see `describe_component`."""
    spanned = text_span(effects, text, names, count)
    mean = nearest_texts(effects.mean(dim=0), text, names, count)
    return HeadWords(component, spanned, mean, len(effects), tokens, model)


def describe_component(
    model: Model,
    images: Iterable[Image.Image],
    component: Component,
    words: Sequence[str],
    *,
    tokens: str = "image",
    templates: str = "none",
    size: int | tuple[int, int] | None = None,
    batch: int = 8,
    count: int = COUNT,
) -> HeadWords:
    """What a head, attention output or MLP writes over many images, in words.

    Args:
        model: see `surgery.load_model`.
        images: PIL images: made scenes, `data.registry.open_dataset`'s samples, or any.
        component: what is described.
        words: the texts to choose from, see `data.word_lists`.
        tokens: "image" for the CLS token as in the source, or "patches".
        templates: prompt templates of the words.
        size: input size as in `Model.preprocess`.
        batch: images that pass the network at once.
        count: texts to name.

    Raises:
        ValueError: no image, or see `direct_effects` and `text_span`.
    """
    effects, waiting = [], []

    def run() -> None:
        trace = model.trace(model.preprocess(waiting, size))
        effects.append(direct_effects(trace, component, tokens).flatten(0, 1))
        waiting.clear()

    for image in images:
        waiting.append(image)
        if len(waiting) == batch:
            run()
    if waiting:
        run()
    if not effects:
        raise ValueError("Expected at least one image, but got none")
    text = model.encode_text(list(words), templates=templates)
    return describe_effects(torch.cat(effects), component, text, words, tokens=tokens, model=model.name, count=count)
