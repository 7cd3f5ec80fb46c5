"""What a recorded pass takes, what there is, and the largest input that fits."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from surgery.models import Model

SHARE = 0.6
"""Of the memory that is free, how much one pass may take: features, maps and other visitors need some too."""
RECORDED = 6
"""Tensors (tokens, width) that a block leaves in a trace: x, q, k, v, attention and MLP output."""
SCORES = 4
"""Tensors (heads, tokens, tokens) alive at once where attention weights are computed, two kinds of them together."""


def pass_bytes(model: Model, grid: tuple[int, int]) -> int:
    """Memory of one recorded pass of one image on a grid of patches, at its peak; an estimate, rather too high."""
    tower, item = model.tower, model.dtype.itemsize
    tokens = grid[0] * grid[1] + tower.prefix
    width = max(block.out_proj.in_features for block in tower.blocks)
    heads = max(block.heads for block in tower.blocks)
    kept = len(tower.blocks) * RECORDED * tokens * width
    working = SCORES * heads * tokens**2 + 8 * tokens * width  # scores; the MLP's hidden layer twice
    pixels = tokens * tower.patch_px[0] * tower.patch_px[1]
    return item * (kept + working + 64 * pixels // 4)


def pass_work(model: Model, grid: tuple[int, int]) -> int:
    """Multiply-adds of one pass over a grid of patches: projections and MLPs, and the attention between all tokens.

    An estimate to compare sizes of one model with: MLPs count as four times the width, as most are.
    """
    tower = model.tower
    tokens = grid[0] * grid[1] + tower.prefix
    width = max((block.out_proj.in_features for block in tower.blocks), default=1)
    return max(1, len(tower.blocks)) * (12 * tokens * width**2 + 2 * tokens**2 * width)


def free_bytes(device: torch.device) -> int | None:
    """Memory that a pass could take on this device now; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [free for free in (_system_free(), _group_free()) if free is not None]
    return min(found, default=None)


def check_fits(model: Model, size_px: tuple[int, int], free: Callable[[torch.device], int | None] = free_bytes) -> None:
    """Refuses an input whose pass takes more memory than there is.

    Raises:
        ValueError: with the reason and the largest square that fits.
    """
    grid, there_is = model.tower.grid_for(size_px), free(model.device)
    needed = pass_bytes(model, grid)
    if there_is is None or needed <= SHARE * there_is:
        return
    side, step = 0, max(model.tower.patch_px)
    while pass_bytes(model, model.tower.grid_for((side + step, side + step))) <= SHARE * there_is:
        side += step
    raise ValueError(
        f"Expected size to be at most {side} pixels for {model.name}, but got {size_px[0]} x {size_px[1]}: its "
        f"{grid[0] * grid[1]:,} patches take about {needed / 1e9:.1f} GB, and {there_is / 1e9:.1f} GB are free "
        f"({SHARE:.0%} of which one pass may take)"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, in the words of Python or of PyTorch on any device."""
    words = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        text in words for text in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _system_free() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None


def _group_free() -> int | None:
    """What a container may still take, where its limit is below the machine's memory."""
    folder = Path("/sys/fs/cgroup")
    try:
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
