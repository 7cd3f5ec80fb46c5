"""ITACLIP's image engineering: an image in five views, whose cosines are averaged.

    cosines = weight * mean of (image, grey, blurred) + (1 - weight) * mean of (upside down, mirrored), flipped back

The published code averages unit features and enlarged maps; both averages are of cosines, since a cosine is linear in
the unit feature and enlarging commutes with flips.

Source: Aydın et al. 2025, "ITACLIP: Boosting Training-Free Semantic Segmentation with Image, Text, and Architectural
Enhancements", arXiv 2411.12044, section 3.2.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur, rgb_to_grayscale

BLUR_KERNEL_PX, BLUR_STD_PX = 11, 5.0
FLIPS = (-2, -1)
"""Dimensions of pixels (b, 3, H, W) that are turned round: upside down, mirrored."""


def average_views(cosines_of: Callable[[Tensor], Tensor], pixels: Tensor, weight: float) -> Tensor:
    """Averaged cosines of the five views.

    Args:
        cosines_of: pixels (b, 3, H, W) -> (b, gh, gw, q).
        pixels: (b, 3, H, W), normalised.
        weight: of the views that are not flipped.
    """
    grey = rgb_to_grayscale(pixels, num_output_channels=3)
    blurred = gaussian_blur(pixels, BLUR_KERNEL_PX, BLUR_STD_PX)
    upright = sum(cosines_of(view) for view in (pixels, grey, blurred)) / 3
    flipped = sum(cosines_of(pixels.flip(side)).flip(side - 1) for side in FLIPS) / len(FLIPS)
    return torch.lerp(flipped, upright, weight)
