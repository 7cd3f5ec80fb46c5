"""Grad-CAM: channels weighted by their mean gradient, summed, negatives cut off.

    ReLU sum_c w_c y_ic,    w_c = mean over the patches of dc/dy_ic

Targets y of a transformer, blocks counted from 0: "ln_1.11" what enters the attention of block 11, "ln_2.10" what
enters the MLP of block 10, "block.10" the stream after it. After the last attention only CLS has a gradient, so that
every map is zero: these targets are refused. A convolutional tower has one target, its last feature map ("layer4" in a
ResNet).

Grad-ECLIP's comparison takes "block.N" before the last one, with a single head in it and CLS among the tokens over
which w is averaged: `gradcam_of_grad_eclip`.

Source: Selvaraju et al. 2017, "Grad-CAM", arXiv 1610.02391, equations 1 and 2; for transformers as in
github.com/jacobgil/pytorch-grad-cam with CLS left out.
"""

import torch
from torch import Tensor

from analysis.explainers.explanation import ImagePass
from surgery.graph import cosines, gradients_of_each, pools_one_token
from surgery.towers import LastLayerTower, ResnetTower, Tower

CONVOLUTION = "layer4"


def gradcam(run: ImagePass, *, layer: str | None = None) -> Tensor:
    """Relevance (b, gh, gw, t).

    Args:
        run: see `start_pass`.
        layer: a target of the module docstring; None for "ln_1" of the last block, or the last feature map.

    Raises:
        ValueError: no such target, or one behind the last attention.
    """
    return gradcam_raw(run, layer=layer).clamp(min=0)


def gradcam_raw(run: ImagePass, *, layer: str | None = None) -> Tensor:
    """The same before the ReLU."""
    tower = run.model.tower
    if isinstance(tower, ResnetTower | LastLayerTower):
        if layer not in (None, CONVOLUTION):
            raise ValueError(f"Expected layer to be {CONVOLUTION} for a convolutional tower, but got {layer!r}")
        return _convolution(run, tower)
    kind, index = parse_layer(tower, layer)
    watched, feature = _cut(run, kind, index)
    (gradient,) = gradients_of_each(cosines(feature, run.text), [watched])  # (t, b, n, w)
    weights = gradient[:, :, tower.prefix :].mean(dim=2)  # (t, b, w)
    return run.fold(torch.einsum("tbw,bnw->tbn", weights, watched.detach()[:, tower.prefix :]))


def gradcam_of_grad_eclip(run: ImagePass) -> Tensor:
    """Grad-CAM (b, gh, gw, t) as the code of Grad-ECLIP compares with it."""
    last = len(run.blocks.blocks) - 1
    watched = run.streams[last].clone().requires_grad_()
    feature = run.model.tower.pool(run.blocks.run(last, watched, one_head=True).output)
    (gradient,) = gradients_of_each(cosines(feature, run.text), [watched])
    rows = torch.einsum("tbw,bnw->tbn", gradient.mean(dim=2), watched.detach()[:, run.blocks.prefix :])
    return run.fold(rows.clamp(min=0))


def parse_layer(tower: Tower, layer: str | None) -> tuple[str, int]:
    """The kind of a target and its block."""
    depth = len(tower.blocks)
    kind, _, number = (layer or f"ln_1.{depth - 1}").partition(".")
    if kind not in ("ln_1", "ln_2", "block") or not number.isdecimal() or int(number) >= depth:
        raise ValueError(
            f'Expected layer to be "ln_1.N", "ln_2.N" or "block.N" with N from 0 to {depth - 1}, but got {layer!r}'
        )
    index = int(number)
    if kind != "ln_1" and index == depth - 1 and pools_one_token(tower):
        raise ValueError(
            f'Expected layer to be before the last attention, such as "ln_1.{index}", but got {layer!r}: '
            "after it only the token that is read has a gradient, so every map is zero"
        )
    return kind, index


def _cut(run: ImagePass, kind: str, index: int) -> tuple[Tensor, Tensor]:
    """The target as a leaf of the graph (b, n, w), and the image feature (b, d) that follows from it."""
    blocks, x = run.blocks, run.streams[index]
    block = blocks.blocks[index]
    if kind == "block":
        watched = run.streams[index + 1].clone().requires_grad_()
        x = watched
    elif kind == "ln_1":
        watched = block.ln_1(x).requires_grad_()
        x = blocks.run(index, x, normed=watched).output
    else:
        u = x + block.merge(blocks.run(index, x).heads_out.detach())
        watched = block.ln_2(u).requires_grad_()
        x = u + block.ls_2(block.mlp(watched))
    for later in range(index + 1, len(blocks.blocks)):
        x = blocks.run(later, x).output
    return watched, run.model.tower.pool(x)


def _convolution(run: ImagePass, tower: ResnetTower | LastLayerTower) -> Tensor:
    with torch.no_grad():
        maps = tower.convolve(run.pixels)
    maps = maps.requires_grad_()  # (b, w, gh, gw)
    x = tower.tokens(maps, run.grid, run.position_interpolation)
    for index in range(len(run.blocks.blocks)):
        x = run.blocks.run(index, x).output
    (gradient,) = gradients_of_each(cosines(tower.pool(x), run.text), [maps])
    return torch.einsum("tbc,bchw->tbhw", gradient.mean(dim=(-2, -1)), maps.detach()).movedim(0, -1)
