"""What is timed, against what, and how fast it has to be: the targets of the project as data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from analysis.affinity import compute_layers
from analysis.decomposition import Component, decompose
from analysis.flips import diagnose
from analysis.interventions import ablate
from analysis.regions import Region
from dashboard.figures.heads import plot_head_maps
from surgery import (
    CLASSIC,
    METHODS,
    DenseFeatures,
    Method,
    Model,
    Trace,
    feature_surgery,
    iterate_dense_features,
    load_model,
)
from surgery.prompts import LABEL_SETS, TEMPLATE_SETS
from surgery.text import encode_text

Pair = tuple[Callable[[], object], Callable[[], object]]

SIZE_PX = 224
ALPHAS = tuple(0.25 * step for step in range(1, 21))
SWEEP_KINDS = ("qk", "vv", "qq", "kk")
VARIANTS = (
    *(METHODS[name] for name in CLASSIC),
    *(Method(kind, alpha=alpha, mlp=False) for kind in SWEEP_KINDS for alpha in ALPHAS),
)
"""The seven presets, and 20 alphas of 4 kinds in the last block."""


class Bench:
    """ViT-B-16 with random weights, one image at 224 px, and its trace."""

    def __init__(self, device: str, precision: str) -> None:
        torch.manual_seed(0)
        self.model: Model = load_model("ViT-B-16", "random", device=device, precision=precision)
        photo = np.random.default_rng(0).integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
        self.image = Image.fromarray(photo)
        self.pixels: Tensor = self.model.preprocess([self.image])
        self.trace: Trace = self.model.trace(self.pixels)
        mask = np.zeros((SIZE_PX, SIZE_PX), bool)
        mask[64:160, 48:128] = True
        self.region = Region.from_mask(mask, self.trace.grid)

    @torch.inference_mode()
    def bare_pass(self) -> Tensor:
        """open_clip's own encode_image."""
        return self.model.clip.encode_image(self.pixels)


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table.

    Attributes:
        name: what is timed.
        unit: what it is compared with.
        limit: the target for the ratio of the times.
        pair: makes what is timed and what it is compared with.
        faster: the target is a speed-up of at least `limit`, not a cost of at most `limit`.
    """

    name: str
    unit: str
    limit: float
    pair: Callable[[Bench], Pair]
    faster: bool = False


def record_trace(bench: Bench) -> Pair:
    return lambda: bench.model.trace(bench.pixels), bench.bare_pass


def all_variants(bench: Bench) -> Pair:
    def run() -> None:
        for _ in iterate_dense_features(bench.trace, VARIANTS):
            pass

    return run, bench.bare_pass


def random_features(patches: int, texts: int, width: int, device: str) -> tuple[DenseFeatures, Tensor]:
    """Unit features of one image with `patches` patches in one row and a CLS token, and of some texts."""
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(1 + patches + texts, width, generator=generator), dim=-1).to(device)
    cls, image, text = rows.split([1, patches, texts])
    return DenseFeatures(cls, image[None, None], METHODS["clip"], "random"), text


def published_feature_surgery(features: DenseFeatures, text: Tensor) -> Tensor:
    """Feature surgery as published, through a (b, n, t, d) tensor; (b, n, t).

    Source: `clip_feature_surgery` of Li et al. 2023, "CLIP Surgery", arXiv 2304.05653.
    """
    image = torch.cat([features.cls[:, None], features.patches.flatten(1, 2)], dim=1)  # (b, n, d)
    probability = (2 * image[:, :1] @ text.mT).softmax(dim=-1)
    weights = probability / probability.mean(dim=-1, keepdim=True)  # (b, 1, t)
    products = image.unsqueeze(2) * text * weights.unsqueeze(-1)  # (b, n, t, d)
    return (products - products.mean(dim=2, keepdim=True)).sum(dim=-1)


def closed_form(bench: Bench) -> Pair:
    features, text = random_features(1024, 171, 512, bench.model.device.type)
    closed, published = partial(feature_surgery, features, text), partial(published_feature_surgery, features, text)
    _check_equal(closed().patches.flatten(1, 2), published()[:, 1:], 1e-6)
    return closed, published


def text_ensemble(bench: Bench) -> Pair:
    names, templates = LABEL_SETS["voc20"][:20], TEMPLATE_SETS["clip_surgery"]
    cut = partial(encode_text, bench.model, names, templates, cache=False)
    whole = partial(whole_context_ensemble, bench.model, names, templates)
    if bench.model.dtype == torch.float32:
        one = names[:1]
        exact = whole_context_ensemble(bench.model, one, templates)
        _check_equal(encode_text(bench.model, one, templates, cache=False), exact, 1e-5)
    return cut, whole


@torch.inference_mode()
def whole_context_ensemble(model: Model, names: tuple[str, ...], templates: tuple[str, ...]) -> Tensor:
    """The same ensemble with open_clip's encode_text on all 77 positions, one batch of prompts per name; (t, d)."""
    features = []
    for name in names:
        ids = model.tokenizer([template.replace("{}", name) for template in templates]).to(model.device)
        features.append(F.normalize(model.clip.encode_text(ids).float(), dim=-1).mean(dim=0))
    return F.normalize(torch.stack(features), dim=-1)


