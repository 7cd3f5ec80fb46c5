"""What open_clip's names and tags stand for on the hub, and bringing it into the cache: weights, configurations,
tokenizers. Everything that is cached is used without a network."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from surgery import hub
from surgery.faults import HubFault
from surgery.hub import Report
from surgery.integrity import DamagedFile, check_once
from surgery.progress import terminal_bar

CONFIGS = ("open_clip_config.json", "config.json")
OPTIONAL = ("preprocessor_config.json",)
TRANSFORMERS_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
TOKENIZER_SUFFIXES = (".json", ".txt", ".model")
TOKENIZER_MARK = "tokenizer_config.json"
"""Fetched last, so that its presence says that the others are here."""


class WeightsNotFound(FileNotFoundError):
    """Weights are neither on this machine nor to be downloaded.

    Attributes:
        what: which weights.
        reason: why they could not be downloaded.
        architecture: the name to load a file of the same weights with; None where only a folder can carry them.
        kind: one of `surgery.faults.KINDS`.
        damaged: the damaged file in the cache, None for any other kind.
    """

    def __init__(
        self, what: str, reason: str, architecture: str | None, kind: str = "", damaged: Path | None = None
    ) -> None:
        instead = f"load_model({architecture!r}, pretrained='path/to/weights.safetensors')"
        super().__init__(
            f"Expected {what} to be cached or to be downloaded, but got: {reason}. "
            f"With a copy of the weights on this machine use {instead if architecture else 'local-dir:folder'}"
        )
        self.what, self.reason, self.architecture = what, reason, architecture
        self.kind, self.damaged = kind, damaged


def download_weights(name: str, tag: str, report: Report | None = None) -> None:
    """Brings weights into the cache, where `load_model` finds them, and builds nothing.

    Args:
        name: architecture.
        tag: one of its tags.
        report: told about the progress; what it raises ends the download, which goes on from there the next time.

    Raises:
        WeightsNotFound: they cannot be downloaded.
    """
    fetch_tag(name, tag, report)


def fetch_tag(name: str, tag: str, report: Report | None = None) -> Path:
    """The file of a tag's weights, from the cache or fetched into it.

    Raises:
        WeightsNotFound: it is neither.
    """
    source = open_clip.get_pretrained_cfg(name, tag)
    with _named(f"weights {tag!r} of {name}", _architecture_of_file(name, tag)):
        if not source.get("hf_hub"):
            return _fetch_address(source["url"], report)
        repository, file = os.path.split(source["hf_hub"])
        return _fetch_first(repository, alternatives(file or HF_WEIGHTS_NAME), report)


def fetch_weights_of(repository: str, is_transformers: bool, report: Report | None = None) -> Path:
    """The weights of a repository, all shards of them."""
    names = TRANSFORMERS_WEIGHTS if is_transformers else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    with _named(f"weights of hf-hub:{repository}", None):
        found = _fetch_first(repository, names, report)
        if found.name.endswith(".index.json"):
            shards = json.loads(found.read_text(encoding="utf-8"))["weight_map"]
            for shard in sorted(set(shards.values())):
                hub.fetch(repository, shard, report)
        return found


def fetch_config(repository: str) -> Path:
    """The folder in the cache that holds the configuration of a repository."""
    with _named(f"weights of hf-hub:{repository}", None):
        folder = _fetch_first(repository, CONFIGS, None).parent
        if not (folder / CONFIGS[0]).is_file():
            for name in OPTIONAL:
                _fetch_if_there(repository, name)
        return folder


def with_local_text_config(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with a Hugging Face text tower named by the folder of its `config.json` in the cache."""
    config = deepcopy(dict(model_cfg))
    name = config.get("text_cfg", {}).get("hf_model_name")
    if name and not Path(name).is_dir():
        with _named(f"the configuration of the text tower {name}", None):
            config["text_cfg"]["hf_model_name"] = str(hub.fetch(name, "config.json").parent)
    return config


def fetch_tokenizer(repository: str) -> Path:
    """The folder in the cache that holds the tokenizer of a repository."""
    cached = hub.find_cached(repository, TOKENIZER_MARK)
    if cached is not None:
        return cached.parent
    with _named(f"the tokenizer of {repository}", None):
        files = [name for name in hub.list_files(repository) if name.endswith(TOKENIZER_SUFFIXES) and "/" not in name]
        files = [name for name in files if not name.endswith(".index.json") and name != "open_clip_config.json"]
        folder = None
        for name in sorted(files, key=lambda name: name == TOKENIZER_MARK):
            folder = hub.fetch(repository, name).parent
        if folder is None:
            raise HubFault("missing", f"{repository} has no files of a tokenizer")
        return folder


