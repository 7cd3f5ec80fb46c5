"""Fetching from a stand-in hub: every fault is told apart, the next try succeeds, and nothing is left behind."""

import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from surgery import faults, hub, integrity
from surgery.faults import HubFault
from surgery.integrity import DamagedFile
from tests.hub import go_online, serve

REPOSITORY, FILE = "org/weights", "open_clip_model.safetensors"
CONTENT = bytes(range(256)) * 4000  # 1 MB
SMALL = b'{"model_cfg": {}}'


@pytest.fixture
def online(tmp_path, monkeypatch):
    """A stand-in hub with one repository, and an empty cache."""
    with serve({REPOSITORY: {FILE: CONTENT, "open_clip_config.json": SMALL}}) as server:
        go_online(monkeypatch, server.address, tmp_path / "hub")
        monkeypatch.setattr(hub, "PAUSE_S", 0.01)
        monkeypatch.setattr(integrity, "_CHECKED", set())
        yield server


def cache() -> Path:
    return Path(constants.HF_HUB_CACHE)


def left_behind() -> list[str]:
    """Everything in the cache that is no whole file: partial ones, broken links, empty folders of blobs."""
    found = [str(path) for path in cache().rglob("*.incomplete")]
    return found + [str(path) for path in cache().rglob("*") if path.is_symlink() and not path.exists()]


def fetched() -> Path:
    path = hub.fetch(REPOSITORY, FILE)
    assert path.read_bytes() == CONTENT and path.name == FILE and left_behind() == []
    return path


