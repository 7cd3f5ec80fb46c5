"""Many methods over one batch of images in as few passes as their position interpolations need."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from torch import Tensor

from surgery import Method, Model
from surgery.dense import Walk, fit_method


def iterate_walks(
    model: Model, pixels: Tensor, methods: Mapping[str, Method], *, every_block: bool = False
) -> Iterator[tuple[Walk, dict[str, Method]]]:
    """Methods by name with a walk over their pass: one recorded pass per position interpolation that matters.

    Args:
        model: see `surgery.load_model`.
        pixels: (b, 3, H, W).
        methods: name -> method.
        every_block: whether passes keep all blocks, not only those that the methods look at.
    """
    native = model.tower.grid_of(pixels) == tuple(model.tower.native_grid)
    groups: dict[str, list[str]] = defaultdict(list)
    for name, method in methods.items():
        groups["bicubic" if native else method.position_interpolation].append(name)
    for mode, names in groups.items():
        depth = max(fit_method(model.tower, methods[name]).reach for name in names)
        trace = model.trace(pixels, mode, keep=None if every_block else min(depth, len(model.tower.blocks)))
        yield Walk(trace), {name: methods[name] for name in names}
