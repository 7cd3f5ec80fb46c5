"""Where attention goes: from one patch over the grid, and from a region to itself, the background and the CLS token.

Li et al. 2023, "CLIP Surgery", arXiv 2304.05653, find that under q-k a patch attends to patches of other regions and
that its strongest partner is not itself, and that v-v mends this. The measures here put numbers to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from analysis.norms import Entropy, StreamMeasure, compute_norms, token_groups
from analysis.patterns import KEYS, PARTNERS, PATCH_KEYS, QUERIES, PatternMeasures, measure_patterns, walk_tiles
from analysis.regions import Region, stack_regions
from surgery.trace import Trace

__all__ = [
    "KEYS",
    "PARTNERS",
    "PATCH_KEYS",
    "QUERIES",
    "Affinity",
    "BestPartners",
    "LayerReport",
    "SameRegionMass",
    "attention_map",
    "best_partners",
    "compute_affinity",
    "compute_layers",
    "same_region_mass",
    "token_index",
]

Query = tuple[int, int] | str


@dataclass(frozen=True, slots=True, eq=False)
class Affinity:
    """Attention weights of one block of one image, for several kinds side by side.

    Attributes:
        weights: (kinds, tokens, tokens) float32; rows are queries and sum to 1.
        kinds: the kinds of attention.
        block: index of the block.
        head: index of the head, None for the mean over heads.
        grid: rows and columns of patches.
        prefix: tokens before the patches: CLS, if the tower has one, and registers.
        model: name of the model.
        registers: how many of these are registers, which come after CLS.
    """

    weights: np.ndarray
    kinds: tuple[str, ...]
    block: int
    head: int | None
    grid: tuple[int, int]
    prefix: int
    model: str
    registers: int = 0

    @property
    def has_cls(self) -> bool:
        """Whether the first token is CLS."""
        return self.prefix > self.registers

    def token(self, query: Query) -> int:
        """Index of a query among the tokens; raises ValueError as `maps`."""
        return token_index(query, self.grid, self.prefix, self.registers)

    def maps(self, query: Query) -> np.ndarray:
        """Attention of one query token over the patches.

        Args:
            query: (row, column) of a patch, or "cls".

        Returns:
            (kinds, gh, gw); what is missing to 1 goes to CLS and registers, see `cls_share` and `register_share`.

        Raises:
            ValueError: a patch outside the grid, or "cls" in a tower without one.
        """
        return self.weights[:, self.token(query), self.prefix :].reshape(-1, *self.grid)

    def cls_share(self, query: Query) -> np.ndarray:
        """Weight that goes from one query token to the CLS token, (kinds,); 0 in a tower without one."""
        return self.weights[:, self.token(query), : self.prefix - self.registers].sum(axis=-1)

    def register_share(self, query: Query) -> np.ndarray:
        """Weight that goes from one query token to the registers, (kinds,); 0 in a tower without any."""
        return self.weights[:, self.token(query), self.prefix - self.registers : self.prefix].sum(axis=-1)

    def own_region_share(self, region: Region) -> np.ndarray:
        """Share of every patch's weight on patches that stays inside its own region.

        Args:
            region: foreground and background.

        Returns:
            (kinds, gh, gw) in [0, 1]; NaN for patches of neither.

        Raises:
            ValueError: a region of another grid.
        """
        between = self.weights[:, self.prefix :, self.prefix :]  # (kinds, patches, patches)
        shares = np.full(between.shape[:2], np.nan, np.float32)
        for side in stack_regions(region, 1, self.grid):
            own = side[0]
            shares[:, own] = between[:, own][:, :, own].sum(axis=-1) / between[:, own].sum(axis=-1)
        return shares.reshape(-1, *self.grid)


def token_index(query: Query, grid: tuple[int, int], prefix: int, registers: int = 0) -> int:
    """Index of a query among the tokens; raises ValueError as `Affinity.maps`."""
    if isinstance(query, str):
        has_cls = prefix > registers
        if query != "cls" or not has_cls:
            choices = '(row, column) or "cls"' if has_cls else "(row, column) (this tower has no CLS token)"
            raise ValueError(f"Expected query to be {choices}, but got {query!r}")
        return 0
    row, column = query
    if not (0 <= row < grid[0] and 0 <= column < grid[1]):
        raise ValueError(f"Expected query to be (row, column) inside the grid {tuple(grid)}, but got {tuple(query)}")
    return prefix + row * grid[1] + column


@torch.inference_mode()
def compute_affinity(
    trace: Trace, kinds: Sequence[str], block: int, head: int | None = None, image: int = 0
) -> Affinity:
    """Attention weights between all tokens of one block, for several kinds.

    Args:
        trace: a recorded pass that kept the block.
        kinds: kinds of attention, such as ("qk", "vv"); a sum of softmaxes is divided by their number.
        block: index of the block; negative counts from the end.
        head: index of the head, None for the mean over heads.
        image: index in the batch.

    Raises:
        ValueError: no such kind, block, head or image, or a kind without meaning for the tower.
    """
    images, heads = trace.block(block).v.shape[:2]
    if head is not None and not 0 <= head < heads:
        raise ValueError(f"Expected head to be from 0 to {heads - 1}, or None for the mean, but got {head}")
    if not 0 <= image < images:
        raise ValueError(f"Expected image to be from 0 to {images - 1}, but got {image}")
    tokens = trace.output.shape[1]
    weights = np.zeros((len(_at_least_one(kinds)), tokens, tokens), np.float32)
    for kind, rows in zip(kinds, weights, strict=True):
        for tile in walk_tiles(trace, kind, block, image, heads=slice(head, None if head is None else head + 1)):
            for pattern, total in zip(tile.weights, tile.total[..., None], strict=True):
                rows[tile.rows] += (pattern / (total * (heads if head is None else 1))).cpu().numpy()
    tower, index = trace.tower, block % trace.depth
    return Affinity(weights, tuple(kinds), index, head, trace.grid, tower.prefix, trace.model, tower.registers)


def attention_map(
    trace: Trace, block: int, kind: str, query: Query, head: int | None = None, image: int = 0
) -> np.ndarray:
    """Attention of one query token over the patches, (gh, gw); see `compute_affinity` and `Affinity.maps`."""
    return compute_affinity(trace, [kind], block, head, image).maps(query)[0]


@dataclass(frozen=True, slots=True, eq=False)
class SameRegionMass:
    """Where the attention of foreground and background patches goes, per block and head.

    Attributes:
        flow: (kinds, blocks, b, heads, 2, 5) float32: weight that goes to each of `KEYS`, averaged over the
            query patches of each of `QUERIES`; the last axis sums to 1.
        chance: (b, 2) share of the patches that the query's own region makes up: the mass of uniform attention.
        kinds: the kinds of attention.
        model: name of the model.
    """

    flow: np.ndarray
    chance: np.ndarray
    kinds: tuple[str, ...]
    model: str

    @property
    def mass(self) -> np.ndarray:
        """Same-region mass (kinds, blocks, b, heads, 2): of the weight on patches, the share on the query's region."""
        own = np.stack([self.flow[..., q, KEYS.index(name)] for q, name in enumerate(QUERIES)], axis=-1)
        return own / self.flow[..., PATCH_KEYS].sum(axis=-1)

    @property
    def cls_share(self) -> np.ndarray:
        """Of all weight, the share on the CLS token, (kinds, blocks, b, heads, 2); 0 in a tower without one."""
        return self.flow[..., 0]


