"""One file of the Hugging Face Hub: from the cache, else fetched, going on where it stopped, and checked by its digest.

The cache is huggingface_hub's own, in its layout (`models--org--repo/blobs/<digest>`, `snapshots/<commit>/<file>`), so
that open_clip, transformers and this module share their files. What a fetch leaves behind when it fails is
`<digest>.incomplete`, from which the next one goes on; a file that arrived damaged is removed.

    fetch("timm/resnet50_clip.openai", "open_clip_model.safetensors", report)  ->  path in the cache

Every failure is a `HubFault` with a kind of its own, raised within seconds: one request, no waiting where there is no
network.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers

from surgery.faults import HubFault, fault_of, fault_of_status
from surgery.integrity import DamagedFile, check_once, digest_of, mark_checked
from surgery.progress import terminal_bar

Report = Callable[[str, int, int | None], None]
"""Called with what is being done, bytes that are here, and bytes in all (None where unknown); may raise to stop."""

SPARE_BYTES = 50_000_000
TRIES_WITHOUT_PROGRESS = 2
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class _Remote:
    """What the hub says of a file: where its bytes are, its digest (the blob's name), and its size if it tells."""

    location: str
    digest: str
    size: int | None
    headers: dict[str, str]


def find_cached(repository: str, file: str) -> Path | None:
    """The file in the cache, None where it is not."""
    found = huggingface_hub.try_to_load_from_cache(repository, file)
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def fetch(repository: str, file: str, report: Report | None = None) -> Path:
    """A file of the hub in the cache, fetched if it is not there; a cached one needs no network.

    Args:
        repository: "org/name".
        file: path inside it.
        report: told about the progress; what it raises ends the fetch, and what has arrived is kept. None draws a bar
            in a terminal.

    Raises:
        HubFault: it cannot be had; the kind says why. `missing` where the repository has no such file.
        DamagedFile: what is in the cache is not what the hub has.
    """
    report = terminal_bar(file) if report is None else report
    cached = find_cached(repository, file)
    if cached is not None:
        check_once(cached, report)
        return cached
    if constants.HF_HUB_OFFLINE:
        raise HubFault("offline", "the hub is not asked, since HF_HUB_OFFLINE is set")
    report(f"asking {host()}", 0, None)
    remote = _ask(repository, file)
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    blob = folder / "blobs" / remote.digest
    with _locked(folder, remote.digest, report):
        if not blob.is_file():
            fetch_into(blob, remote.location, remote.size, report, remote.headers)
    with _told(repository, file):
        return Path(huggingface_hub.hf_hub_download(repository, file, endpoint=constants.ENDPOINT))


def host() -> str:
    """Where files come from, for messages."""
    return constants.ENDPOINT.partition("://")[2]


def list_files(repository: str) -> list[str]:
    """Names of the files in a repository; asks the hub.

    Raises:
        HubFault: it cannot be asked.
    """
    if constants.HF_HUB_OFFLINE:
        raise HubFault("offline", "the hub is not asked, since HF_HUB_OFFLINE is set")
    with _told(repository, ""):
        info = huggingface_hub.HfApi(endpoint=constants.ENDPOINT).model_info(repository, timeout=10)
    return [sibling.rfilename for sibling in info.siblings or ()]


def _ask(repository: str, file: str) -> _Remote:
    url = huggingface_hub.hf_hub_url(repository, file, endpoint=constants.ENDPOINT)
    with _told(repository, file):
        meta = huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    if meta.commit_hash is None or meta.etag is None:
        raise _not_the_hub(url)
    is_elsewhere = meta.location.split("/")[2] != url.split("/")[2]
    headers = {} if is_elsewhere else build_hf_headers()
    return _Remote(meta.location, meta.etag, meta.size, headers)


def _not_the_hub(url: str) -> HubFault:
    """An answer without the hub's headers: a sign-in page of the network, or a proxy that strips them."""
    response = huggingface_hub.get_session().head(url, headers=build_hf_headers(), timeout=10)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        return HubFault("portal", f"a web page answers in place of {host()}; sign in to the network, then try again")
    return HubFault(
        "headers",
        f"the answer of {host()} lacks the headers X-Repo-Commit and ETag, which a proxy between takes away; "
        "use another network, or copy the file here by hand",
    )


@contextmanager
def _told(repository: str, file: str) -> Iterator[None]:
    """Turns what the library raises into a fault of one kind."""
    try:
        yield
    except (HubFault, DamagedFile):
        raise
    except Exception as error:
        raise fault_of(error, repository, file, host()) from error


@contextmanager
def _locked(folder: Path, digest: str, report: Report) -> Iterator[None]:
    """One fetch of a file at a time, also among processes; the others wait and then find it there."""
    lock = folder.parent / ".locks" / folder.name / f"{digest}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            holder = WeakFileLock(lock, timeout=PAUSE_S)
            holder.__enter__()
            break
        except TimeoutError:
            report("waiting for another download of the same file", 0, None)
    try:
        yield
    finally:
        holder.__exit__(None, None, None)


# ---- the bytes of one file


def fetch_into(
    target: Path,
    location: str,
    size: int | None,
    report: Report,
    headers: dict[str, str] | None = None,
    expected: str | None = None,
) -> None:
    """Brings the bytes at an address into a file, beginning where an earlier try stopped.

    Args:
        target: becomes the file; `<target>.incomplete` holds what has arrived so far.
        location: address.
        size: bytes in all, None if unknown.
        report: told about the progress.
        headers: of the request.
        expected: beginning of the SHA-256; None for the name of the target, which is the hub's digest.

    Raises:
        HubFault: `disk`, `cut`, `stall`, `damaged`, or as the server answers.
    """
    partial = target.with_name(f"{target.name}.incomplete")
    target.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.is_file() else 0
    _refuse_full_disk(target.parent, size, have)
    idle = 0
    while size is None or have < size:
        before = have
        try:
            size = _stream(location, partial, have, size, report, headers or {})
            break
        except HubFault as fault:
            have = partial.stat().st_size if partial.is_file() else 0
            idle = 0 if have > before else idle + 1
            if fault.kind not in ("cut", "stall") or idle >= TRIES_WITHOUT_PROGRESS:
                raise _with_kept(fault, have, size) from fault
            time.sleep(PAUSE_S)
    _finish(partial, target, report, expected)


def _refuse_full_disk(folder: Path, size: int | None, have: int) -> None:
    free = shutil.disk_usage(folder).free
    if size is not None and free < size - have + SPARE_BYTES:
        raise HubFault("disk", _full_disk(folder, f"{_mb(size - have)} are needed and {_mb(free)} are free"))


def _full_disk(folder: Path, what: str) -> str:
    return (
        f"the disk of {folder} is full: {what}; make room, or set HF_HOME to a folder on another disk and start again"
    )


def _stream(
    location: str, partial: Path, have: int, size: int | None, report: Report, headers: dict[str, str]
) -> int | None:
    """Appends to the partial file until the body ends; returns the size of the file, if it is known."""
    wanted = headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    session = huggingface_hub.get_session()
    try:
        with session.stream(
            "GET", location, headers=wanted, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=True
        ) as response:
            have = _start_of(response, partial, have, location)
            size = size if size is not None else _announced(response, have)
            with partial.open("ab") as file:
                report("downloading", have, size)
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    have += len(chunk)
                    report("downloading", have, size)
    except OSError as error:
        if isinstance(error, HubFault) or not _is_disk(error):
            raise
        partial.unlink(missing_ok=True)
        raise HubFault("disk", _full_disk(partial.parent, str(error))) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2", "huggingface_hub"):
            raise
        raise fault_of(error, location, "", host()) from error
    if size is not None and have < size:
        raise HubFault("cut", "the connection was cut")
    return size


def _is_disk(error: OSError) -> bool:
    return error.errno is not None and os.strerror(error.errno) in (os.strerror(28), os.strerror(122), os.strerror(27))


def _start_of(response: Any, partial: Path, have: int, location: str) -> int:
    """Bytes that stay of the partial file: all where the server goes on from there, none where it begins anew."""
    if response.status_code == 416:
        partial.unlink(missing_ok=True)
        raise HubFault("cut", "the server could not go on with the file")
    if response.status_code >= 400:
        raise fault_of_status(response.status_code, response.headers, location, host())
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise HubFault("portal", f"a web page answers in place of {host()}; sign in to the network, then try again")
    if have and response.status_code != 206:
        partial.unlink(missing_ok=True)
        return 0
    return have


def _announced(response: Any, have: int) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else have + int(length)


def _with_kept(fault: HubFault, have: int, size: int | None) -> HubFault:
    """The same fault with how much arrived, which the next try does not fetch again."""
    if fault.kind not in ("cut", "stall"):
        return fault
    of = f" of {_mb(size)}" if size else ""
    return HubFault(fault.kind, f"{fault} after {_mb(have)}{of}; the next try goes on from there")


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _finish(partial: Path, target: Path, report: Report, expected: str | None) -> None:
    """Checks the digest and puts the file in its place; a damaged one is removed."""
    report("checking", partial.stat().st_size, partial.stat().st_size)
    wanted = expected if expected is not None else target.name
    if wanted and not digest_of(partial, len(wanted)).startswith(wanted):
        partial.unlink()
        raise HubFault(
            "damaged",
            f"what arrived is damaged (its digest is not {wanted[:12]}...) and was removed; try again, and on another "
            "network if it happens again",
        )
    os.replace(partial, target)
    mark_checked(target)
