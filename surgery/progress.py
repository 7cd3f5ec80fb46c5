"""A bar for downloads in a terminal or notebook."""

from collections.abc import Callable

from tqdm.auto import tqdm

SMALL_BYTES = 5_000_000
"""What is smaller shows no bar."""


def terminal_bar(label: str) -> Callable[[str, int, int | None], None]:
    """A report for `surgery.hub.fetch` that draws a bar of bytes, where standard error is a terminal."""
    bars: list[tqdm] = []

    def report(doing: str, done: int, total: int | None) -> None:
        if doing == "downloading" and (total or SMALL_BYTES) >= SMALL_BYTES:
            if not bars:
                bars.append(tqdm(total=total, desc=label, unit="B", unit_scale=True, initial=done, disable=None))
            bars[0].update(done - bars[0].n)
        elif bars:
            bars.pop().close()

    return report
