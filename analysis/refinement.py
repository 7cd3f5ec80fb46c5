"""Refining maps after any method: a step of its own, by what is alike in the image or in the model's attention.

pamr        pixels take over what similar pixels near them have; the map is brought to the size of the input first
affinity    patches take over what the patches have that they attend to (TagCLIP); rows do not sum to 1, as published
clusters    patches whose projections correlate with the same others (CLIPtrase) get the mean of their cluster; the
            publication lets them vote on a label, of which this is the form for a map
"""

from dataclasses import dataclass, fields, replace
from math import ceil

import torch
import torch.nn.functional as F
from sklearn.cluster import DBSCAN
from torch import Tensor

from analysis.pamr import Pamr
from surgery import Trace
from surgery.attention import Projections, attention_pattern
from surgery.towers import Tower

REFINEMENTS: dict[str, str] = {"pamr": "PAMR", "affinity": "TagCLIP's affinity", "clusters": "CLIPtrase's clusters"}
"""The kinds of refinement and how they are written."""
AFFINITY_BLOCKS = (-4, -3, -2)
AFFINITY_VOTES = 1 / 3
"""Share of the blocks in which a weight has to exceed the mean of its block to count: 4 of 12."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """How maps are refined.

    Attributes:
        kind: one of `REFINEMENTS`.
        steps, dilations: of PAMR.
        eps, min_patches: of the density clustering (DBSCAN); published 0.7 and 3 at 224 px, 1.1 and 7 at 336 px.

    Raises:
        ValueError: a field is out of range.
    """

    kind: str = "pamr"
    steps: int = 10
    dilations: tuple[int, ...] = (8, 16)
    eps: float = 0.7
    min_patches: int = 3

    def __post_init__(self) -> None:
        if self.kind not in REFINEMENTS:
            raise ValueError(f"Expected refinement to be one of {', '.join(REFINEMENTS)}, but got {self.kind!r}")
        for name, values in (
            ("steps", [self.steps]),
            ("dilations", self.dilations),
            ("min_patches", [self.min_patches]),
        ):
            if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
                raise ValueError(f"Expected {name} to be whole numbers of at least 1, but got {getattr(self, name)!r}")
        if not 0 < self.eps < float("inf"):
            raise ValueError(f"Expected eps to be above 0, but got {self.eps!r}")

    @property
    def by_pixel(self) -> bool:
        """Whether the refined map has a value a pixel instead of a patch."""
        return self.kind == "pamr"


def parse_refinement(text: str) -> Refinement:
    """Reads a kind with other numbers where wanted.

    Raises:
        ValueError: no such kind or number.

    >>> parse_refinement("pamr:steps=5,dilations=8|16|24").dilations
    (8, 16, 24)
    """
    kind, _, changes = text.strip().partition(":")
    found = Refinement(kind.strip())
    return replace(found, **dict(_parse_change(change) for change in filter(None, changes.split(","))))


def _parse_change(change: str) -> tuple[str, object]:
    key, _, value = (part.strip() for part in change.partition("="))
    names = [field.name for field in fields(Refinement) if field.name != "kind"]
    try:
        if key == "dilations":
            return key, tuple(int(number) for number in value.split("|"))
        if key in names:
            return key, float(value) if key == "eps" else int(value)
    except ValueError:
        pass
    raise ValueError(f"Expected a number of the refinement ({', '.join(names)}) as NAME=VALUE, but got {change!r}")


@torch.inference_mode()
def refine_maps(maps: Tensor, refinement: Refinement | str, trace: Trace, pixels: Tensor) -> Tensor:
    """Refined maps of a batch.

    Args:
        maps: (b, gh, gw, t), of any method and unit.
        refinement: how, a record or text for `parse_refinement`.
        trace: the pass of these images; "affinity" needs every block, "clusters" the last but one.
        pixels: (b, 3, H, W) the images as the model saw them.

    Returns:
        (b, gh, gw, t); (b, H, W, t) from "pamr".

    Raises:
        ValueError: an unknown refinement, a tower with too few blocks, or a block that was not kept.
    """
    how = parse_refinement(refinement) if isinstance(refinement, str) else refinement
    if how.kind == "pamr":
        size_px = tuple(pixels.shape[-2:])
        enlarged = F.interpolate(maps.permute(0, 3, 1, 2), size=size_px, mode="bilinear")  # (b, t, H, W)
        both = zip(enlarged, pixels, strict=True)
        refined = [pamr_along(own, size_px, how.dilations, one).refine(one, how.steps) for one, own in both]
        return torch.stack(refined).permute(0, 2, 3, 1)
    flat = maps.flatten(1, 2)  # (b, n, t)
    if how.kind == "affinity":
        return (attention_affinity(trace).to(flat) @ flat).unflatten(1, trace.grid)
    labels = cluster_patches(trace, how.eps, how.min_patches)
    return torch.stack([_means(own, group) for own, group in zip(flat, labels, strict=True)]).unflatten(1, trace.grid)


def pamr_along(pixels: Tensor, size_px: tuple[int, int], dilations: tuple[int, ...], like: Tensor) -> Pamr:
    """PAMR along an image (3, h, w) brought to the size of the maps, in the dtype and on the device of `like`."""
    # In float64: in flat areas PAMR divides rounding errors by rounding errors.
    guide = F.interpolate(pixels[None].cpu().double(), size_px, mode="bilinear")[0]
    return Pamr(guide.to(like), dilations)


@torch.inference_mode()
def attention_affinity(trace: Trace) -> Tensor:
    """How much patches attend to one another (b, n, n), where enough blocks agree.

    The mean over blocks 9 to 11 of 12 (`AFFINITY_BLOCKS`) and heads, 0 where fewer than a third of all blocks exceed
    the mean over all pairs of patches in that block.

    Raises:
        ValueError: a tower of fewer than 2 blocks, or a block that was not kept.

    Source: Lin et al. 2024, "TagCLIP", arXiv 2312.12828, section 3.3; authors' code.
    """
    check_refinement("affinity", trace.tower)
    prefix, depth = trace.tower.prefix, trace.depth
    used = {depth + block for block in AFFINITY_BLOCKS if depth + block >= 0}
    total = votes = 0
    for index in range(depth):
        weights = _mean_pattern(trace.block(index).projections)[:, prefix:, prefix:]  # (b, n, n)
        votes = votes + (weights > weights.mean(dim=(-2, -1), keepdim=True))
        total = total + weights / len(used) if index in used else total
    return total * (votes >= ceil(AFFINITY_VOTES * depth))


def _mean_pattern(p: Projections) -> Tensor:
    """Mean over heads of the q-k pattern, (b, tokens, tokens), with one head's pattern in memory at a time."""
    heads = range(p.q.shape[1])
    one = (replace(p, q=p.q[:, h : h + 1], k=p.k[:, h : h + 1], v=p.v[:, h : h + 1]) for h in heads)
    return sum(attention_pattern("qk", head)[:, 0] for head in one) / len(heads)


