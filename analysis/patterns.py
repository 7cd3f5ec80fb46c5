"""The attention patterns of a trace in tiles of heads and query rows: memory does not grow with tokens squared.

A tile is a few MB: it stays in the cache of the processor, and its memory is used again by the next one. Scores are in
at least float32 and shifted by the maximum of their row, so nothing overflows; entropy comes from the log-sum-exp,
H = log sum_j w_j - sum_j w_j s_j / sum_j w_j with w_j = exp(s_j), which needs no logarithm of a weight. Powers are of
2, whose kernel takes a third of the time of exp.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from surgery.attention import Projections, Term, attention_terms, gaussian_prior
from surgery.towers import check_kind
from surgery.trace import Trace

KEYS = ("cls", "foreground", "background", "neither", "registers")
"""Where attention goes: the second to fourth are patches."""
PATCH_KEYS = slice(1, 4)
QUERIES = ("foreground", "background")
"""Whose attention is measured."""
PARTNERS = ("itself", "own region", "other region", "neither", "cls", "registers")
"""Who the strongest partner of a patch can be; the "other region" of a foreground patch is the background."""

CPU_TILE_BYTES = 2 * 2**20
"""Most bytes of one tile on a processor, of which up to four are alive at once; larger ones leave its cache."""
GPU_TILE_BYTES = 32 * 2**20
"""Most bytes of one tile on an accelerator, which needs larger pieces of work."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Some query rows of some heads of one attention pattern; valid until the next tile is asked for.

    Attributes:
        heads, rows: which heads and query tokens.
        weights: (heads, rows, tokens) attention weights, not normalised.
        total: (heads, rows) sum of each row; a pattern's row is weights / total.
        scores: (heads, rows, tokens) binary logarithms of the weights; None unless asked for, and for a sum.
    """

    heads: slice
    rows: slice
    weights: Tensor
    total: Tensor
    scores: Tensor | None

    def entropy(self) -> Tensor:
        """Entropy of every row in nats, (heads, rows) in float64; overwrites `scores`."""
        if self.scores is None:
            return torch.special.entr(self.weights / self.total[..., None]).sum(dim=-1)
        total = self.total.cpu().double()  # not every accelerator has float64
        return math.log(2) * (total.log2() - self.scores.mul_(self.weights).sum(dim=-1).cpu().double() / total)


def walk_tiles(
    trace: Trace,
    kind: str,
    block: int,
    image: int,
    *,
    heads: slice = slice(None),
    order: Tensor | None = None,
    scores: bool = False,
) -> Iterator[Tile]:
    """The attention pattern of one block and image, tile by tile: rows outside, heads inside.

    Args:
        trace: a recorded pass that kept the block.
        kind: see `surgery.attention.parse_kind`; a sum of softmaxes is divided by their number.
        block: index of the block.
        image: index in the batch.
        heads: which heads.
        order: (tokens,) indices that both queries and keys are brought into; None leaves them as they are.
        scores: keep the scores beside the weights.

    Raises:
        ValueError: the kind has no meaning for the tower, the block was not kept, or its q, k or v are not finite.
    """
    check_kind(trace.tower, kind)
    p = _image(trace.block(block).projections, image)
    terms = attention_terms(kind, p)
    operands = [_ordered(term, heads, order) for term in terms]
    for term in operands:
        if not torch.isfinite(term.left.sum() + term.right.sum()):
            raise ValueError(f"Expected the attention of block {block} to be finite, but got NaN or infinite values")
    count, tokens = p.v[0, heads].shape[:2]
    order = torch.arange(tokens, device=p.v.device) if order is None else order
    most = (CPU_TILE_BYTES if p.v.device.type == "cpu" else GPU_TILE_BYTES) // (tokens * p.v.dtype.itemsize)
    for rows in _slices(tokens, max(1, most)):
        prior = gaussian_prior(p.grid, p.prefix, p.v, order[rows], order) if terms and terms[0].gaussian else None
        for some in _slices(count, max(1, most // (rows.stop - rows.start))):
            yield _tile(operands, some, rows, prior, p.v, scores)


def _tile(operands: Sequence[Term], heads: slice, rows: slice, prior: Tensor | None, like: Tensor, keep: bool) -> Tile:
    shape = (heads.stop - heads.start, rows.stop - rows.start, like.shape[2])
    if not operands:
        weights = like.new_zeros(shape)
        weights.diagonal(rows.start, dim1=1, dim2=2).fill_(1)
        return Tile(heads, rows, weights, like.new_ones(shape[:2]), None)
    if len(operands) == 1:
        scores = _scores(operands[0], heads, rows, prior)
        weights = scores.exp2() if keep else scores.exp2_()
        return Tile(heads, rows, weights, weights.sum(dim=-1), scores if keep else None)
    weights = like.new_zeros(shape)
    for term in operands:
        part = _scores(term, heads, rows, prior).exp2_()
        weights.addcmul_(part, 1 / (len(operands) * part.sum(dim=-1, keepdim=True)))
    return Tile(heads, rows, weights, weights.sum(dim=-1), None)


def _scores(term: Term, heads: slice, rows: slice, prior: Tensor | None) -> Tensor:
    """Binary logarithms of the weights, with a row maximum of 0: (heads, rows, tokens)."""
    scores = term.left[heads, rows] @ term.right[heads].mT
    if prior is not None:
        scores.add_(prior, alpha=1 / math.log(2))
    return scores.sub_(scores.amax(dim=-1, keepdim=True))


def _ordered(term: Term, heads: slice, order: Tensor | None) -> Term:
    """One image's operands (heads, tokens, d), contiguous, the scale of binary scores inside the queries."""
    left, right = (
        z[0, heads] if order is None else z[0, heads].index_select(1, order) for z in (term.left, term.right)
    )
    return Term((left * (term.scale / math.log(2))).contiguous(), right.contiguous(), 1.0, term.weight, term.gaussian)


