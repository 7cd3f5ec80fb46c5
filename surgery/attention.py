"""Kinds of attention: which token a token looks at, given the q, k and v of the original path.

qk               softmax(q k^T / sqrt(d)) v                    CLIP, Radford et al. 2021, arXiv 2103.00020
vv, qq, kk       softmax(z z^T / sqrt(d)) v                    CLIP Surgery, 2304.05653; ClearCLIP, 2407.12442
identity         v                                             MaskCLIP, arXiv 2112.01071
qq+kk            the sum of the two softmaxes, times v         SCLIP, arXiv 2312.01597
kk+gaussian      softmax(k k^T / sqrt(d) + w) v                NACLIP, arXiv 2404.08181
gem              mean over z in (q, k, v) of the smoothed, normalised self-attention   GEM, arXiv 2312.00878
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS: tuple[str, ...] = ("qk", "vv", "qq", "kk", "identity", "qq+kk", "kk+gaussian", "gem")
"""The published kinds; `parse_kind` takes every other sum of pairs as well, for example "qq+kk+vv" or "vv+gaussian"."""

GAUSSIAN_STD_PATCHES = 5.0
"""Standard deviation of NACLIP's neighbourhood prior, in patches."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A parsed kind of attention.

    Attributes:
        pairs: pairs of letters of q, k, v whose softmaxes are summed; empty for "identity" and "gem".
        gaussian: whether NACLIP's neighbourhood prior is added to the scores.
        gem: whether this is GEM's attention.
    """

    pairs: tuple[str, ...]
    gaussian: bool = False
    gem: bool = False


@lru_cache(maxsize=256)
def parse_kind(kind: str) -> Kind:
    """Reads the name of a kind of attention.

    Args:
        kind: "identity", "gem", or pairs of the letters q, k, v joined by "+", with an optional "gaussian" last.

    Raises:
        ValueError: the name is none of these.
    """
    if not isinstance(kind, str):
        raise ValueError(_kind_error(kind))
    if kind == "identity":
        return Kind(pairs=())
    if kind == "gem":
        return Kind(pairs=(), gem=True)
    *pairs, last = kind.split("+")
    gaussian = last == "gaussian"
    if not gaussian:
        pairs.append(last)
    if not pairs or len(set(pairs)) != len(pairs) or not all(len(p) == 2 and set(p) <= set("qkv") for p in pairs):
        raise ValueError(_kind_error(kind))
    return Kind(pairs=tuple(pairs), gaussian=gaussian)


def _kind_error(kind: object) -> str:
    return (
        f"Expected attention to be one of {', '.join(KINDS)}, or a sum of pairs of q, k, v "
        f'(such as "qq+vv", with "+gaussian" last if wanted), but got {kind!r}'
    )


@dataclass(frozen=True, slots=True)
class Projections:
    """What one block's attention starts from, on the original path.

    Attributes:
        q, k, v: (b, heads, tokens, head width).
        scale: factor of the scores, 1 / sqrt(head width) in CLIP.
        input_norm: (b,) mean over tokens of ||ln_1(x)||, GEM's temperature; None where the tower has no ln_1.
        grid: rows and columns of patches.
        prefix: number of tokens before the patches (1 with a CLS token, else 0).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    scale: float
    input_norm: Tensor | None
    grid: tuple[int, int]
    prefix: int


@dataclass(frozen=True, slots=True)
class Term:
    """One softmax of a kind of attention: `weight` * softmax(scale * left right^T + prior) v.

    Attributes:
        left, right: (b, heads, tokens, head width) queries and keys.
        scale: factor of the scores.
        weight: factor of the softmax in the sum.
        gaussian: whether NACLIP's prior is added to the scores.
    """

    left: Tensor
    right: Tensor
    scale: float
    weight: float
    gaussian: bool


def attention_terms(kind: str, p: Projections) -> tuple[Term, ...]:
    """The softmaxes whose sum, times v, is the attention of a kind; none for "identity".

    Everything that computes or measures attention starts here; nothing of size tokens x tokens is formed.

    Args:
        kind: see `parse_kind`.
        p: the block's projections.

    Raises:
        ValueError: an unknown kind, or "gem" in a tower without ln_1.
    """
    parsed = parse_kind(kind)
    if parsed.gem:
        return tuple(_sharpened(z, p) for z in (p.q, p.k, p.v))
    return tuple(Term(getattr(p, a), getattr(p, b), p.scale, 1.0, parsed.gaussian) for a, b in parsed.pairs)


