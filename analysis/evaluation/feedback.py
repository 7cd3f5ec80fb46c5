"""ResCLIP's semantic feedback (SFR): a second attention that knows which patches a first segmentation put together.

    scores = tau ((1 - lambda) k k^T / sqrt(d) + lambda M / max M) + w      in place of k k^T / sqrt(d) + w

M is 1 where two patches have the same first label; where a step of the straight line between them leaves it, it fades
with their distance. Rows of M are then smoothed along the flattened index and brought to sum 1.

As in the authors' code, which rounds M to float16 (here it is not), the line between two patches is sampled at steps of
the longest line, and only as many of its first points as the pair is apart.

Source: Yang et al. 2025, "ResCLIP: Residual Attention for Training-free Dense Vision-language Inference", arXiv
2411.15851, section 3.3.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.refinement import Refinement, refine_maps
from surgery import DenseFeatures, Method, similarity
from surgery.attention import GAUSSIAN_STD_PATCHES, Projections, attend, attention_terms, gaussian_prior
from surgery.dense import Walk, dense_features_of
from surgery.mixtures import parse_mixture

ROWS_BYTES = 32 * 2**20
"""Of the lines that are followed at once."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """How a first segmentation changes the attention.

    Attributes:
        threshold: a pixel whose largest probability is below it has label 0.
        temperature: tau, factor of the scores.
        weight: lambda, of M.
        fading: whether M fades where a line leaves the label; else it is 1 for all patches of one label.
    """

    threshold: float = 0.1
    temperature: float = 2.0
    weight: float = 0.7
    fading: bool = True

    def __post_init__(self) -> None:
        for name in ("threshold", "weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected {name} to be from 0 to 1, but got {getattr(self, name)!r}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"Expected temperature to be above 0, but got {self.temperature!r}")


@torch.inference_mode()
def feedback_features(
    walk: Walk, method: Method, text: Tensor, pixels: Tensor, feedback: Feedback, scale: float
) -> DenseFeatures:
    """Dense features of the second attention.

    Args:
        walk: over the pass of the images.
        method: fitted; over one block, and not with steps.
        text: (q, d) features of the names.
        pixels: (b, 3, H, W) the images as the model saw them.
        feedback: how.
        scale: factor of the cosines in the softmax over the names.

    Raises:
        ValueError: a method over several blocks, with steps, or whose own block attends by no pair of q, k, v.
    """
    _check(method)
    trace = walk.trace
    labels = first_labels(walk, method, text, pixels, feedback.threshold, scale)
    last, prefix = trace.depth - 1, trace.tower.prefix
    relation = torch.stack([relate_patches(own, feedback.fading) for own in labels])
    relation = F.pad(relation / relation.amax(dim=(-2, -1), keepdim=True), (prefix, 0, prefix, 0))
    heads = _attend(walk, last, method.attention, relation[:, None], feedback)
    return dense_features_of(Walk(trace, heads={(last, method.attention): heads}), method)


def _check(method: Method) -> None:
    if method.blocks != 1 or method.steps:
        raise ValueError(f"Expected a method over 1 block without steps for the feedback, but got {method}")
    if not any(not part.blocks and part.kind not in ("identity", "gem") for part in parse_mixture(method.attention)):
        raise ValueError(
            f"Expected attention with pairs of q, k, v in its own block for the feedback, but got {method.attention!r}"
        )


def _attend(walk: Walk, index: int, attention: str, relation: Tensor, feedback: Feedback) -> Tensor:
    """Per-head outputs of a mixture in which the scores of the own block's pairs know the relation (b, 1, n, n)."""
    own, total = walk.trace.block(index).projections, 0.0
    for part in parse_mixture(attention):
        for block in part.blocks or (None,):
            if block is None:
                term = _attend_related(part.kind, own, relation, feedback)
            else:
                term = walk.attend_part(part, block, own)
            total = total + part.weight / max(1, len(part.blocks)) * term
    return total