@torch.inference_mode()
def same_region_mass(trace: Trace, kinds: Sequence[str], regions: Region | Sequence[Region]) -> SameRegionMass:
    """Same-region mass of every block and head, for several kinds.

    Args:
        trace: a recorded pass that kept every block.
        kinds: kinds of attention, such as ("qk", "vv").
        regions: one for all images or one each.

    Raises:
        ValueError: a kind without meaning for the tower, regions that do not fit, or a block that was not kept.
    """
    return _mass(trace, kinds, regions, [_measure(trace, kind, regions, flow=True) for kind in _at_least_one(kinds)])


def _mass(
    trace: Trace, kinds: Sequence[str], regions: Region | Sequence[Region], found: Sequence[PatternMeasures]
) -> SameRegionMass:
    groups = token_groups(trace, regions)
    sides = np.stack([groups[name] for name in QUERIES], axis=-1)  # (b, tokens, 2)
    chance = sides.sum(axis=1) / groups["patches"].sum(axis=1, keepdims=True)
    return SameRegionMass(np.stack([measures.flow for measures in found]), chance, tuple(kinds), trace.model)


@dataclass(frozen=True, slots=True, eq=False)
class BestPartners:
    """Who the token is that a patch attends to most: share of the query patches of `QUERIES` whose arg-max is ...

    Attributes:
        heads: (kinds, blocks, b, heads, 2, 6) float32: shares of `PARTNERS`, which sum to 1, for every head.
        mean: (kinds, blocks, b, 2, 6) the same for the mean over heads of the attention.
        kinds: the kinds of attention.
        model: name of the model.
    """

    heads: np.ndarray
    mean: np.ndarray
    kinds: tuple[str, ...]
    model: str


