"""Many methods over one batch of images in as few passes as their position interpolations need."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from torch import Tensor

from surgery import DenseFeatures, Method, Model, iterate_dense_features
from surgery.dense import fit_method


def iterate_passes(model: Model, pixels: Tensor, methods: Mapping[str, Method]) -> Iterator[tuple[str, DenseFeatures]]:
    """Dense features by the name of the method, from one recorded pass per position interpolation that matters."""
    native = model.tower.grid_of(pixels) == tuple(model.tower.native_grid)
    groups: dict[str, list[str]] = defaultdict(list)
    for name, method in methods.items():
        groups["bicubic" if native else method.position_interpolation].append(name)
    for mode, names in groups.items():
        depth = max(fit_method(model.tower, methods[name]).reach for name in names)
        trace = model.trace(pixels, mode, keep=depth)
        yield from zip(names, iterate_dense_features(trace, [methods[name] for name in names]), strict=True)