def _attend_related(kind: str, p: Projections, relation: Tensor, feedback: Feedback) -> Tensor:
    terms = attention_terms(kind, p)
    if not terms or kind == "gem":
        return attend(kind, p)
    tau, weight, out = feedback.temperature, feedback.weight, 0.0
    for term in terms:
        added = tau * weight * relation.to(p.v)
        added = added + gaussian_prior(p.grid, p.prefix, p.v) if term.gaussian else added
        scale = tau * (1 - weight) * term.scale
        out = out + F.scaled_dot_product_attention(term.left, term.right, p.v, attn_mask=added, scale=scale)
    return out


@torch.inference_mode()
def first_labels(walk: Walk, method: Method, text: Tensor, pixels: Tensor, threshold: float, scale: float) -> Tensor:
    """Most frequent name in every patch of the first segmentation, refined by PAMR: int64 (b, gh, gw)."""
    probability = first_probabilities(walk, method, text, pixels, scale)  # (b, H, W, q)
    best, label = probability.max(dim=-1)
    label = torch.where(best < threshold, 0, label)
    tower, (rows, columns) = walk.trace.tower, walk.trace.grid
    height, width = tower.patch_px
    cells = label.unflatten(1, (rows, height)).unflatten(3, (columns, width)).transpose(2, 3).flatten(3)
    counts = torch.zeros(*cells.shape[:3], len(text), dtype=torch.int32, device=cells.device)
    counts.scatter_add_(3, cells, torch.ones_like(cells, dtype=torch.int32))
    return counts.argmax(dim=-1)


def first_probabilities(walk: Walk, method: Method, text: Tensor, pixels: Tensor, scale: float) -> Tensor:
    """Probability of every name at every pixel after PAMR, (b, H, W, q)."""
    maps = similarity(dense_features_of(walk, method), text).patches
    return (scale * refine_maps(maps, Refinement(), walk.trace, pixels)).softmax(dim=-1)


def relate_patches(labels: Tensor, fading: bool = True) -> Tensor:
    """M of the module docstring for one image, (n, n) in float32, rows of sum 1.

    Args:
        labels: int64 (gh, gw).
        fading: see `Feedback`.
    """
    flat, columns = labels.flatten(), labels.shape[1]
    same = (flat[:, None] == flat).float()
    place = torch.arange(len(flat), device=labels.device)
    cells = torch.stack([place.div(columns, rounding_mode="floor"), place % columns], dim=-1)  # (n, 2)
    if fading:
        apart = (cells[:, None] - cells).abs().amax(dim=-1)  # (n, n)
        longest = int(apart.max())
        step = max(1, ROWS_BYTES // (16 * len(flat) * (longest + 1)))
        clear = torch.cat([_clear_lines(labels, some, cells, longest) for some in cells.split(step)])
        same = torch.where(clear, same, same * torch.exp(-apart / max(1, longest)))
    blurred = _blur_rows(same)
    return blurred / (blurred.sum(dim=-1, keepdim=True) + 1e-8)


def _clear_lines(labels: Tensor, starts: Tensor, ends: Tensor, longest: int) -> Tensor:
    """Whether the sampled points from every start (k, 2) to every end (n, 2) have the label of the start, (k, n)."""
    t = torch.linspace(0, 1, steps=longest + 1, device=labels.device)[None, None, :, None]
    points = (starts[:, None, None] * (1 - t) + ends[None, :, None] * t).round().long()  # (k, n, points, 2)
    found = labels[points[..., 0], points[..., 1]]
    apart = (starts[:, None] - ends).abs().amax(dim=-1)[..., None]
    passed = torch.arange(longest + 1, device=labels.device) > apart
    return ((found == labels[starts[:, 0], starts[:, 1]][:, None, None]) | passed).all(dim=-1)


def _blur_rows(values: Tensor) -> Tensor:
    """Rows (n, n) smoothed along the flattened index by a Gaussian as wide as NACLIP's prior."""
    size = min(values.shape[1], int(6 * GAUSSIAN_STD_PATCHES + 1)) // 2 * 2 + 1
    x = torch.arange(size, device=values.device) - size // 2
    kernel = torch.exp(-x.square() / (2 * GAUSSIAN_STD_PATCHES**2))
    return F.conv1d(values[:, None], (kernel / kernel.sum())[None, None], padding=size // 2)[:, 0]
