"""Label maps by a protocol: windows -> cosines of patches and names -> maps at the image's size -> labels.

Requests that look at an image through the same windows share the network's passes. Names are reduced by a running
maximum a few at a time, so memory does not grow with their number.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import grey_closing
from torch import Tensor

from analysis.evaluation.feedback import feedback_features
from analysis.evaluation.protocols import ClassTexts, Protocol
from analysis.evaluation.views import average_views
from analysis.evaluation.windows import Windows, network_size, resize_bilinear
from analysis.passes import iterate_walks
from analysis.refinement import pamr_along, refine_maps
from surgery import Method, Model, similarity
from surgery.dense import Walk, dense_features_of, fit_method
from surgery.methods import get_method

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ROUNDED_MEAN, ROUNDED_STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)
"""CLIP's constants on 0..255 as the published configurations round them; used where the model's own are CLIP's."""

CHUNK_BYTES = 16 * 2**20
"""Of the maps that are enlarged together."""
BATCH_PX = 8 * 224 * 224
"""Of the windows that go through the network together."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """The label map of one image.

    Attributes:
        labels: uint8 (H, W), class index.
        confidence: float32 (H, W), largest class probability, before area rule and threshold.
    """

    labels: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One image as the network sees it: its pixels, normalised, and the windows over them."""

    pixels: Tensor  # (3, h, w)
    windows: Windows
    size_px: tuple[int, int]  # of the image


def _view_key(protocol: Protocol) -> tuple:
    """What decides the windows: requests that agree in it share passes."""
    stride = protocol.stride if protocol.window else 0
    return protocol.short_side, protocol.long_side, protocol.window, stride, protocol.remainder


