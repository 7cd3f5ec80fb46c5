"""How costs grow with the side of the image, the batch and the number of texts: `python -m tests.benchmarks.growth`.

Every figure is a ratio to one bare pass of the same input, alternated with it in one process. Beside ours: forward
hooks, attention patterns kept by transformers (`output_attentions`), and nnsight where it is installed.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from analysis.affinity import best_partners, compute_layers
from analysis.alpha import iterate_cosines
from analysis.flips import diagnose
from analysis.label_set import label_set_effect
from analysis.regions import Region
from surgery import CLASSIC, METHODS, Method, dense_features, iterate_dense_features, load_model
from surgery.dense import Walk
from tests.benchmarks.harness import compare, describe_machine

SIDES = (224, 448, 672, 896)
BATCHES = (1, 2, 4, 8)
TEXTS = (1, 10, 100, 1000)
KINDS = ("qk", "vv", "qq", "kk")


@dataclass(frozen=True, slots=True)
class Point:
    """One figure.

    Attributes:
        what: what was measured.
        axis: "side", "batch" or "texts".
        at: where on it.
        ratio: to a bare pass.
        pass_ms: the bare pass.
    """

    what: str
    axis: str
    at: int
    ratio: float
    pass_ms: float


class Input:
    """ViT-B-16 with random weights and a batch of random images of one side."""

    def __init__(self, model, side: int, batch: int = 1) -> None:
        rng = np.random.default_rng(0)
        self.model, self.side = model, side
        self.images = [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(batch)]
        self.pixels: Tensor = model.preprocess(self.images, side)
        self.trace = model.trace(self.pixels)
        mask = np.zeros((side, side), bool)
        mask[side // 4 : 3 * side // 4, side // 4 : side // 2] = True
        self.region = Region.from_mask(mask, self.trace.grid)

    def bare(self) -> object:
        """A pass of which nothing is kept."""
        return self.model.trace(self.pixels, keep=0)

    def texts(self, count: int) -> Tensor:
        """Random unit texts."""
        return torch.randn(count, 512, generator=torch.Generator().manual_seed(0)).to(self.pixels)


def presets(case: Input) -> Callable[[], object]:
    methods = [Method(m.attention, m.blocks, m.residual, m.alpha, m.mlp) for m in (METHODS[name] for name in CLASSIC)]
    return lambda: [features.cls for features in iterate_dense_features(case.trace, methods)]


def sweep(case: Input, alphas: int) -> Callable[[], object]:
    methods = [Method(kind, alpha=0.005 * (i + 1), mlp=False) for kind in KINDS for i in range(alphas)]
    own = [Method(m.attention, m.blocks, m.residual, m.alpha, m.mlp) for m in (METHODS[name] for name in CLASSIC)]
    text = case.texts(1)
    return lambda: [cosines.shape for cosines in iterate_cosines(Walk(case.trace), [*own, *methods], text)]


def plain_hooks(case: Input) -> Callable[[], object]:
    """The inputs and outputs of every block and its attention, kept by forward hooks: no method, no measure."""
    blocks = case.model.clip.visual.transformer.resblocks

    def run() -> list[Tensor]:
        kept: list[Tensor] = []
        hooks = [
            part.register_forward_hook(lambda *z: kept.append(z[2])) for b in blocks for part in (b, b.attn, b.mlp)
        ]
        try:
            with torch.inference_mode():
                case.model.trace(case.pixels, keep=0) if case.side != 224 else case.model.clip.encode_image(case.pixels)
        finally:
            for hook in hooks:
                hook.remove()
        return kept

    return run


def eager_transformers(case: Input) -> Callable[[], object]:
    """Norms and entropies of patterns that transformers keeps; (pass included)."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    config = CLIPVisionConfig(**sizes, patch_size=16, image_size=case.side, attn_implementation="eager")
    model = CLIPVisionModel(config).eval().to(case.pixels)

    @torch.inference_mode()
    def run() -> list[Tensor]:
        out = model(case.pixels, output_attentions=True, output_hidden_states=True)
        entropies = [torch.special.entr(pattern).sum(dim=-1) for pattern in out.attentions]
        return [*entropies, *(x.norm(dim=-1) for x in out.hidden_states)]

    return run


def nnsight(case: Input) -> Callable[[], object]:
    """The outputs of every block saved by nnsight (pass included)."""
    from nnsight import NNsight

    visual = case.model.clip.visual
    wrapped = NNsight(visual)

    def run() -> list[Tensor]:
        with torch.inference_mode(), wrapped.trace(case.pixels):
            saved = [block.output.save() for block in wrapped.transformer.resblocks]
        return saved

    return run


