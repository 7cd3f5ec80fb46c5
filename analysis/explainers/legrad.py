"""LeGrad: per block, how the attention weights of that block would raise the cosine of the block's own feature.

    feature_l = unit(W ln_post(mean over all tokens of x_l)),    s = its cosine with the text
    max(0, ds/dA_l), mean over heads and all query rows, patch columns; summed over the blocks

The published map is then brought to the image's size (bilinear, each block by itself) and to [0, 1] per text. Published
default: the last two blocks.

Source: Bousselham et al. 2024, "LeGrad: An Explainability Method for Vision Transformers via Feature Formation
Sensitivity", arXiv 2404.03214, equations 5 to 8; the authors' code.
"""

import torch
from torch import Tensor

from analysis.explainers.explanation import ImagePass
from surgery.graph import cosines, gradients_of_each


def legrad(run: ImagePass, *, blocks: int = 2) -> Tensor:
    """Relevance (b, gh, gw, t) of the last `blocks` blocks."""
    depth, prefix = len(run.blocks.blocks), run.blocks.prefix
    rows = [
        sum(
            torch.cat([_block_rows(image, index, part) for part in image.text_parts()])
            for index in range(max(0, depth - blocks), depth)
        )
        for image in map(run.image, range(run.batch))
    ]
    return run.fold(torch.stack(rows, dim=1)[..., prefix:])


def legrad_all(run: ImagePass) -> Tensor:
    """Relevance (b, gh, gw, t) of all blocks."""
    return legrad(run, blocks=len(run.blocks.blocks))


def _block_rows(run: ImagePass, index: int, targets: Tensor) -> Tensor:
    """Mean over heads and query rows of one block's clamped gradients for one image, (t, n)."""
    tower = run.model.tower
    block = run.blocks.run(index, run.streams[index])
    feature = tower.readout(block.output.mean(dim=1, keepdim=True))[:, 0]
    (gradient,) = gradients_of_each(cosines(feature, targets), [block.pattern])
    return gradient.clamp(min=0).mean(dim=(2, 3))[:, 0]