class Segmenter:
    """Label maps of images by any number of protocols.

    Args:
        model: see `surgery.load_model`.
        requests: name -> (protocol, names of the classes). Texts are encoded here, once.
        batch_px: pixels of the windows that go through the network together.

    Raises:
        ValueError: no request, or a method without meaning for the tower.
    """

    def __init__(
        self, model: Model, requests: Mapping[str, tuple[Protocol, ClassTexts]], batch_px: int = BATCH_PX
    ) -> None:
        if not requests:
            raise ValueError("Expected requests to hold at least 1 protocol, but got none")
        self.model, self.requests, self.batch_px = model, dict(requests), batch_px
        self._methods: dict[str, Method] = {}
        self._features: dict[str, Tensor] = {}
        self._groups: dict[tuple, list[str]] = defaultdict(list)
        encoded: dict[tuple, Tensor] = {}
        for name, (protocol, texts) in self.requests.items():
            self._methods[name] = fit_method(model.tower, get_method(protocol.method))
            self._groups[_view_key(protocol)].append(name)
            key = (texts.queries, protocol.templates)
            if key not in encoded:
                encoded[key] = F.normalize(model.encode_text(texts.queries, protocol.templates), dim=-1)
            self._features[name] = encoded[key]

    @torch.inference_mode()
    def segment(
        self, images: Sequence[np.ndarray], resized: Sequence[np.ndarray] | None = None
    ) -> list[dict[str, Segmented]]:
        """Label maps of a batch of images of any sizes.

        Args:
            images: uint8 (H, W, 3) each.
            resized: network inputs in place of the resize rule, uint8 (h, w, 3) each.

        Returns:
            For each image, the label maps by the names of the requests.

        Raises:
            ValueError: an image of another shape or type, or windows without a patch.
        """
        found: list[dict[str, Segmented]] = [{} for _ in images]
        for index, name, maps in self._maps(images, resized):
            protocol, texts = self.requests[name]
            found[index][name] = _decide(maps, protocol, texts)
        return [{name: found[index][name] for name in self.requests} for index in range(len(images))]

    @torch.inference_mode()
    def query_maps(
        self, images: Sequence[np.ndarray], resized: Sequence[np.ndarray] | None = None
    ) -> list[dict[str, np.ndarray]]:
        """Cosines at the image's size after PAMR, float32 (q, H, W), for each image and request."""
        found: list[dict[str, np.ndarray]] = [{} for _ in images]
        for index, name, maps in self._maps(images, resized):
            found[index][name] = maps.collect()
        return found

    def _maps(
        self, images: Sequence[np.ndarray], resized: Sequence[np.ndarray] | None
    ) -> Iterator[tuple[int, str, "_QueryMaps"]]:
        """(index of the image, name of the request, its maps), group by group of shared passes."""
        inputs = list(resized) if resized is not None else [None] * len(images)
        for names in self._groups.values():
            protocol = self.requests[names[0]][0]
            views = [self._view(image, own, protocol) for image, own in zip(images, inputs, strict=True)]
            cosines = self._cosines(views, names)
            for index, view in enumerate(views):
                for name in names:
                    yield index, name, _QueryMaps(view, cosines[name].pop(index), self.requests[name][0])

    def _view(self, rgb: np.ndarray, resized: np.ndarray | None, protocol: Protocol) -> _View:
        rgb = _check_image(rgb, "rgb")
        if resized is None:
            resized = resize_bilinear(rgb, network_size(rgb.shape[:2], protocol.short_side, protocol.long_side))
        pixels = normalize(_check_image(resized, "resized"), self.model)
        windows = Windows.plan(resized.shape[:2], self.model.tower.patch_px, protocol)
        return _View(pixels, windows, rgb.shape[:2])

    def _cosines(self, views: Sequence[_View], names: Sequence[str]) -> dict[str, dict[int, Tensor]]:
        """Request -> index of the view -> (windows, gh, gw, q); windows of one size form batches across images."""
        pieces: dict[str, dict[int, list[Tensor]]] = {name: defaultdict(list) for name in names}
        methods = {name: self._methods[name] for name in names}
        every = any(self.requests[name][0].refine for name in names)
        for owners, batch in self._batches(views):
            for walk, some in iterate_walks(self.model, batch, methods, every_block=every):
                for name in some:
                    for owner, cells in zip(owners, self._view_cosines(walk, batch, name), strict=True):
                        pieces[name][owner].append(cells)
        return {name: {owner: torch.stack(cells) for owner, cells in pieces[name].items()} for name in names}

    def _view_cosines(self, walk: Walk, batch: Tensor, name: str) -> Tensor:
        """`_patch_cosines`, over five views of the windows where the protocol says so."""
        weight = self.requests[name][0].views
        if not weight:
            return self._patch_cosines(walk, batch, name)

        def cosines_of(view: Tensor) -> Tensor:
            trace = walk.trace
            keep = [index for index in range(trace.depth) if trace.records[index] is not None]
            own = walk if view is batch else Walk(self.model.trace(view, trace.position_interpolation, keep=keep))
            return self._patch_cosines(own, view, name)

        return average_views(cosines_of, batch, weight)

    def _patch_cosines(self, walk: Walk, batch: Tensor, name: str) -> Tensor:
        """Cosines of every patch of windows (b, 3, h, w) with the names of a request, (b, gh, gw, q)."""
        (protocol, _), method, text = self.requests[name], self._methods[name], self._features[name]
        if protocol.feedback is None:
            features = dense_features_of(walk, method)
        else:
            features = feedback_features(walk, method, text, batch, protocol.feedback, protocol.scale)
        patches = similarity(features, text).patches.float()
        return refine_maps(patches, protocol.refine, walk.trace, batch) if protocol.refine else patches

    def _batches(self, views: Sequence[_View]) -> Iterator[tuple[list[int], Tensor]]:
        """Windows of equal size, and the index of the view that each belongs to; those of a view stay in order."""
        waiting: dict[tuple[int, ...], list[tuple[int, Tensor]]] = defaultdict(list)
        for index, view in enumerate(views):
            for window in view.windows.cut(view.pixels):
                same = waiting[tuple(window.shape)]
                same.append((index, window))
                if (len(same) + 1) * window.shape[1] * window.shape[2] > self.batch_px:
                    yield _stack(waiting.pop(tuple(window.shape)))
        for same in waiting.values():
            yield _stack(same)