def attend(kind: str, p: Projections) -> Tensor:
    """Per-head attention output, before the output projection.

    Args:
        kind: see `parse_kind`.
        p: the block's projections.

    Returns:
        (b, heads, tokens, head width).
    """
    terms = attention_terms(kind, p)
    if not terms:
        return p.v
    prior = gaussian_prior(p.grid, p.prefix, p.q) if terms[0].gaussian else None
    out = _attend(terms[0], p.v, prior)
    out = out if terms[0].weight == 1 else out * terms[0].weight
    for term in terms[1:]:
        out = torch.add(out, _attend(term, p.v, prior), alpha=term.weight)
    return out


def _attend(term: Term, v: Tensor, prior: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(term.left, term.right, v, attn_mask=prior, scale=term.scale)


def attention_pattern(kind: str, p: Projections) -> Tensor:
    """Attention weights of every query token (rows) over all tokens (columns), whole: memory grows with tokens squared.

    Rows sum to 1, and to the number of pairs for sums such as "qq+kk". `pattern @ v` is what `attend` returns. To
    measure the patterns of large inputs, walk them in tiles: `analysis.patterns`.

    Args:
        kind: see `parse_kind`.
        p: the block's projections.

    Returns:
        (b, heads, tokens, tokens), all >= 0.
    """
    terms = attention_terms(kind, p)
    if not terms:
        b, heads, n, _ = p.v.shape
        return torch.eye(n, dtype=p.v.dtype, device=p.v.device).expand(b, heads, n, n)
    prior = gaussian_prior(p.grid, p.prefix, p.q) if terms[0].gaussian else 0.0
    return sum(term.weight * (term.left @ term.right.mT * term.scale + prior).softmax(dim=-1) for term in terms)


def _sharpened(z: Tensor, p: Projections) -> Term:
    """GEM's softmax of one projection: smooth once among its own neighbours, then attend to itself."""
    if p.input_norm is None:
        raise ValueError(
            'Expected attention to have a meaning for this tower, but got "gem": its temperature needs ln_1'
        )
    root = (p.input_norm * p.scale).sqrt().reshape(-1, 1, 1, 1)  # of tau: one tensor for queries, keys and values
    z = _of_length(z, root)
    z = _of_length(F.scaled_dot_product_attention(z, z, z, scale=1.0), root)
    return Term(z, z, 1.0, 1 / 3, gaussian=False)


def _of_length(z: Tensor, length: Tensor) -> Tensor:
    """The vectors z (..., d) at another length (..., 1)."""
    return z * (length / torch.linalg.vector_norm(z, dim=-1, keepdim=True).clamp_min(1e-12))


def gaussian_prior(
    grid: tuple[int, int], prefix: int, like: Tensor, queries: Tensor | None = None, keys: Tensor | None = None
) -> Tensor:
    """NACLIP's additive prior w_ij = exp(-||p_i - p_j||^2 / (2 * 5^2)), positions in patches.

    Args:
        grid: rows and columns of patches.
        prefix: tokens before the patches; their row and column are 0.
        like: a tensor whose dtype and device are taken.
        queries, keys: indices of the tokens whose rows and columns are wanted; None for all.

    Returns:
        (queries, keys), in [0, 1].

    Source: Hajimiri et al. 2024, "Pay Attention to Your Neighbours", arXiv 2404.08181.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    every = torch.arange(prefix + grid[0] * grid[1], device=like.device)
    queries, keys = (every if index is None else index for index in (queries, keys))
    prior = None
    for axis, side in enumerate(grid):
        along = torch.arange(side, device=like.device, dtype=dtype)
        near = torch.exp(-(along[:, None] - along).square() / (2 * GAUSSIAN_STD_PATCHES**2))
        near = F.pad(near, (1, 0, 1, 0))  # row and column 0 stand for the prefix
        of_query, of_key = (_place(index - prefix, grid[1], axis) for index in (queries, keys))
        part = near.index_select(0, of_query).index_select(1, of_key)
        prior = part if prior is None else prior.mul_(part)  # exp of a sum is a product
    return prior.to(like.dtype)


def _place(patches: Tensor, columns: int, axis: int) -> Tensor:
    """1 + row (axis 0) or 1 + column (axis 1) of patches; 0 for the prefix, whose indices are negative."""
    along = patches.div(columns, rounding_mode="floor") if axis == 0 else patches % columns
    return torch.where(patches < 0, 0, along + 1)
