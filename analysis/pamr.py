"""Pixel-adaptive mask refinement: a map is averaged with its neighbours where the image does not change."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

OFFSETS = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))
SHARPNESS = 0.1
EPSILON = 1e-8


class Pamr:
    """The refinement along one image, for any number of maps.

    Args:
        pixels: (3, H, W), the normalised image at the size of the maps.
        dilations: distances of the 8 neighbours.

    Source: Araslanov and Roth 2020, "Single-Stage Semantic Segmentation from Image Labels", arXiv 2005.08104,
        section 4.2; as configured in Hajimiri et al. 2024, "NACLIP", arXiv 2404.08181.
    """

    def __init__(self, pixels: Tensor, dilations: Sequence[int]) -> None:
        self.dilations = tuple(dilations)
        everything = torch.stack(list(self._views(pixels, centre=True)))  # (9 * dilations, 3, H, W)
        width = EPSILON + SHARPNESS * everything.std(dim=0)
        del everything
        distance = [-((pixels - other).abs() / width).mean(dim=0) for other in self._views(pixels)]
        self.affinity = torch.stack(distance).softmax(dim=0)  # (8 * dilations, H, W)

    def refine(self, maps: Tensor, steps: int) -> Tensor:
        """Maps (k, H, W) after so many steps; the centre itself has no weight."""
        for _ in range(steps):
            refined = torch.zeros_like(maps)
            for weight, neighbour in zip(self.affinity, self._views(maps), strict=True):
                refined.addcmul_(neighbour, weight)
            maps = refined
        return maps

    def _views(self, maps: Tensor, centre: bool = False) -> Iterator[Tensor]:
        """The neighbours of every pixel, (k, H, W) each, borders replicated."""
        height, width = maps.shape[-2:]
        for dilation in self.dilations:
            padded = F.pad(maps[None], (dilation,) * 4, mode="replicate")[0]
            for row, column in OFFSETS:
                if centre or row or column:
                    top, left = dilation * (1 + row), dilation * (1 + column)
                    yield padded[:, top : top + height, left : left + width]
