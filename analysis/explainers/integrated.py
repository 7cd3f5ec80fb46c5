"""Integrated gradients over the pixels: shares of the cosine that add up to what the image has over a blank one.

    relevance of a patch = sum over its pixels and channels of (x - x') * integral_0^1 dc(x' + s (x - x'))/dx ds

The baseline x' is the mean colour of the training set, 0 in normalised pixels. The integral takes `STEPS` points of
Gauss-Legendre, each with one forward pass and one batched backward pass for all texts.

Source: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", arXiv 1703.01365, equation 1.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.explainers.explanation import ImagePass
from surgery.graph import cosines, gradients_of_each

STEPS = 16
TEXTS_AT_ONCE = 8


def integrated_gradients(run: ImagePass, *, steps: int = STEPS) -> Tensor:
    """(b, gh, gw, t), signed; the sum over the patches is cosine(image) - cosine(blank image) up to the integral."""
    return torch.cat([_one_image(run, pixels, steps) for pixels in run.pixels.split(1)])


def _one_image(run: ImagePass, pixels: Tensor, steps: int) -> Tensor:
    parts = run.text.split(TEXTS_AT_ONCE)
    totals = [torch.zeros(len(part), *pixels.shape, dtype=pixels.dtype, device=pixels.device) for part in parts]
    for share, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
        x = (pixels * (share + 1) / 2).requires_grad_()
        feature = run.encode(x)
        for total, part in zip(totals, parts, strict=True):
            (gradient,) = gradients_of_each(cosines(feature, part), [x], retain=True)
            total += gradient * (weight / 2)
    relevance = (torch.cat(totals)[:, 0] * pixels).sum(dim=1, keepdim=True)  # (t, 1, H, W)
    size = tuple(side // count for side, count in zip(pixels.shape[-2:], run.grid, strict=True))
    return (F.avg_pool2d(relevance, size) * size[0] * size[1]).movedim(0, -1)
