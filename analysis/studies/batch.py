"""One batch of images on the device: passes, features and similarities, each computed once, when first asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from analysis.judging import ExplanationMap
from analysis.studies.images import Item
from surgery import DenseFeatures, Method, Model, Similarity, Trace, similarity
from surgery.dense import Walk, dense_features_of, fit_method

ORIGINAL = "bicubic"
"""Position interpolation of the model's own pass, which layers, lens and blame read."""


class TextBank:
    """Text features, each text encoded once for all images."""

    def __init__(self, model: Model, templates: str) -> None:
        self.model, self.templates = model, templates
        self._encoded: dict[str, Tensor] = {}

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(t, d)."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._encoded]
        if missing:
            self._encoded |= dict(zip(missing, self.model.encode_text(missing, self.templates), strict=True))
        return torch.stack([self._encoded[text] for text in texts])


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """All (image, text) pairs of a batch, k of them, on the device.

    Attributes:
        names: texts, k of them.
        index: (k,) int64 on the CPU, of the image in the data set.
        image: (k,) int64, of the image in the batch.
        text: (k,) int64, row of `Batch.text`.
        foreground, background: bool (k, gh * gw); all false without region.
        has_region: bool (k,).
        ids: (k,) int64 on the CPU, class in the mask; -1 without region.
    """

    names: tuple[str, ...]
    index: np.ndarray
    image: Tensor
    text: Tensor
    foreground: Tensor
    background: Tensor
    has_region: Tensor
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def mean(self, values: Tensor, group: str) -> Tensor:
        """Mean over the patches of "foreground" or "background", (..., k, gh * gw) -> (..., k); NaN without region."""
        members = getattr(self, group)
        total = torch.where(members, values, torch.zeros((), dtype=values.dtype, device=values.device)).sum(dim=-1)
        return total / members.sum(dim=-1)


class Batch:
    """Images of one batch and what has been computed of them.

    Attributes:
        model: see `surgery.load_model`.
        items: the images that could be read.
        methods: name -> method, fitted to the tower.
        bank: text features.
        pixels: (b, 3, H, W) network input.
        explained: place in the batch -> maps of its explanations, see `analysis.studies.measures.explanations`.
    """

    def __init__(
        self,
        model: Model,
        items: Sequence[Item],
        methods: Mapping[str, Method],
        bank: TextBank,
        keep: int | None,
        heads: bool = False,
    ) -> None:
        self.model, self.items, self.methods, self.bank = model, items, methods, bank
        self._kept = {"keep": keep, "heads": heads}
        self.pixels = model.normalise(torch.stack([item.rgb for item in items]))
        self.explained: dict[int, dict[str, ExplanationMap]] = {}
        self._walks: dict[str, Walk] = {}
        self._features: dict[str, DenseFeatures] = {}
        self._similarities: dict[str, Similarity] = {}

    @property
    def indices(self) -> np.ndarray:
        """(b,) int64, of the images in the data set."""
        return np.array([item.index for item in self.items], np.int64)

    def walk(self, mode: str = ORIGINAL) -> Walk:
        """The walk over the pass of a position interpolation; at the native size there is but one pass."""
        if self.model.tower.grid_of(self.pixels) == tuple(self.model.tower.native_grid):
            mode = ORIGINAL
        if mode not in self._walks:
            self._walks[mode] = Walk(self.model.trace(self.pixels, mode, **self._kept))
        return self._walks[mode]

    @property
    def trace(self) -> Trace:
        """The model's own pass."""
        return self.walk().trace

    def walk_of(self, method: str) -> Walk:
        """The walk over the pass that a method reads."""
        return self.walk(self.methods[method].position_interpolation)

    def features(self, method: str) -> DenseFeatures:
        """Dense features of a method."""
        if method not in self._features:
            self._features[method] = dense_features_of(self.walk_of(method), self.methods[method])
        return self._features[method]

    @cached_property
    def original(self) -> DenseFeatures:
        """Features of the model's own path, whatever methods are asked for."""
        clip = fit_method(self.model.tower, "clip")
        known = next((name for name, method in self.methods.items() if method == clip), None)
        return dense_features_of(self.walk(), clip) if known is None else self.features(known)

    def similarity(self, method: str) -> Similarity:
        """Cosines of a method with `text`."""
        if method not in self._similarities:
            self._similarities[method] = similarity(self.features(method), self.text)
        return self._similarities[method]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All texts of the batch, each once."""
        return tuple(dict.fromkeys(target.text for item in self.items for target in item.targets))

    @cached_property
    def text(self) -> Tensor:
        """Text features (t, d) of `texts`."""
        return self.bank.encode(self.texts)

    @cached_property
    def targets(self) -> Targets:
        """All pairs of an image and a text."""
        pairs = [(place, item, target) for place, item in enumerate(self.items) for target in item.targets]
        number = {text: row for row, text in enumerate(self.texts)}
        empty = np.zeros(self.trace.grid, bool)
        sides = (
            np.stack([(getattr(t.region, side) if t.region else empty).ravel() for _, _, t in pairs])
            if pairs
            else np.zeros((0, empty.size), bool)
            for side in ("foreground", "background")
        )
        foreground, background = (self._to_device(side) for side in sides)
        return Targets(
            names=tuple(target.text for _, _, target in pairs),
            index=np.array([item.index for _, item, _ in pairs], np.int64),
            image=self._to_device(np.array([place for place, _, _ in pairs], np.int64)),
            text=self._to_device(np.array([number[target.text] for _, _, target in pairs], np.int64)),
            foreground=foreground,
            background=background,
            has_region=self._to_device(np.array([target.region is not None for _, _, target in pairs], bool)),
            ids=np.array([-1 if target.id is None else target.id for _, _, target in pairs], np.int64),
        )

    def pick(self, patches: Tensor) -> Tensor:
        """The map of every pair: (b, gh, gw, t) -> (k, gh * gw)."""
        return patches.flatten(1, 2)[self.targets.image, :, self.targets.text]

    @cached_property
    def residual_readouts(self) -> list[Tensor]:
        """x_0 .. x_L read out as if each were the last, (b, tokens, d) each, not normalised."""
        tower, walk = self.trace.tower, self.walk()
        with torch.inference_mode():
            read = (tower.readout(self.trace.stream(depth)) for depth in range(self.trace.depth + 1))
            return [z.to(walk.cls) for z in read]

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.model.device, non_blocking=True)