def _slices(count: int, most: int) -> list[slice]:
    """0 .. count in equal parts of at most `most`."""
    parts = -(-count // most)
    edges = [count * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _image(p: Projections, image: int) -> Projections:
    """One image of a batch, in at least float32."""
    dtype = torch.promote_types(p.v.dtype, torch.float32)
    q, k, v = (z[image : image + 1].to(dtype) for z in (p.q, p.k, p.v))
    norm = None if p.input_norm is None else p.input_norm[image : image + 1].to(dtype)
    return Projections(q, k, v, p.scale, norm, p.grid, p.prefix)


@dataclass(frozen=True, slots=True, eq=False)
class PatternMeasures:
    """What one sweep over the patterns of a kind found; None where it was not asked for.

    Attributes:
        entropy: (blocks, b, heads, tokens) float64, in nats.
        flow: (blocks, b, heads, 2, 5) weight from the query patches of each of `QUERIES` to each of `KEYS`.
        partners: (blocks, b, heads, 2, 6) shares of `PARTNERS` for every head.
        partners_of_mean: (blocks, b, 2, 5) the same for the mean of the attention over heads.
    """

    entropy: np.ndarray | None = None
    flow: np.ndarray | None = None
    partners: np.ndarray | None = None
    partners_of_mean: np.ndarray | None = None


@torch.inference_mode()
def measure_patterns(
    trace: Trace, kind: str, members: np.ndarray, *, entropy: bool = False, flow: bool = False, partners: bool = False
) -> PatternMeasures:
    """Everything that is asked of the patterns of one kind, in one sweep over every block.

    Args:
        trace: a recorded pass that kept every block.
        kind: see `surgery.attention.parse_kind`; a sum of softmaxes is divided by their number.
        members: int (b, tokens), which of `KEYS` a token is.
        entropy, flow, partners: what is wanted.

    Raises:
        ValueError: see `walk_tiles`.
    """
    blocks = []
    for block in range(trace.depth):
        images = []
        for image, groups in enumerate(members):
            found = _Found.of(trace.block(block).v.shape[1], groups, entropy, flow, partners)
            order = found.order.to(trace.device)
            for tile in walk_tiles(trace, kind, block, image, order=order, scores=entropy or partners):
                found.add(tile)
            images.append(found.results())
        blocks.append(images)
    names = blocks[0][0]
    return PatternMeasures(**{n: np.stack([np.stack([i[n] for i in images]) for images in blocks]) for n in names})


@dataclass(frozen=True, slots=True)
class _Found:
    """What was measured of one block and image so far; tokens are sorted by their group, so that a group is a slice.

    Attributes:
        order: (tokens,) the sorted tokens.
        groups: the slice of each of `KEYS`.
        own: (tokens,) index into `KEYS` of every sorted token.
        entropy: (heads, tokens) float64; None if not wanted, as the following.
        to_keys: (heads, tokens, 5) weight that goes to each of `KEYS`.
        partner: (heads + 1, tokens) index into `PARTNERS`, in the last row for the mean over heads.
        mean: the rows of the mean over heads that are being added up.
    """

    order: Tensor
    groups: tuple[slice, ...]
    own: Tensor
    entropy: Tensor | None
    to_keys: Tensor | None
    partner: Tensor | None
    mean: list[Tensor]

    @classmethod
    def of(cls, heads: int, groups: np.ndarray, entropy: bool, flow: bool, partners: bool) -> "_Found":
        order, n = np.argsort(groups, kind="stable"), len(groups)
        edges = [0, *np.cumsum(np.bincount(groups, minlength=len(KEYS))).tolist()]
        return cls(
            order=torch.from_numpy(order),
            groups=tuple(slice(a, b) for a, b in pairwise(edges)),
            own=torch.from_numpy(groups[order]).long(),
            entropy=torch.empty(heads, n, dtype=torch.float64) if entropy else None,
            to_keys=torch.empty(heads, n, len(KEYS), dtype=torch.float64) if flow else None,
            partner=torch.empty(heads + 1, n, dtype=torch.long) if partners else None,
            mean=[],
        )

    def add(self, tile: Tile) -> None:
        """Measures one tile."""
        place = tile.heads, tile.rows
        if self.to_keys is not None:
            sums = torch.stack([tile.weights[..., group].sum(dim=-1) for group in self.groups], dim=-1)
            self.to_keys[place] = (sums / tile.total[..., None]).to(self.to_keys)
        if self.partner is not None:
            self.partner[place] = self._partners(tile.weights if tile.scores is None else tile.scores, tile.rows)
            self._add_to_mean(tile)
        if self.entropy is not None:
            self.entropy[place] = tile.entropy()

    def _add_to_mean(self, tile: Tile) -> None:
        if tile.heads.start == 0:
            self.mean[:] = [torch.zeros_like(tile.weights[0])]
        for weights, total in zip(tile.weights, tile.total, strict=True):
            self.mean[0].addcmul_(weights, 1 / total[:, None])
        if tile.heads.stop == len(self.partner) - 1:
            self.partner[-1:, tile.rows] = self._partners(self.mean[0][None], tile.rows)

    def _partners(self, values: Tensor, rows: slice) -> Tensor:
        """Which of `PARTNERS` has the highest value of every row; among equals itself, then the own region."""
        low = values.new_full(values.shape[:2], -torch.inf)
        best = [values[..., g].amax(dim=-1) if g.stop > g.start else low for g in self.groups]
        best = torch.stack(best, dim=-1)  # (heads, rows, keys)
        reached = (best == best.amax(dim=-1, keepdim=True)).cpu()
        itself = (values.diagonal(rows.start, dim1=1, dim2=2) == best.amax(dim=-1)).cpu()
        own = self.own[rows].expand(reached.shape[:2])[..., None]
        partner = torch.full(reached.shape[:2], PARTNERS.index("other region"))
        for name, applies in (
            ("neither", reached[..., KEYS.index("neither")]),
            ("cls", reached[..., KEYS.index("cls")]),
            ("registers", reached[..., KEYS.index("registers")]),
            ("own region", reached.gather(-1, own)[..., 0]),
            ("itself", itself),
        ):
            partner = partner.masked_fill(applies, PARTNERS.index(name))
        return partner

    def results(self) -> dict[str, np.ndarray]:
        """The fields of `PatternMeasures` that were wanted, of this block and image."""
        found = {}
        sides = [self.groups[KEYS.index(name)] for name in QUERIES]
        if self.entropy is not None:
            found["entropy"] = torch.empty_like(self.entropy).index_copy_(1, self.order, self.entropy).numpy()
        if self.to_keys is not None:
            found["flow"] = torch.stack([self.to_keys[:, s].mean(dim=1) for s in sides], dim=1).float().numpy()
        if self.partner is not None:
            one_hot = F.one_hot(self.partner, len(PARTNERS)).float()
            shares = torch.stack([one_hot[:, s].mean(dim=1) for s in sides], dim=1).numpy()  # (heads + 1, 2, 5)
            found |= {"partners": shares[:-1], "partners_of_mean": shares[-1]}
        return found
