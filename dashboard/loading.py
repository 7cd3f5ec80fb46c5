"""When models may be loaded: side by side, except that random weights are drawn while no other model is loaded."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SEED = 0
"""Of random weights."""


class Loads:
    """The loads of a process. PyTorch initialises every model from one generator, which belongs to all threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """For weights that are read; others may be read at the same time, so that no one waits for a download."""
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """For weights that are drawn: the same ones every time. Afterwards the generator is as it was before.

        open_clip initialises models on the CPU, so the generators of GPUs are left alone.
        """
        with self._changed:  # held until the end, so that no other load begins
            self._changed.wait_for(lambda: self._running == 0)
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(SEED)
                yield
