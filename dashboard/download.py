"""Weights are brought into the cache by a job: with a bar, a way out, and going on where the last try stopped."""

from collections.abc import Callable

from dashboard.jobs import Job
from surgery.downloads import download_weights

DOWNLOADING = "downloading"
MOST = 0.99
"""The bar is full only when the file is checked and in its place."""


def download(name: str, tag: str, size_mb: int | None) -> Callable[[Job[None]], None]:
    """Work: brings weights into open_clip's cache.

    Args:
        name: architecture.
        tag: one of its tags.
        size_mb: about how much it is; None where that is unknown. What the hub says goes before it.

    Returns:
        Work that raises WeightsNotFound where the weights cannot be downloaded.
    """

    def work(job: Job[None]) -> None:
        def report(doing: str, done: int, total: int | None) -> None:
            job.report(*progress(doing, done, total, size_mb))

        download_weights(name, tag, report)

    return work


def progress(doing: str, done: int, total: int | None, size_mb: int | None) -> tuple[float, str]:
    """How far a download is: a share from 0 to 1, and words. Pure."""
    if doing != DOWNLOADING:
        return (MOST if total and done == total else 0.0), doing
    here = f"{done / 1e6:.0f} MB"
    if total is not None:
        return min(MOST, done / max(1, total)), f"{here} of {total / 1e6:.0f} MB"
    if size_mb:
        return min(MOST, done / 1e6 / size_mb), f"{here} of about {size_mb} MB"
    return 0.0, f"{here} of an unknown size"
