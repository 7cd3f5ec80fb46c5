"""Channels of the residual stream: which ones are massive, and what one of them writes.

The last residual stream x_L is a sum over its w channels, x_L = sum_c x_c e_c, so with the norms of the read-out frozen
a channel writes its own value times one direction, the same for every token but for the token's scale:

    feature = sum_c x_c * scale * u_c + constant,     u_c = (gain * (e_c - 1 / w)) W

and the contrast of a region is a sum of one signed term per channel. A massive channel (one of a few whose values are
far larger than all others', nearly the same for all tokens) fills the length that the norm divides by.

Source: Sun et al. 2024, "Massive Activations in Large Language Models", arXiv 2402.17762, section 5 on ViTs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.readout import Readout
from analysis.regions import Region
from surgery import Trace


@dataclass(frozen=True, slots=True, eq=False)
class ChannelTerms:
    """The channels of the last residual stream, of one image.

    Attributes:
        magnitude: (w,) mean of |x_c| over the patches.
        ratio: (w,) magnitude over the median magnitude of all channels: the massive ones stand far above 1.
        terms: (w,) what each channel adds to the contrast of the region; None without one.
        model: name of the model.
    """

    magnitude: np.ndarray
    ratio: np.ndarray
    terms: np.ndarray | None
    model: str

    @property
    def massive(self) -> int:
        """The channel of largest magnitude."""
        return int(self.magnitude.argmax())


@torch.inference_mode()
def channel_terms(trace: Trace, text: Tensor, region: Region | None = None) -> ChannelTerms:
    """Magnitude of every channel, and what it adds to the contrast.

    Args:
        trace: a recorded pass of one image.
        text: (1, d) feature of the text.
        region: whose contrast is split; None leaves `terms` out.

    Returns:
        Terms that sum to the contrast but for the constant of the read-out ("read-out" in `decompose`).

    Raises:
        ValueError: more than one image or text, or a region on another grid.
    """
    if len(trace.output) != 1 or len(text) != 1:
        raise ValueError(f"Expected one image and one text, but got {len(trace.output)} and {len(text)}")
    patches = trace.output[0, trace.tower.prefix :]  # (gh * gw, w)
    readout = Readout.of(trace, trace.output, text)
    patches = patches.to(readout.back.directions)
    magnitude = patches.abs().mean(dim=0)
    terms = None
    if region is not None:
        if region.grid != tuple(trace.grid):
            raise ValueError(f"Expected region to be on the grid {tuple(trace.grid)}, but got {region.grid}")
        fold = region.foreground / region.foreground.sum() - region.background / region.background.sum()
        weights = torch.from_numpy(fold.reshape(-1)).to(patches) * readout.back.scale[0, :, 0]
        terms = ((weights @ patches) * readout.back.directions[0]).cpu().numpy()
    ratio = magnitude / magnitude.median().clamp_min(torch.finfo(magnitude.dtype).tiny)
    return ChannelTerms(magnitude.cpu().numpy(), ratio.cpu().numpy(), terms, trace.model)


@torch.inference_mode()
def channel_direction(trace: Trace, channel: int) -> Tensor:
    """What a positive value of a channel writes to the feature of a token: u_c of the module, (d,), not normalised.

    The inner norms of a read-out with more than one (a CoCa's pooler) are frozen at the first patch of the first image.

    Raises:
        ValueError: no such channel.
    """
    width = trace.output.shape[-1]
    if channel not in range(width):
        raise ValueError(f"Expected channel to be from 0 to {width - 1}, but got {channel}")
    one = trace.output[:1, trace.tower.prefix : trace.tower.prefix + 1]
    wide = torch.promote_types(one.dtype, torch.float32)
    axes = torch.eye(trace.tower.readout(one).shape[-1], dtype=wide, device=trace.device)
    return trace.tower.chain.pull_back(one, axes, axes.new_ones(1, 1, 1)).directions[:, channel]