def test_a_file_is_fetched_once_and_then_needs_no_network(online, monkeypatch):
    told = []
    hub.fetch(REPOSITORY, FILE, lambda *step: told.append(step))
    assert told[0][0].startswith("asking 127.0.0.1") and told[-1] == ("checking", len(CONTENT), len(CONTENT))
    assert ("downloading", len(CONTENT), len(CONTENT)) in told
    asked = len(online.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetched()
    assert len(online.requests) == asked


def test_a_small_file_is_checked_by_its_git_id(online):
    assert hub.fetch(REPOSITORY, "open_clip_config.json").read_bytes() == SMALL


@pytest.mark.parametrize(
    ("broken", "kind", "message"),
    [
        ({"kind": "status", "code": 500}, "server", "answered 500, a fault on its side"),
        ({"kind": "status", "code": 429}, "busy", "answered 429, too many requests; wait 7 s, or set HF_TOKEN"),
        ({"kind": "status", "code": 503, "match": "cdn"}, "server", "answered 503"),
        ({"kind": "gated"}, "gated", "org/weights is gated; ask for access .* HF_TOKEN"),
        ({"kind": "html"}, "portal", "a web page answers in place of .*; sign in to the network"),
        ({"kind": "html", "match": "cdn"}, "portal", "a web page answers"),
        ({"kind": "noheaders"}, "headers", "lacks the headers X-Repo-Commit and ETag, which a proxy"),
        ({"kind": "cut", "after": 300_000}, "cut", "cut after 300 kB of 1 MB; the next try goes on from there"),
        ({"kind": "stall", "after": 300_000}, "stall", "stalled after 300 kB of 1 MB; the next try goes on"),
        ({"kind": "short", "after": 300_000}, "damaged", "arrived is damaged .* was removed; try again"),
        ({"kind": "corrupt", "after": 500_000}, "damaged", "arrived is damaged .* was removed; try again"),
        ({"kind": "zeros"}, "damaged", "arrived is damaged .* was removed; try again"),
    ],
    ids=lambda value: str(value.get("kind")) + str(value.get("match", "")) if isinstance(value, dict) else "",
)
def test_a_fault_is_told_and_the_next_try_succeeds(online, broken, kind, message):
    online.breaks(**broken)
    with pytest.raises(HubFault, match=message) as caught:
        hub.fetch(REPOSITORY, FILE)
    assert caught.value.kind == kind and kind in faults.KINDS
    assert hub.find_cached(REPOSITORY, FILE) is None
    online.mends()
    fetched()


def test_a_short_cut_heals_by_itself(online):
    online.breaks("cut", after=300_000, times=1)
    fetched()
    assert any(asked == "bytes=300000-" for _, _, asked in online.requests)


def test_a_stopped_fetch_goes_on_from_where_it_was(online):
    class Stop(Exception):
        pass

    online.breaks("cut", after=400_000, times=100)

    def stop(doing: str, done: int, _total: int | None) -> None:
        if doing == "downloading" and done >= 400_000:
            raise Stop

    with pytest.raises(Stop):
        hub.fetch(REPOSITORY, FILE, stop)
    (partial,) = cache().rglob("*.incomplete")
    assert partial.read_bytes() == CONTENT[:400_000]
    online.mends()
    online.requests.clear()
    fetched()
    assert [asked for method, path, asked in online.requests if method == "GET" and "cdn" in path] == ["bytes=400000-"]


def test_a_server_that_cannot_go_on_begins_anew(online):
    online.breaks("cut", after=300_000, times=1)
    online.breaks("noranges")
    fetched()


def test_two_at_once_fetch_it_once(online):
    online.chunk_pause_s = 0.02
    said: list[str] = []
    threads = [
        threading.Thread(target=hub.fetch, args=(REPOSITORY, FILE, lambda doing, *_: said.append(doing)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(method == "GET" and "cdn" in path for method, path, _ in online.requests) == 1
    assert "waiting for another download of the same file" in said
    fetched()


def test_a_full_disk_is_told_before_anything_is_fetched(online, monkeypatch):
    real = shutil.disk_usage
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda folder: real(folder)._replace(free=1_000_000))
    with pytest.raises(
        HubFault, match=r"is full: 1 MB are needed and 1 MB are free; make room, or set HF_HOME"
    ) as caught:
        hub.fetch(REPOSITORY, FILE)
    assert caught.value.kind == "disk" and not any(method == "GET" for method, _, _ in online.requests)
    monkeypatch.setattr(hub.shutil, "disk_usage", real)
    fetched()


def test_a_disk_that_fills_up_leaves_nothing(online, monkeypatch):
    real = Path.open

    def full(path: Path, mode: str = "r", *args, **options):
        file = real(path, mode, *args, **options)
        if mode == "ab":
            file.close()
            raise OSError(28, os.strerror(28))
        return file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(HubFault, match="No space left on device") as caught:
        hub.fetch(REPOSITORY, FILE)
    assert caught.value.kind == "disk" and left_behind() == []
    monkeypatch.setattr(Path, "open", real)
    fetched()


def test_missing_and_private_are_told_apart(online):
    with pytest.raises(HubFault, match=r"org/weights has no file nothing\.bin") as missing:
        hub.fetch(REPOSITORY, "nothing.bin")
    with pytest.raises(HubFault, match="no repository org/other that can be read without a token") as private:
        hub.fetch("org/other", FILE)
    assert (missing.value.kind, private.value.kind) == ("missing", "private")


def test_no_network_is_told_at_once(tmp_path, monkeypatch, caplog):
    go_online(monkeypatch, "http://127.0.0.1:9", tmp_path)
    with pytest.raises(HubFault, match=r"no connection to 127\.0\.0\.1:9") as caught:
        hub.fetch(REPOSITORY, FILE)
    assert caught.value.kind == "connection" and caplog.records == []


def test_an_offline_setting_is_named(online, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubFault, match="HF_HUB_OFFLINE is set") as caught:
        hub.fetch(REPOSITORY, FILE)
    assert caught.value.kind == "offline"


def test_a_proxy_that_is_no_proxy_is_named_and_cached_files_do_not_ask_it(online, monkeypatch):
    from huggingface_hub.utils import close_session

    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    close_session()
    try:
        with pytest.raises(HubFault, match="proxy named in ALL_PROXY does not work") as caught:
            hub.fetch(REPOSITORY, FILE)
        assert caught.value.kind == "proxy"
        monkeypatch.delenv("ALL_PROXY")
        close_session()
        fetched()
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
        close_session()
        fetched()
    finally:
        monkeypatch.delenv("ALL_PROXY", raising=False)
        close_session()


def test_a_damaged_file_in_the_cache_is_found_once_and_named(online, monkeypatch):
    path = fetched()
    blob = path.resolve()
    content = bytearray(CONTENT)
    content[1000:1064] = bytes(64)
    blob.write_bytes(content)  # by another program, or a failing disk
    with pytest.raises(DamagedFile, match=f"{FILE} is damaged: its SHA-256 .* Delete it") as caught:
        hub.fetch(REPOSITORY, FILE)
    integrity.discard(caught.value.path)
    assert not blob.exists() and left_behind() == []
    fetched()
    monkeypatch.setattr(integrity, "digest_of", lambda *_: pytest.fail("checked again"))
    fetched()


def test_a_file_of_another_program_is_checked_once_and_remembered(online, monkeypatch):
    blob = cache() / "models--org--weights" / "blobs" / hashlib.sha256(CONTENT).hexdigest()
    snapshot = blob.parents[1] / "snapshots" / ("c" * 40) / FILE
    for folder in (blob.parent, snapshot.parent, blob.parents[1] / "refs"):
        folder.mkdir(parents=True)
    (blob.parents[1] / "refs" / "main").write_text("c" * 40)
    blob.write_bytes(CONTENT)
    snapshot.symlink_to(blob)
    seen = []
    real = integrity.digest_of
    monkeypatch.setattr(integrity, "digest_of", lambda *a: seen.append(a) or real(*a))
    fetched()
    integrity._CHECKED.clear()  # as in a new process, which reads the note on disk
    fetched()
    assert len(seen) == 1 and online.requests == []
