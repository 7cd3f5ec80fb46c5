"""Value path times key-key cosine: the baseline of the Grad-ECLIP paper that needs no gradient.

    cos(text, R(value path of the last block, residual and MLP kept)) times cos(k_CLS, k_i)

The keys pass the output projection first, as in the authors' code.

Source: Zhao et al. 2024, "Gradient-based Visual Explanation for Transformer-based CLIP", ICML 2024: MaskCLIP's value
features (Zhou et al. 2022, arXiv 2112.01071) weighted by the similarity of the keys of the last block.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.explainers.explanation import ImagePass
from surgery.graph import cosines


@torch.no_grad()
def value_kk(run: ImagePass) -> Tensor:
    """(b, gh, gw, t), signed."""
    tower, x = run.model.tower, run.streams[-2]
    block, prefix = tower.blocks[-1], tower.prefix
    p = block.project(x, run.grid, prefix)
    u = block.merge(p.v)
    u = x + u if tower.has_residual else u
    values = u if block.mlp is None else u + block.mlp_out(u)
    cosine = cosines(tower.readout(values[:, prefix:]), run.text)  # (b, n, t)
    k = F.normalize(block.out_proj(p.k.transpose(1, 2).flatten(2)), dim=-1)
    similar = k[:, prefix:] @ k[:, 0, :, None]  # (b, n, 1)
    return (cosine * similar).unflatten(1, run.grid)