@torch.inference_mode()
def best_partners(trace: Trace, kinds: Sequence[str], regions: Region | Sequence[Region]) -> BestPartners:
    """Where the strongest partners of the patches are, in every block and head and for several kinds.

    Args:
        trace: a recorded pass that kept every block.
        kinds: kinds of attention, such as ("qk", "vv").
        regions: one for all images or one each.

    Raises:
        ValueError: a kind without meaning for the tower, regions that do not fit, or a block that was not kept.

    Source: Li et al. 2023, arXiv 2304.05653: "the most similar token is not itself".
    """
    return _best(trace, kinds, [_measure(trace, kind, regions, partners=True) for kind in _at_least_one(kinds)])


def _best(trace: Trace, kinds: Sequence[str], found: Sequence[PatternMeasures]) -> BestPartners:
    heads, mean = (np.stack([getattr(m, name) for m in found]) for name in ("partners", "partners_of_mean"))
    return BestPartners(heads, mean, tuple(kinds), trace.model)


def _measure(trace: Trace, kind: str, regions: Region | Sequence[Region], **wanted: bool) -> PatternMeasures:
    return measure_patterns(trace, kind, _members(trace, regions), **wanted)


def _members(trace: Trace, regions: Region | Sequence[Region]) -> np.ndarray:
    """Which of `KEYS` a token is, int (b, tokens)."""
    groups = token_groups(trace, regions)
    known = [name for name in KEYS if name in groups]
    return np.select([groups[name] for name in known], list(map(KEYS.index, known)), default=KEYS.index("neither"))


def _at_least_one(kinds: Sequence[str]) -> Sequence[str]:
    if isinstance(kinds, str) or not len(kinds):
        raise ValueError(f"Expected kinds to be a list of at least 1 kind of attention, but got {kinds!r}")
    return kinds


@dataclass(frozen=True, slots=True, eq=False)
class LayerReport:
    """What every block does to a region, measured in one go.

    Attributes:
        norms: see `compute_norms`.
        entropy: see `compute_entropy`, of the first kind.
        mass: see `same_region_mass`.
        partners: see `best_partners`; None unless asked for.
    """

    norms: StreamMeasure
    entropy: Entropy
    mass: SameRegionMass
    partners: BestPartners | None = None


def compute_layers(
    trace: Trace,
    regions: Region | Sequence[Region],
    kinds: Sequence[str] = ("qk", "vv"),
    *,
    partners: bool = False,
) -> LayerReport:
    """`compute_norms`, `compute_entropy` (of the first kind), `same_region_mass`, and `best_partners` if asked for.

    Each pattern is computed once, in tiles, and gives all of them.
    """
    norms = compute_norms(trace, regions)
    found = [
        _measure(trace, kind, regions, entropy=kind == kinds[0], flow=True, partners=partners)
        for kind in _at_least_one(kinds)
    ]
    entropy = Entropy(found[0].entropy, norms.groups, kinds[0], trace.model)
    best = _best(trace, kinds, found) if partners else None
    return LayerReport(norms, entropy, _mass(trace, kinds, regions, found), best)