@torch.inference_mode()
def self_correlation(trace: Trace) -> Tensor:
    """How far the projections of two patches correlate beyond what CLS has with the second, (b, n, n), at least 0.

    The mean over heads of the cosines of q with q, k with k and v with v in the last block but one, minus the row of
    CLS where there is one.

    Raises:
        ValueError: a tower of fewer than 2 blocks, or a block that was not kept.

    Source: Shao et al. 2024, "Explore the Potential of CLIP for Training-Free Open Vocabulary Semantic Segmentation"
        (CLIPtrase), arXiv 2407.08268, section 3.2.
    """
    check_refinement("clusters", trace.tower)
    record, prefix = trace.block(-2), trace.tower.prefix
    units = [F.normalize(z, dim=-1) for z in (record.q, record.k, record.v)]
    mean = sum((z @ z.mT).mean(dim=1) for z in units) / len(units)  # (b, tokens, tokens)
    patches = mean[:, prefix:, prefix:]
    return (patches - mean[:, :1, prefix:] if trace.tower.has_cls else patches).clamp(min=0)


def cluster_patches(trace: Trace, eps: float = 0.7, min_patches: int = 3) -> Tensor:
    """Clusters of patches by their rows of `self_correlation`, int64 (b, n); -1 for patches in none.

    Args:
        trace: that kept the last block but one.
        eps: largest distance of neighbours.
        min_patches: that make a place dense.
    """
    cluster = DBSCAN(eps=eps, min_samples=min_patches)
    rows = [cluster.fit_predict(own.float().cpu().numpy()) for own in self_correlation(trace)]
    return torch.stack([torch.from_numpy(row) for row in rows]).to(trace.device)


def _means(maps: Tensor, labels: Tensor) -> Tensor:
    """Maps (n, t) with every cluster at its mean; patches in none stay."""
    found = maps.clone()
    for label in labels.unique():
        if label >= 0:
            found[labels == label] = maps[labels == label].mean(dim=0)
    return found


def check_refinement(kind: str, tower: Tower) -> None:
    """Refuses a refinement that has no meaning for a tower.

    Raises:
        ValueError: it reads more blocks than there are.
    """
    if kind != "pamr" and len(tower.blocks) < 2:
        raise ValueError(
            f"Expected a tower of at least 2 blocks for the refinement {kind}, but got {len(tower.blocks)}; "
            "pamr works on every tower"
        )
