"""Every alpha at once: the cosine of a patch with a text as a closed form of how strongly attention is weighted.

Without MLP the walked sum is linear in alpha at any residual r: z(alpha) = X + alpha * A, with X = r^n x_{L-n} and A
the sum over the n walked blocks of r^(blocks after it) a_l. With z' the tokens centred over their width and read-out
R(z) = (gain * z' / sd) W + c, the centred parts are read once, P = (gain * X') W and Q = (gain * A') W, and for a patch
and a unit text t

    sd^2   = <X', X'> + 2 alpha <X', A'> + alpha^2 <A', A'>  (means over the width) + eps
    cosine = ((P.t + alpha Q.t) / sd + c.t) / |(P + alpha Q) / sd + c|

where the norm needs P.P, P.Q, Q.Q, P.c, Q.c and c.c only. So a few numbers a patch give every alpha without another
product of matrices, and the critical alpha, where a cosine or the contrast of a region changes its sign, can be found.

Source: ClearCLIP's X_sum = X_res + alpha X_attn (Lan et al. 2024, arXiv 2407.12442, section 3), solved for alpha.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from analysis.regions import Region, stack_regions
from surgery import Method, Trace, similarity
from surgery.dense import Walk, dense_features_of, fit_method
from surgery.features import unit_texts
from surgery.towers import Tower

MAX_ALPHA = 1e6
"""A sign that changes only beyond this alpha is taken not to change."""
MAX_VALUES = 2**22
"""Most cosines that `iterate_cosines` computes at once."""
SEARCH_POINTS = 400
"""Alphas, evenly spaced in log(1 + alpha), between which the sign of a contrast is looked for to change."""


@dataclass(frozen=True, slots=True, eq=False)
class AlphaCurve:
    """The cosines of every patch with every text as a function of alpha.

    Attributes:
        variance: (b, n, 3) coefficients of sd^2 of 1, alpha and alpha^2, the epsilon of the norm in the first.
        squares: (b, n, 3) of |P + alpha Q|^2.
        crossed: (b, n, 2) of 2 (P + alpha Q) . c.
        constant: c . c.
        texts: (2, b, n, t) P . t and Q . t.
        offset: (t,) c . t.
        grid: rows and columns of patches.
        method: what is varied, as the tower carries it out; its own alpha is one point of the curve.
        model: name of the model.
    """

    variance: Tensor
    squares: Tensor
    crossed: Tensor
    constant: Tensor
    texts: Tensor
    offset: Tensor
    grid: tuple[int, int]
    method: Method
    model: str

    def cosines(self, alphas: float | Sequence[float] | np.ndarray) -> Tensor:
        """Cosines at some alphas.

        Args:
            alphas: (a,) finite numbers, or one.

        Returns:
            (a, b, gh, gw, t) in [-1, 1], what `similarity(dense_features(...))` gives for each; without a leading axis
            for a single number.

        Raises:
            ValueError: an alpha that is not finite.
        """
        alphas = np.asarray(alphas, dtype=np.float64)
        if not np.isfinite(alphas).all():
            raise ValueError(f"Expected alphas to be finite numbers, but got {alphas.tolist()}")
        values = self._at(torch.from_numpy(alphas.reshape(-1)).to(self.texts))
        values = values.unflatten(2, self.grid)
        return values if alphas.ndim else values[0]

    def _at(self, alphas: Tensor) -> Tensor:
        """(a,) -> (a, b, n, t)."""
        a = alphas[:, None, None]
        scale, norm = self._denominators(a)
        first, slope = self.texts
        return (torch.addcmul(first, a[..., None], slope) * scale[..., None] + self.offset) / norm[..., None]

    def _denominators(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """1 / sd and the norm of the feature, each (a, b, n), for alphas a (a, 1, 1)."""
        v, s, x = self.variance, self.squares, self.crossed
        scale = (v[..., 0] + a * (v[..., 1] + a * v[..., 2])).rsqrt()
        squared = (s[..., 0] + a * (s[..., 1] + a * s[..., 2])) * scale.square()
        return scale, (squared + (x[..., 0] + a * x[..., 1]) * scale + self.constant).clamp_min(0).sqrt()

    def limit(self) -> Tensor:
        """Cosines as alpha grows without bound, which is the same as dropping the residual: (b, gh, gw, t)."""
        scale = self.variance[..., 2].rsqrt()
        squared = self.squares[..., 2] * scale.square() + self.crossed[..., 1] * scale + self.constant
        values = (self.texts[1] * scale[..., None] + self.offset) / squared.clamp_min(0).sqrt()[..., None]
        return values.unflatten(1, self.grid)

    def contrasts(self, alphas: float | Sequence[float] | np.ndarray, region: Region | Sequence[Region]) -> Tensor:
        """Mean cosine over the foreground minus over the background at some alphas.

        Args:
            alphas: (a,) finite numbers.
            region: one for all images, or one each.

        Returns:
            (a, b, t).
        """
        cosines = self.cosines(np.atleast_1d(alphas)).flatten(2, 3)  # (a, b, n, t)
        return torch.einsum("bn,abnt->abt", self._weights(region), cosines)

    def _weights(self, region: Region | Sequence[Region]) -> Tensor:
        """(b, n): what a cosine counts in the contrast."""
        sides = stack_regions(region, self.texts.shape[1], self.grid)
        inside, outside = (torch.from_numpy(side).to(self.texts) for side in sides)
        return inside / inside.sum(dim=-1, keepdim=True) - outside / outside.sum(dim=-1, keepdim=True)

    def critical_alpha(self) -> np.ndarray:
        """The smallest alpha > 0 at which the cosine of a patch with a text changes its sign.

        The sign is that of (P.t + alpha Q.t) + sd(alpha) c.t, so a sign change solves a quadratic equation.

        Returns:
            (b, gh, gw, t) float64; NaN where the sign is the same for all alpha >= 0.
        """
        p, q = (z.double().cpu().numpy() for z in self.texts)  # (b, n, t)
        c = self.offset.double().cpu().numpy()
        v = self.variance.double().cpu().numpy()[..., None, :]  # (b, n, 1, 3)
        # (p + a q)^2 = c^2 (v0 + v1 a + v2 a^2), of which only roots with p + a q and c of opposite sign count
        roots = _quadratic_roots(q**2 - c**2 * v[..., 2], 2 * p * q - c**2 * v[..., 1], p**2 - c**2 * v[..., 0])
        signs = (p[None] + roots * q[None]) * c
        valid = (roots > 0) & (roots < MAX_ALPHA) & (signs <= 0)
        smallest = np.where(valid, roots, np.inf).min(axis=0)
        return np.where(np.isfinite(smallest), smallest, np.nan).reshape(p.shape[0], *self.grid, p.shape[2])

    def critical_contrasts(self, region: Region | Sequence[Region]) -> tuple[tuple[np.ndarray, ...], ...]:
        """Every alpha > 0 at which the contrast of a region changes its sign.

        Looked for between `SEARCH_POINTS` alphas up to `MAX_ALPHA`, then narrowed down to the last digit; two changes
        between neighbouring points cancel and are not seen.

        Args:
            region: one for all images, or one each.

        Returns:
            Per image and text the alphas, float64, ascending; empty where the sign is the same for all alpha >= 0.
        """
        curve = self.double()
        weights = curve._weights(region)
        grid = torch.expm1(torch.linspace(0, np.log1p(MAX_ALPHA), SEARCH_POINTS, dtype=torch.float64))
        values = torch.cat([_contrast_at(curve, weights, part) for part in grid.split(32)])  # (a, b, t)
        changes = (values[1:] < 0) != (values[:-1] < 0)
        _, images, texts = changes.shape

        def of(image: int, text: int) -> np.ndarray:
            starts = changes[:, image, text].nonzero()[:, 0].tolist()
            ends = [_narrow(curve, weights, grid[i], grid[i + 1], image, text) for i in starts]
            return np.array(ends, dtype=np.float64)

        return tuple(tuple(of(image, text) for text in range(texts)) for image in range(images))

    def critical_contrast(self, region: Region | Sequence[Region]) -> np.ndarray:
        """The smallest of `critical_contrasts`, (b, t) float64; NaN where there is none."""
        found = self.critical_contrasts(region)
        return np.array([[alphas[0] if len(alphas) else np.nan for alphas in row] for row in found])

    def double(self) -> "AlphaCurve":
        """The same with float64 numbers, on the processor."""
        names = ("variance", "squares", "crossed", "constant", "texts", "offset")
        return replace(self, **{name: getattr(self, name).cpu().double() for name in names})


def _contrast_at(curve: AlphaCurve, weights: Tensor, alphas: Tensor) -> Tensor:
    return torch.einsum("bn,abnt->abt", weights, curve._at(alphas))


def _narrow(curve: AlphaCurve, weights: Tensor, low: Tensor, high: Tensor, image: int, label: int) -> float:
    """The sign change of one contrast between two alphas."""
    own, weights = slice(image, image + 1), weights[image : image + 1]
    scalars = {name: getattr(curve, name)[own] for name in ("variance", "squares", "crossed")}
    text = slice(label, label + 1)
    one = replace(curve, texts=curve.texts[:, own, :, text], offset=curve.offset[text], **scalars)
    for _ in range(9):  # 63^9 is more than float64 can tell apart
        alphas = torch.linspace(float(low), float(high), 64, dtype=torch.float64)
        signs = _contrast_at(one, weights, alphas).flatten().sign()
        first = max(1, int((signs != signs[0]).to(torch.uint8).argmax()))
        low, high = alphas[first - 1], alphas[first]
    return float(high)


def _quadratic_roots(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Both roots of a x^2 + b x + c, (2, ...); NaN where there is none. Without loss of digits by cancellation."""
    with np.errstate(divide="ignore", invalid="ignore"):
        half = -(b + np.copysign(np.sqrt(b * b - 4 * a * c), b)) / 2
        return np.stack([half / a, c / half])


