"""What a pass takes, against what is there; and passes that end between blocks."""

from pathlib import Path

import pytest
import torch

from surgery.memory import SHARE, check_fits, free_bytes, pass_bytes
from tests.tiny import TOWERS, picture, tiny_model


@pytest.mark.parametrize("name", TOWERS)
def test_the_estimate_is_above_what_a_trace_holds(name: str) -> None:
    model = tiny_model(name)
    trace = model.trace(model.preprocess([picture()]))
    assert trace.nbytes < pass_bytes(model, trace.grid)


def test_too_many_patches_are_refused_with_the_largest_that_fits() -> None:
    model = tiny_model("tiny-vit")
    free = int(pass_bytes(model, (20, 20)) / SHARE) + 1
    check_fits(model, (160, 160), lambda device: free)
    with pytest.raises(ValueError, match=r"Expected size to be at most 160 pixels for tiny-vit, but got 2048 x 2048"):
        check_fits(model, (2048, 2048), lambda device: free)
    check_fits(model, (2048, 2048), lambda device: None)  # a system that does not say


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux only")
def test_the_free_memory_is_known() -> None:
    assert 1e6 < free_bytes(torch.device("cpu")) < 1e15


class Enough(Exception):
    pass


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-map"])
def test_a_pass_ends_between_blocks(name: str) -> None:
    model, seen = tiny_model(name), []

    def until_the_third(index: int, depth: int) -> None:
        seen.append((index, depth))
        if index == 2:
            raise Enough

    with pytest.raises(Enough):
        model.trace(model.preprocess([picture()]), on_block=until_the_third)
    depth = len(model.tower.blocks)
    assert seen == [(0, depth), (1, depth), (2, depth)]
    pixels = model.preprocess([picture()])
    told = model.trace(pixels, on_block=lambda index, depth: None)
    assert torch.equal(told.output, model.trace(pixels).output)
