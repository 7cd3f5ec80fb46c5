"""Weights are downloaded in a process of its own, since only that can be ended: python -m dashboard.download NAME TAG

What has arrived by then stays in the cache of the hub, and the next download goes on from there.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable

from dashboard import catalogue
from dashboard.jobs import Job
from surgery.downloads import download_weights

POLL_S = 0.3


def command(name: str, tag: str) -> list[str]:
    """What is run."""
    return [sys.executable, "-m", "dashboard.download", name, tag]


def download(name: str, tag: str, size_mb: int | None) -> Callable[[Job[None]], None]:
    """Work: brings weights into open_clip's cache.

    Args:
        name: architecture.
        tag: one of its tags.
        size_mb: about how much it is; None where that is unknown.

    Returns:
        Work that raises FileNotFoundError where the weights cannot be downloaded.
    """

    def work(job: Job[None]) -> None:
        before = catalogue.downloaded_bytes()
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(command(name, tag), stdout=subprocess.DEVNULL, stderr=said)
            try:
                while _is_running(process):
                    done_mb = max(0, catalogue.downloaded_bytes() - before) / 1e6
                    share = min(0.99, done_mb / size_mb) if size_mb else 0.0
                    job.report(share, f"{done_mb:.0f} MB of {f'about {size_mb} MB' if size_mb else 'an unknown size'}")
            finally:
                process.terminate()
                process.wait()
            if process.returncode:
                said.seek(0)
                raise FileNotFoundError(said.read().strip().rpartition("\n")[2])

    return work


def _is_running(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


if __name__ == "__main__":
    try:
        download_weights(*sys.argv[1:])
    except OSError as error:
        sys.exit(str(error))