class _QueryMaps:
    """Cosines of one image with all names, enlarged to the image a few names at a time."""

    def __init__(self, view: _View, cells: Tensor, protocol: Protocol) -> None:
        self.size_px, self.steps = view.size_px, protocol.pamr_steps
        self.mosaic = view.windows.mosaic(cells)  # (q, rows * gh, columns * gw)
        self.down, self.across = view.windows.operators(view.size_px, self.mosaic)
        self.pamr = None
        if protocol.pamr_steps:
            self.pamr = pamr_along(view.pixels, view.size_px, protocol.pamr_dilations, self.mosaic)

    def chunks(self, queries: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(numbers of the names (k,), their cosines (k, H, W)), for all names or those given."""
        if queries is None:
            queries = torch.arange(len(self.mosaic), device=self.mosaic.device)
        height, width = self.size_px
        for part in queries.split(max(1, CHUNK_BYTES // (4 * height * width))):
            maps = self.down @ self.mosaic[part] @ self.across  # (k, H, W)
            yield part, maps if self.pamr is None else self.pamr.refine(maps, self.steps)

    def collect(self) -> np.ndarray:
        """All of them, float32 (q, H, W)."""
        found = np.empty((len(self.mosaic), *self.size_px), np.float32)
        for part, maps in self.chunks():
            found[int(part[0]) : int(part[-1]) + 1] = maps.cpu().numpy()
        return found


def _decide(maps: _QueryMaps, protocol: Protocol, texts: ClassTexts) -> Segmented:
    """Labels by softmax over the names, maximum over a class's names, area rule and threshold."""
    class_of_query = torch.tensor(texts.class_of_query, device=maps.mosaic.device)
    best, label, total = _reduce(maps, protocol.scale, class_of_query)
    confidence = (best - total).exp()
    if protocol.area:
        small = _small_classes(label, len(texts), protocol.area)
        if small.any():
            queries = (~small[class_of_query]).nonzero()[:, 0]
            best, label, _ = _reduce(maps, protocol.scale, class_of_query, queries)
    label = torch.where((best - total).exp() < protocol.threshold, 0, label).to(torch.uint8).cpu().numpy()
    label = grey_closing(label, size=(3, 3)) if protocol.closing else label
    return Segmented(label, confidence.cpu().numpy())


def _reduce(
    maps: _QueryMaps, scale: float, class_of_query: Tensor, queries: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Per pixel: the largest scaled cosine, the class that has it, and the logarithm of the sum of exponentials."""
    best = torch.full(maps.size_px, -torch.inf, device=maps.mosaic.device)
    total, label = best.clone(), torch.zeros_like(best, dtype=torch.long)
    for part, chunk in maps.chunks(queries):
        chunk *= scale
        value, which = chunk.max(dim=0)
        better = value > best
        best = torch.where(better, value, best)
        label = torch.where(better, class_of_query[part][which], label)
        total = torch.logaddexp(total, value + (chunk - value).exp_().sum(dim=0).log_())
    return best, label, total


def _small_classes(label: Tensor, classes: int, area: float) -> Tensor:
    """Bool (classes,): those but 0 that take at most `area` of the pixels that are not of class 0."""
    pixels = label.flatten().bincount(minlength=classes)
    pixels[0] = 0
    small = pixels <= area * pixels.sum()
    small[0] = False
    return small


def normalize(rgb: np.ndarray, model: Model) -> Tensor:
    """uint8 (h, w, 3) -> float32 (3, h, w) on the model's device, by the rounded constants of the publications."""
    mean, std = model.normalization
    ours = np.allclose(mean, CLIP_MEAN, atol=1e-6) and np.allclose(std, CLIP_STD, atol=1e-6)
    mean, std = (ROUNDED_MEAN, ROUNDED_STD) if ours else (255 * np.array(mean), 255 * np.array(std))
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=model.device)[:, None, None] for values in (mean, std)
    )
    planes = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).to(model.device)
    return (planes.float() - mean) / std


def _check_image(rgb: np.ndarray, name: str) -> np.ndarray:
    rgb = np.asarray(rgb)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"Expected {name} to be uint8 of shape (H, W, 3), but got {rgb.dtype} {rgb.shape}")
    return rgb


def _stack(windows: Sequence[tuple[int, Tensor]]) -> tuple[list[int], Tensor]:
    return [index for index, _ in windows], torch.stack([window for _, window in windows])


def segment(
    model: Model, rgb: np.ndarray, protocol: Protocol, texts: ClassTexts, resized: np.ndarray | None = None
) -> Segmented:
    """The label map of one image.

    Args:
        model: see `surgery.load_model`.
        rgb: uint8 (H, W, 3).
        protocol: how.
        texts: the names of the classes.
        resized: uint8 (h, w, 3), the network's input in place of the resize rule.

    Raises:
        ValueError: an image of another shape or type, a method without meaning for the tower, windows without a patch.

    Source: the segmentors of Wang et al. 2023, "SCLIP", arXiv 2312.01597; Lan et al. 2024, "ClearCLIP", arXiv
        2407.12442; Hajimiri et al. 2024, "NACLIP", arXiv 2404.08181, in one pipeline.
    """
    (found,) = Segmenter(model, {"": (protocol, texts)}).segment([rgb], None if resized is None else [resized])
    return found[""]


def query_logits(
    model: Model, rgb: np.ndarray, protocol: Protocol, texts: ClassTexts, resized: np.ndarray | None = None
) -> np.ndarray:
    """Cosines of every pixel with every name, float32 (q, H, W), after PAMR and before the scale; see `segment`."""
    (found,) = Segmenter(model, {"": (protocol, texts)}).query_maps([rgb], None if resized is None else [resized])
    return found[""]