def is_cached(source: Mapping[str, Any]) -> bool:
    """Whether the weights that an open_clip `pretrained` entry points at are in the cache that open_clip reads.

    Args:
        source: from `open_clip.get_pretrained_cfg`; "hf_hub" ("org/repo/file", or "org/repo/") goes before "url".
    """
    if source.get("hf_hub"):
        repository, file = os.path.split(source["hf_hub"])
        return any(hub.find_cached(repository, name) for name in alternatives(file or HF_WEIGHTS_NAME))
    url = source.get("url", "")
    return bool(url) and _address_target(url).is_file()


def alternatives(file: str) -> tuple[str, ...]:
    """The safetensors version of a file, which open_clip looks for first, and the file."""
    if file == HF_WEIGHTS_NAME:
        return HF_SAFE_WEIGHTS_NAME, file
    return (f"{file[:-4]}.safetensors", file) if file.endswith((".bin", ".pth")) else (file,)


def needs_quick_gelu(architecture: str, tag: str) -> bool:
    """Whether the weights behind the tag were trained with QuickGELU.

    Raises:
        ValueError: unknown tag, or an architecture that fixes QuickGELU with weights that were trained without.
    """
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    plain = architecture.removesuffix("-quickgelu")
    source = open_clip.get_pretrained_cfg(architecture, tag)
    if not source:
        if plain != architecture and open_clip.get_pretrained_cfg(plain, tag):
            raise ValueError(
                f"Expected weights trained with QuickGELU for {architecture}, but got {tag!r}, trained without; "
                f"use {plain}"
            )
        raise ValueError(
            f"Expected pretrained to be a tag of {architecture} ({', '.join(tags) or 'it has none'}) or the path of a "
            f"file or folder of weights, but got {tag!r}"
        )
    trained_with = bool(source.get("quick_gelu", False))
    if open_clip.get_model_config(architecture).get("quick_gelu", False) and not trained_with:
        raise ValueError(
            f"Expected weights trained with QuickGELU for {architecture}, but got {tag!r}, trained without"
        )
    return trained_with


@contextmanager
def _named(what: str, architecture: str | None) -> Iterator[None]:
    """Says which weights an error is about, and what can be done with a copy of them."""
    try:
        yield
    except HubFault as fault:
        raise WeightsNotFound(what, str(fault), architecture, fault.kind) from fault
    except DamagedFile as error:
        raise WeightsNotFound(what, str(error), architecture, "damaged", error.path) from error


def _fetch_first(repository: str, names: Sequence[str], report: Report | None) -> Path:
    """The first of these files that the repository has; only a missing file leads on to the next."""
    for name in names:
        cached = hub.find_cached(repository, name)
        if cached is not None:
            return hub.fetch(repository, name, report)
    for name in names[:-1]:
        try:
            return hub.fetch(repository, name, report)
        except HubFault as fault:
            if fault.kind != "missing":
                raise
    return hub.fetch(repository, names[-1], report)


def _fetch_if_there(repository: str, name: str) -> None:
    try:
        hub.fetch(repository, name)
    except HubFault as fault:
        if fault.kind not in ("missing", "offline", "connection"):
            raise


def _address_target(url: str) -> Path:
    return Path("~/.cache/clip").expanduser() / os.path.basename(url)


def _fetch_address(url: str, report: Report | None) -> Path:
    """Weights that have an address of their own, in the folder where open_clip keeps them."""
    target, expected = _address_target(url), _digest_in(url)
    report = terminal_bar(target.name) if report is None else report
    if target.is_file():
        check_once(target, report, expected)
    else:
        hub.fetch_into(target, url, None, report, expected=expected)
    return target


def _digest_in(url: str) -> str:
    """Beginning of the SHA-256, which OpenAI has as a folder and open_clip at the end of the name; "" for none."""
    if "openaipublic" in url:
        return url.split("/")[-2]
    return os.path.splitext(os.path.basename(url))[0].split("-")[-1] if "mlfoundations" in url else ""


def _architecture_of_file(name: str, tag: str) -> str:
    """The architecture to load a file of a tag's weights with: a file cannot say that it needs QuickGELU."""
    suffix = "-quickgelu"
    return name + suffix if needs_quick_gelu(name, tag) and not name.endswith(suffix) else name
