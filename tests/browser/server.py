"""Starts the dashboard as a user does, waits until it answers, and keeps its log."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90
ERROR_MARKS = ("Traceback", "Uncaught", "ERROR", "Error:")


@dataclass(frozen=True, slots=True)
class Server:
    """A running dashboard.

    Attributes:
        url: its address, without a slash at the end.
        log: file with everything it has printed.
        pid: its process.
    """

    url: str
    log: Path
    pid: int

    def errors(self) -> list[str]:
        """Lines of the log that report an error."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if any(mark in line for mark in ERROR_MARKS)]


@contextmanager
def running_server(log: Path, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """A dashboard on a free port of this machine, ended when the block is left.

    Args:
        log: file that its output goes to.
        environment: variables on top of this process's own.
    """
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "streamlit_server.py")]
    options = ["--server.port", str(port), "--server.headless", "true"]
    variables = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), **(environment or {})}
    with log.open("w") as stream:
        process = subprocess.Popen([*command, *options], cwd=ROOT, env=variables, stdout=stream, stderr=stream)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, log)
            yield Server(url, log, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Expected the dashboard to start, but it ended with:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(
        f"Expected the dashboard to answer within {START_SECONDS} s, but it did not:\n{log.read_text()[-2000:]}"
    )