@torch.inference_mode()
def alpha_curve(trace: Trace, text: Tensor, method: Method | str, *, walk: Walk | None = None) -> AlphaCurve:
    """The closed form in alpha of a method without MLP.

    Args:
        trace: a recorded pass that kept the blocks that the method walks.
        text: (t, d) text features.
        method: kind, blocks and residual; its alpha is the variable.
        walk: over this trace, to share attention outputs with other kinds and depths; None makes its own.

    Raises:
        ValueError: a method with MLP, without meaning for the tower, or a tower whose read-out is not linear after its
            norm (the head of SigLIP) or that has no norm (ResNet).
    """
    tower, walk = trace.tower, walk or Walk(trace)
    fitted = fit_method(tower, method)
    _check(tower, fitted)
    kept, added = _parts(walk, fitted)
    wide = torch.promote_types(trace.output.dtype, torch.float32)
    patches = [z[:, tower.prefix :].to(wide) for z in (kept, added)]  # (b, n, w)
    x, a = (z - z.mean(dim=-1, keepdim=True) for z in patches)
    norm, behind = tower.chain.only_norm()
    gain = norm.weight.to(wide)
    shift = torch.zeros_like(gain) if norm.bias is None else norm.bias.to(wide)
    zero = behind.apply_wide(torch.zeros_like(gain))
    p, q = (behind.apply_wide(z * gain) - zero for z in (x, a))  # (b, n, d)
    c = behind.apply_wide(shift)  # (d,)
    unit = unit_texts(text, p)
    return AlphaCurve(
        variance=torch.stack([_dot(x, x) + norm.eps * x.shape[-1], 2 * _dot(x, a), _dot(a, a)], dim=-1) / x.shape[-1],
        squares=torch.stack([_dot(p, p), 2 * _dot(p, q), _dot(q, q)], dim=-1),
        crossed=2 * torch.stack([p @ c, q @ c], dim=-1),
        constant=c @ c,
        texts=torch.stack([p @ unit.mT, q @ unit.mT]),
        offset=unit @ c,
        grid=trace.grid,
        method=fitted,
        model=trace.model,
    )


