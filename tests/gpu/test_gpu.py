"""On a card: every method against the processor in float64, precisions, the way out of full memory, and memory.

`make gpu` runs this. Without CUDA every test is skipped; nothing is downloaded.
"""

import numpy as np
import pytest
import torch

from analysis.affinity import compute_affinity, compute_layers
from analysis.alpha import alpha_curve
from analysis.norms import compute_entropy
from analysis.regions import Region
from surgery import METHODS, Method, dense_features, load_model, usable_methods
from surgery.attention import KINDS
from tests.tiny import picture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
MIB = 2**20


def _trace(device: str, precision: str, side: int | None = None, model: str = "toy"):
    loaded = load_model(model, device=device, precision=precision)
    return loaded, loaded.trace(loaded.preprocess([picture(0), picture(1)], side))


@pytest.fixture(scope="module")
def exact():
    return _trace("cpu", "fp64")


@pytest.fixture(scope="module")
def large():
    """ViT-B-16 with random weights at 896 px: 3,137 tokens."""
    torch.manual_seed(0)
    model = load_model("ViT-B-16", "random", device="cuda", precision="fp32")
    return model.trace(model.preprocess([picture(0)], 896))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 5e-3), ("bf16", 5e-2)])
def test_every_method_gives_the_features_of_the_processor(exact, precision, tolerance) -> None:
    model, reference = exact
    _, trace = _trace("cuda", precision)
    for name, method in usable_methods(model.tower).items():
        found, expected = (dense_features(t, method).patches.double().cpu() for t in (trace, reference))
        cosine = torch.nn.functional.cosine_similarity(found, expected, dim=-1)
        assert float(1 - cosine.min()) < tolerance, name


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_in_tiles_give_the_entropy_of_the_processor(exact, kind) -> None:
    _, trace = _trace("cuda", "fp32")
    np.testing.assert_allclose(
        compute_entropy(trace, kind=kind).values, compute_entropy(exact[1], kind=kind).values, atol=1e-3
    )


def test_the_closed_form_in_alpha_gives_the_cosines_of_the_processor(exact) -> None:
    model, reference = exact
    _, trace = _trace("cuda", "fp32")
    text, method = model.encode_text(["a red circle"]), Method("vv", blocks=3, mlp=False)
    found, expected = (alpha_curve(t, text, method).cosines([0.5, 3.0]).double().cpu() for t in (trace, reference))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", ["entropy", "affinity", "gem", "layers"])
def test_no_measure_needs_memory_for_tokens_squared(large, task) -> None:
    region = Region.from_patches([(0, 0), (1, 1)], large.grid)
    gem = Method(
        **{name: getattr(METHODS["gem"], name) for name in ("attention", "blocks", "residual", "alpha", "mlp")}
    )
    run = {
        "entropy": lambda: compute_entropy(large),
        "affinity": lambda: compute_affinity(large, ["qk", "vv"], -1),
        "gem": lambda: dense_features(large, gem),
        "layers": lambda: compute_layers(large, region),
    }[task]
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    assert (torch.cuda.max_memory_allocated() - before) / MIB < 300


def test_full_memory_is_said_and_leaves_the_model_usable() -> None:
    model = load_model("toy", device="cuda")
    pixels = model.preprocess([picture(0)])
    before = model.trace(pixels).output
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            model.trace(pixels.expand(4096, -1, -1, -1).contiguous())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    torch.testing.assert_close(model.trace(pixels).output, before)
