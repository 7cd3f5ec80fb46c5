"""Loads take turns where they must, and only there."""

import threading

import pytest
import torch

from dashboard.loading import SEED, Loads


def test_random_weights_wait_until_no_other_load_runs_and_then_come_from_the_seed() -> None:
    loads, drawn = Loads(), []
    expected = torch.randn(3, generator=torch.Generator().manual_seed(SEED))

    def draw() -> None:
        with loads.seeded():
            drawn.append(torch.randn(3))

    thread = threading.Thread(target=draw)
    with loads.side_by_side():
        thread.start()
        thread.join(timeout=0.3)
        assert not drawn
        with loads.side_by_side():  # does not wait, neither for the other load nor for the one that waits
            pass
    thread.join()
    assert torch.equal(drawn[0], expected)


def test_a_load_that_fails_holds_up_no_other() -> None:
    loads = Loads()
    for context in (loads.side_by_side, loads.seeded):
        with pytest.raises(OSError, match="no disk"), context():
            raise OSError("no disk")
    with loads.seeded():
        pass
    with loads.side_by_side():
        pass