def has_alpha_curve(tower: Tower, method: Method) -> bool:
    """Whether `alpha_curve` takes the method on this tower."""
    linear = tower.has_residual and tower.is_affine and tower.chain.only_norm() is not None
    return linear and not method.mlp and not method.steps


@torch.inference_mode()
def iterate_cosines(walk: Walk, methods: Iterable[Method | str], text: Tensor) -> Iterator[Tensor]:
    """Cosines of every patch with every text by many methods, those that differ by alpha alone from one closed form.

    Args:
        walk: over the trace.
        methods: methods or names of presets; neighbours that differ by alpha alone are computed together.
        text: (t, d) text features.

    Yields:
        (b, gh, gw, t) of each method, what `similarity(dense_features(...)).patches` gives, to 1e-6.

    Raises:
        ValueError, TypeError: see `surgery.dense_features`.
    """
    tower = walk.trace.tower
    fitted = [fit_method(tower, method) for method in methods]
    curves: dict[Method, AlphaCurve] = {}
    for family, members in groupby(fitted, key=lambda method: replace(method, alpha=1.0)):
        alphas = [member.alpha for member in members]
        if (len(alphas) == 1 and family not in curves) or not has_alpha_curve(tower, family):
            for alpha in alphas:
                yield similarity(dense_features_of(walk, replace(family, alpha=alpha)), text).patches
            continue
        if family not in curves:
            curves[family] = alpha_curve(walk.trace, text, family, walk=walk)
        at_once = max(1, MAX_VALUES // curves[family].texts[0].numel())
        for start in range(0, len(alphas), at_once):
            yield from curves[family].cosines(alphas[start : start + at_once])


def _check(tower: Tower, method: Method) -> None:
    if method.mlp or method.steps:
        raise ValueError(f"Expected method to walk without MLP or steps, but got {method}")
    if not has_alpha_curve(tower, method):
        raise ValueError(
            "Expected a ViT whose read-out is a norm and a projection for the closed form in alpha, "
            f"but got {type(tower).__name__}"
        )


def _parts(walk: Walk, method: Method) -> tuple[Tensor, Tensor]:
    """X and A of the module docstring, (b, tokens, w)."""
    trace, depth = walk.trace, walk.trace.depth
    kept = trace.block(depth - method.blocks).x * method.residual**method.blocks
    added = sum(
        walk.attention(index, method.attention) * method.residual ** (depth - 1 - index)
        for index in range(depth - method.blocks, depth)
    )
    return kept, added


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return torch.linalg.vecdot(x, y)
