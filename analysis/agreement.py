"""Do several measures put the same things in the same order? Spearman's rank correlation of every pair.

Source: Spearman 1904, "The Proof and Measurement of Association between Two Things"; scipy.stats.spearmanr.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from scipy import stats

LEVEL = 0.05
EXACT = 8
"""Up to so many items every order is counted; above, Student's t is near enough."""


@dataclass(frozen=True, slots=True, eq=False)
class RankAgreement:
    """Rank correlations of some measures.

    Attributes:
        names: the m measures.
        rho: (m, m) Spearman's rank correlation; NaN with a measure that has no order.
        items: number of things that were put in order.
        critical: size from which a correlation is not chance at the level of 5 %, two-sided; above 1 where no
            correlation of so few things could tell.
    """

    names: tuple[str, ...]
    rho: np.ndarray
    items: int
    critical: float

    @property
    def mean(self) -> float:
        """Mean over the pairs that have a correlation; NaN for none."""
        pairs = self.rho[np.triu_indices(len(self.names), 1)]
        pairs = pairs[np.isfinite(pairs)]
        return float(pairs.mean()) if len(pairs) else float("nan")


def rank_agreement(values: Mapping[str, np.ndarray]) -> RankAgreement:
    """Rank correlation of every pair of measures.

    Args:
        values: measure -> (n,) numbers of the same n things; constant or with NaN: a measure without an order.

    Raises:
        ValueError: lengths that differ, or fewer than 2 things.

    >>> rank_agreement({"a": np.array([1.0, 2.0, 3.0]), "b": np.array([9.0, 5.0, 1.0])}).rho[0, 1].item()
    -1.0
    """
    names, rows = tuple(values), [np.asarray(row, dtype=np.float64) for row in values.values()]
    lengths = {row.shape for row in rows}
    if len(lengths) != 1 or rows[0].ndim != 1 or len(rows[0]) < 2:
        raise ValueError(f"Expected values to be arrays (n,) of one length n >= 2, but got shapes {sorted(lengths)}")
    ranks = [stats.rankdata(row) if np.isfinite(row).all() and np.ptp(row) > 0 else None for row in rows]
    rho = np.full((len(rows), len(rows)), np.nan)
    for i, a in enumerate(ranks):
        for j, b in enumerate(ranks):
            if a is not None and b is not None:
                rho[i, j] = np.corrcoef(a, b)[0, 1]
    return RankAgreement(names, rho, len(rows[0]), critical_rho(len(rows[0])))


@cache
def critical_rho(items: int) -> float:
    """Smallest size of a rank correlation of so many things that chance reaches in at most 5 % of orders, two-sided.

    >>> round(critical_rho(6), 3), critical_rho(4)
    (0.886, inf)
    """
    if items > EXACT:
        t = stats.t.ppf(1 - LEVEL / 2, items - 2)
        return float(t / np.sqrt(items - 2 + t * t))
    orders = np.array(list(permutations(range(items))))
    squares = ((orders - np.arange(items)) ** 2).sum(axis=1)
    sizes = np.abs(1 - 6 * squares / (items * (items**2 - 1))).round(12)
    reached = [size for size in np.unique(sizes) if (sizes >= size).mean() <= LEVEL]
    return float(reached[0]) if reached else float("inf")
