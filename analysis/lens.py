"""Logit lens: what the read-out makes of the residual stream after every block, and where the sign of the map turns.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; here R(x_l) for the patches of CLIP's image tower.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.metrics import check_finite
from analysis.regions import Region
from surgery import Trace
from surgery.features import unit_texts


@dataclass(frozen=True, slots=True)
class LogitLens:
    """Similarity maps of every depth.

    Attributes:
        similarity: (b, L + 1, gh, gw, t) cosine of R(x_l) with the texts; l = 0 is the embedding, l = L the output.
        model: name of the model.
    """

    similarity: np.ndarray
    model: str

    def contrast(self, region: Region) -> np.ndarray:
        """Mean over the foreground minus mean over the background at every depth, (b, L + 1, t)."""
        foreground, background = region.foreground, region.background
        return self.similarity[:, :, foreground].mean(axis=2) - self.similarity[:, :, background].mean(axis=2)


@torch.inference_mode()
def logit_lens(trace: Trace, text: Tensor) -> LogitLens:
    """Reads the residual stream x_0 .. x_L out as if each were the last.

    Args:
        trace: a recorded pass with every block kept.
        text: (t, d) text features.

    Raises:
        ValueError: the tower has no residual stream (ResNet), or a block was not kept.
    """
    tower = trace.tower
    if not tower.has_residual:
        raise ValueError(
            "Expected a tower with a residual stream for the logit lens, but got the attention pool of a ResNet"
        )
    maps = []
    for index in range(trace.depth + 1):
        features = tower.readout(trace.stream(index)[:, tower.prefix :])  # (b, gh * gw, d)
        features = features if features.dtype == torch.float64 else features.float()
        cosines = F.normalize(features, dim=-1) @ unit_texts(text, features).mT
        maps.append(check_finite(cosines, f"the cosines after {index} blocks"))
    similarity = torch.stack(maps, dim=1).unflatten(2, trace.grid)
    return LogitLens(similarity.cpu().numpy(), trace.model)


def turning_layer(contrasts: np.ndarray) -> int | None:
    """The depth from which on the contrast keeps the sign that it ends with.

    Args:
        contrasts: (L + 1,) contrast at every depth, 0 for the embedding.

    Returns:
        A depth from 1 to L: the block before it (depth - 1) turned the sign. None where the sign never turns.
    """
    changes = sign_changes(contrasts)
    return changes[-1] if changes else None


def sign_changes(contrasts: np.ndarray) -> tuple[int, ...]:
    """Every depth at which the sign differs from that of the depth before; the block before it (depth - 1) turned it.

    >>> sign_changes(np.array([0.1, -0.2, -0.1, 0.3]))
    (1, 3)
    """
    negative = np.asarray(contrasts) < 0
    return tuple(int(index) + 1 for index in np.flatnonzero(negative[1:] != negative[:-1]))
