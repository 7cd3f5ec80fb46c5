"""Attention rollout: how much of every patch is mixed into the token that is read, if attention were all that mixes.

    product over blocks of rownorm(mean over heads of A + I), later ones on the left; the row that is read

It looks at no text, so that all texts have the same map. For a MAP head, the row that is read is its own attention.

Source: Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv 2005.00928, equation 1; as in the
code of Chefer et al. 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.explainers.explanation import ImagePass
from surgery.graph import pools_one_token


@torch.no_grad()
def rollout(run: ImagePass) -> Tensor:
    """(b, gh, gw, t), the same for every text."""
    blocks, prefix = run.blocks, run.blocks.prefix
    row = first_row(run)
    for index in reversed(range(len(blocks.blocks))):
        for image, x in enumerate(run.streams[index].split(1)):
            p = blocks.blocks[index].project(x, run.grid, prefix)
            weights = blocks.pattern(p)[0].mean(dim=0)  # (n, n)
            row[image] = (row[image] @ weights + row[image]) / 2  # rows of weights sum to 1, those of weights + I to 2
    return run.fold(row[None, :, prefix:].expand(len(run.text), -1, -1))


def first_row(run: ImagePass) -> Tensor:
    """How the feature is read from the tokens x_L: one token, their average, or a MAP head's attention; (b, tokens)."""
    x, tower = run.streams[-1], run.model.tower
    row = x.new_zeros(x.shape[:2])
    if pools_one_token(tower):
        row[:, 0] = 1
    elif tower.pooling == "attention":
        row = over_all_tokens(run, run.reading().pattern().mean(dim=1))
    else:
        row[:, tower.prefix :] = 1 / (x.shape[1] - tower.prefix)
    return row


def over_all_tokens(run: ImagePass, row: Tensor) -> Tensor:
    """A row (n, tokens) of an attention pool, with zeros for CLS and registers where the pool does not see them."""
    return F.pad(row, (run.streams[-1].shape[1] - row.shape[1], 0))
