"""A small stand-in for the Hugging Face Hub on 127.0.0.1, whose files are in memory and which breaks on request.

It speaks what huggingface_hub needs to fetch a file or to list a repository. Weights are answered as the Hub does, by a
redirect to another host name, with their SHA-256 in X-Linked-Etag; other files come directly.

    with serve({"org/repo": {"config.json": b"{}"}}) as hub:
        hub.breaks("cut", after=1000, times=1)
        ...
        assert hub.requests[-1] == ("GET", "/org/repo/resolve/main/config.json", None)
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from surgery.faults import PROXY_VARIABLES

LFS = (".safetensors", ".bin", ".pt")
COMMIT = "c" * 40
PAGE = b"<!doctype html><title>Sign in to the network</title>"
STALL_S = 30


@dataclass
class Hub:
    """What is served, what breaks, and what was asked: (method, path, Range header)."""

    files: Mapping[str, Mapping[str, bytes]]
    address: str = ""
    chunk_pause_s: float = 0.0
    hold_at: int | None = None
    faults: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def breaks(self, kind: str, **how: Any) -> None:
        """From now on: status (code=), gated, cut, stall, short, corrupt, zeros, html, noheaders, noranges.

        `after` bytes of a body, only `times` often, only paths that contain `match`.
        """
        self.faults.append({"kind": kind, "after": 0, "times": 1_000_000, "match": "", **how})

    def holds(self, after: int) -> None:
        """From now on: bodies stop after so many bytes, until `released` is set."""
        self.released.clear()
        self.hold_at = after

    def mends(self) -> None:
        """Nothing is broken any more."""
        self.faults.clear()

    def fault(self, path: str, *kinds: str) -> dict[str, Any] | None:
        return next((f for f in self.faults if f["kind"] in kinds and f["match"] in path and f["times"] > 0), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        parts = self.path.strip("/").split("/")
        if self.hub.fault(self.path, "html"):
            return self._send(200, PAGE, {"Content-Type": "text/html"})
        if fault := self.hub.fault(self.path, "status"):
            fault["times"] -= 1
            return self._send(fault["code"], b"{}", {"Retry-After": "7"})
        names = parts[2:4] if parts[:2] == ["api", "models"] else parts[1:3] if parts[0] == "cdn" else parts[:2]
        repository = self.hub.files.get("/".join(names))
        if repository is None:
            return self._error(401, "RepoNotFound")
        if self.hub.fault(self.path, "gated"):
            return self._error(401, "GatedRepo")
        if parts[0] == "api":
            siblings = [{"rfilename": name} for name in repository]
            return self._send(200, json.dumps({"id": "/".join(names), "sha": COMMIT, "siblings": siblings}).encode())
        name = "/".join(parts[3:] if parts[0] == "cdn" else parts[4:])
        if name not in repository:
            return self._error(404, "EntryNotFound")
        return self._file("/".join(names), name, repository[name], parts[0] == "cdn")

    def _file(self, repository: str, name: str, content: bytes, is_cdn: bool) -> None:
        headers = {"X-Repo-Commit": COMMIT}
        if self.hub.fault(self.path, "noheaders"):
            return self._body(content, {})
        if is_cdn:
            return self._body(content, {})
        if not name.endswith(LFS):
            digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self._body(content, headers | {"ETag": f'"{digest}"'})
        size = {} if self.hub.fault(name, "short") else {"X-Linked-Size": str(len(content))}
        elsewhere = self.hub.address.replace("127.0.0.1", "localhost")
        linked = {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"'}
        linked["Location"] = f"{elsewhere}/cdn/{repository}/{name}"
        return self._send(302, b"", headers | linked | size)

    def _body(self, content: bytes, headers: dict[str, str]) -> None:
        given = self.headers.get("Range", "") if not self.hub.fault(self.path, "noranges") else ""
        start = int(given.removeprefix("bytes=").partition("-")[0]) if given else 0
        fault = self.hub.fault(self.path, "cut", "stall", "short", "corrupt", "zeros")
        kind, after = (fault["kind"], fault["after"]) if fault else ("", len(content))
        if kind == "zeros":
            content = bytes(len(content))
        elif kind == "corrupt":
            content = (
                content[:after] + bytes(byte ^ 255 for byte in content[after : after + 64]) + content[after + 64 :]
            )
        elif kind == "short":
            content = content[:after]
        body = content[start:]
        headers["Content-Length" if kind != "short" else "Connection"] = str(len(body)) if kind != "short" else "close"
        if given:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._head(206 if given else 200, headers)
        if self.command == "HEAD":
            return
        if fault:
            fault["times"] -= 1
        self._write(body[: max(0, after - start)] if kind in ("cut", "stall") else body)
        if kind == "stall":
            self.hub.ended.wait(STALL_S)
        self.close_connection = self.close_connection or kind in ("cut", "stall", "short")

    def _write(self, body: bytes) -> None:
        for start in range(0, len(body), 1 << 16):
            if self.hub.hold_at is not None and start >= self.hub.hold_at:
                self.wfile.flush()
                self.hub.released.wait(STALL_S * 10)
            self.wfile.write(body[start : start + (1 << 16)])
            time.sleep(self.hub.chunk_pause_s)

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code, "X-Repo-Commit": COMMIT})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, (headers or {}) | {"Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that leaves is no error."""


def go_online(patch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """Lets this process ask a hub at an address, through no proxy, with a cache of its own and little patience."""
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    for name in PROXY_VARIABLES:
        patch.delenv(name, raising=False)
        patch.delenv(name.lower(), raising=False)


@contextmanager
def serve(files: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    """A hub with these files: repository -> name -> content."""
    hub = Hub(files)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.ended.set()
        hub.released.set()
        server.shutdown()
        server.server_close()