def _check_equal(ours: Tensor, reference: Tensor, tolerance: float) -> None:
    error = float((ours - reference).abs().max())
    if not error <= tolerance:
        raise RuntimeError(f"Expected both sides to agree within {tolerance}, but got a difference of {error}")


def layer_measures(bench: Bench) -> Pair:
    return lambda: compute_layers(bench.trace, bench.region), bench.bare_pass


def decomposition(bench: Bench) -> Pair:
    _, text = random_features(1, 20, 512, bench.model.device.type)
    return lambda: decompose(bench.trace, text, METHODS["clip"]), bench.bare_pass


def head_thumbnails(bench: Bench) -> Pair:
    """What Flip's thumbnails of all heads and MLPs take: their terms, and one picture of all of them."""
    _, text = random_features(1, 1, 512, bench.model.device.type)
    photo = np.asarray(bench.image.convert("RGB"))

    def draw() -> str:
        blame = decompose(bench.trace, text, METHODS["clip"])
        rows = [index for index, part in enumerate(blame.components) if part.kind in ("head", "mlp")]
        parts = [blame.components[index] for index in rows]
        return plot_head_maps(parts, blame.terms[0, rows, :, :, 0], photo, "all heads").to_json()

    return draw, bench.bare_pass


def diagnosis(bench: Bench) -> Pair:
    return lambda: diagnose(bench.model, bench.image, "a dog", bench.region), bench.bare_pass


def head_ablation(bench: Bench, block: int) -> Pair:
    return lambda: ablate(bench.trace, Component("head", block, 0)), bench.bare_pass


def _head_ablation_case(block: int, depth: int = 12) -> Case:
    left = (depth - block) / depth
    name = f"ablation of one head of block {block}, {depth - block} of {depth} blocks to run"
    return Case(name, PASS, 1.2 * left, partial(head_ablation, block=block))


PASS = "bare pass"

CASES: tuple[Case, ...] = (
    Case("recorded pass (trace)", PASS, 1.25, record_trace),
    Case(f"{len(VARIANTS)} variants from one trace: 7 methods, 20 alphas x 4 kinds", PASS, 1.0, all_variants),
    Case("feature surgery, 1025 tokens x 171 classes", "4-D formula", 20, closed_form, faster=True),
    Case("text ensemble, 20 classes x 85 templates", "without the cut", 3.5, text_ensemble, faster=True),
    Case("norms, entropies, same-region mass (q-k, v-v), all blocks", PASS, 1.5, layer_measures),
    Case("blame of every head and MLP for 20 texts", PASS, 1.0, decomposition),
    Case("thumbnails of all heads and MLPs, terms and picture", PASS, 0.5, head_thumbnails),
    Case("diagnose, one image, one text, 7 methods", PASS, 3.0, diagnosis),
    *(_head_ablation_case(block) for block in (0, 6, 11)),
)
