"""An independent, slow reference: every method written out head by head with plain matrices."""

import math
from functools import cache

import torch
import torch.nn.functional as F


def original_path(clip, pixels):
    """x_0 .. x_L of an open_clip ViT, by its own `forward` of each block; lists of (b, 1 + n, w)."""
    visual = clip.visual
    stream = [visual._embeds(pixels)]
    for block in visual.transformer.resblocks:
        stream.append(block(stream[-1]))
    return stream


def dense(clip, pixels, method):
    """Features (b, 1 + n, d) of a method, walking `method.blocks` blocks of an open_clip ViT at its native size."""
    visual = clip.visual
    stream = original_path(clip, pixels)
    blocks = visual.transformer.resblocks
    acc = stream[len(blocks) - method.blocks]
    for index in range(len(blocks) - method.blocks, len(blocks)):
        block = blocks[index]
        update = attention(block, block.ln_1(stream[index]), method.attention, visual.grid_size)
        acc = method.residual * acc + method.alpha * block.ls_1(update)
        if method.mlp:
            acc = acc + block.ls_2(block.mlp(block.ln_2(acc)))
    return visual.ln_post(acc) @ visual.proj


def attention(block, y, kind, grid):
    """Attention output of one block from the normed tokens y (b, 1 + n, w)."""
    attn = block.attn
    heads, width = attn.num_heads, y.shape[-1]
    d = width // heads
    out = []
    for image in y:
        columns = []
        for h in range(heads):
            q, k, v = (
                image @ attn.in_proj_weight[s * width + h * d : s * width + (h + 1) * d].T
                + attn.in_proj_bias[s * width + h * d : s * width + (h + 1) * d]
                for s in range(3)
            )
            if hasattr(attn, "ln_q"):
                q, k = attn.ln_q(q), attn.ln_k(k)
            columns.append(pattern(kind, q, k, v, image, grid) @ v)
        out.append(torch.cat(columns, dim=-1))
    return torch.stack(out) @ attn.out_proj.weight.T + attn.out_proj.bias


@cache
def neighbourhood(grid):
    """The prior of NACLIP between all pairs of patches, in a double loop."""
    n = grid[0] * grid[1]
    prior = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            (a, b), (c, e) = divmod(i, grid[1]), divmod(j, grid[1])
            prior[i, j] = math.exp(-((a - c) ** 2 + (b - e) ** 2) / (2 * 5**2))
    return prior


def pattern(kind, q, k, v, tokens, grid):
    """Weights (1 + n, 1 + n) of one head."""
    n, d = q.shape
    if kind == "identity":
        return torch.eye(n, dtype=q.dtype)
    if kind == "gem":
        tau = torch.stack([token.norm() for token in tokens]).mean() / math.sqrt(d)
        total = torch.zeros(n, n, dtype=q.dtype)
        for z in (q, k, v):
            z = F.normalize(z, dim=-1)
            z = F.normalize(torch.softmax(z @ z.T * tau, dim=-1) @ z, dim=-1)
            total += torch.softmax(z @ z.T * tau, dim=-1) / 3
        return total
    letters = {"q": q, "k": k, "v": v}
    bias = torch.zeros(n, n, dtype=q.dtype)
    if kind.endswith("+gaussian"):
        kind = kind.removesuffix("+gaussian")
        bias[1:, 1:] = neighbourhood(grid).to(q.dtype)
    return sum(
        torch.softmax(letters[pair[0]] @ letters[pair[1]].T / math.sqrt(d) + bias, dim=-1) for pair in kind.split("+")
    )