OURS: dict[str, Callable[[Input], Callable[[], object]]] = {
    "recorded pass": lambda case: lambda: case.model.trace(case.pixels),
    "seven presets from one trace": presets,
    "seven presets + 20 alphas x 4 kinds, cosines": lambda case: sweep(case, 20),
    "seven presets + 1000 alphas x 4 kinds, cosines": lambda case: sweep(case, 1000),
    "norms, entropies, two masses": lambda case: lambda: compute_layers(case.trace, case.region),
    "best partners, q-k": lambda case: lambda: best_partners(case.trace, ["qk"], case.region),
    "diagnose, one interpolation": lambda case: (
        lambda: diagnose(
            case.model, case.images[0], "a dog", case.region, size=case.side, position_interpolation="bicubic"
        )
    ),
    "diagnose, every method's own interpolation": lambda case: (
        lambda: diagnose(case.model, case.images[0], "a dog", case.region, size=case.side)
    ),
}
OTHERS: dict[str, Callable[[Input], Callable[[], object]]] = {
    "plain hooks (pass included)": plain_hooks,
    "transformers, eager, norms and entropies (pass included)": eager_transformers,
    "nnsight, every block's output (pass included)": nnsight,
}


def points(model, sides: tuple[int, ...], only: str, repeats: int, clock: Callable[[], float]) -> Iterator[Point]:
    """All figures, as soon as they are known."""
    device = model.device.type

    def measured(what: str, axis: str, at: int, case: Input, run: Callable[[], object]) -> Point:
        timing = compare(run, case.bare, device, repeats, clock=clock)
        return Point(what, axis, at, timing.ratio, timing.reference_ms)

    for side in sides:
        case = Input(model, side)
        for what, make in {**OURS, **OTHERS}.items():
            if only in what and not (
                what in ("plain hooks (pass included)", "nnsight, every block's output (pass included)") and side != 224
            ):
                try:
                    yield measured(what, "side", side, case, make(case))
                except ImportError:
                    continue
    for batch in BATCHES:
        case = Input(model, 224, batch)
        for what in ("seven presets from one trace", "norms, entropies, two masses"):
            if only in what:
                yield measured(what, "batch", batch, case, OURS[what](case))
    case = Input(model, 224)
    features = dense_features(case.trace, "clip_surgery")
    for count in TEXTS:
        what, text, labels = "effect of each label leaving", case.texts(count), [str(i) for i in range(count)]
        if only in what and count > 2:
            yield measured(what, "texts", count, case, lambda t=text, l=labels: label_set_effect(features, t, l))


def table(found: list[Point]) -> str:
    """Markdown, one line a measurement, one column a place on its axis."""
    lines = []
    for axis, places in (("side", SIDES), ("batch", BATCHES), ("texts", TEXTS)):
        own = [point for point in found if point.axis == axis]
        if not own:
            continue
        lines += ["", f"| {axis} | " + " | ".join(map(str, places)) + " |", "|---" * (len(places) + 1) + "|"]
        for what in dict.fromkeys(point.what for point in own):
            at = {point.at: f"{point.ratio:.2f}" for point in own if point.what == what}
            lines.append(f"| {what} | " + " | ".join(at.get(place, "") for place in places) + " |")
    return "\n".join(lines[1:])


def main() -> None:
    """Prints the tables, and keeps the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    parser.add_argument("--only", default="", help="only lines that contain this text")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    clock = time.perf_counter
    if options.device == "cpu":
        torch.set_num_threads(1)
        clock = time.process_time
    torch.manual_seed(0)
    model = load_model("ViT-B-16", "random", device=options.device, precision=options.precision)
    unit = "CPU time of one thread" if options.device == "cpu" else "wall time"
    machine = f"{describe_machine(options.device)}, {model.dtype}, {unit}"
    print(f"ViT-B-16, ratio to one bare pass of the same input; {machine}\n", flush=True)
    found = []
    for point in points(model, tuple(options.sides), options.only, options.repeats, clock):
        print(f"{point.axis} {point.at}: {point.what}: {point.ratio:.3f} of {point.pass_ms:.0f} ms", flush=True)
        found.append(point)
    print(f"\n{table(found)}")
    if options.json:
        rows = [{"what": f"{p.what}, {p.axis} {p.at}", "value": p.ratio, "reference_ms": p.pass_ms} for p in found]
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
