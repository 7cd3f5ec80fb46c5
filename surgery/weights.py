"""Where weights come from: the embedded folder, a local folder, a file, open_clip's cache, a download."""

import difflib
import json
import logging
import pickle
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import getproxies

import open_clip
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from open_clip.factory import load_checkpoint
from safetensors import SafetensorError
from torch import nn

from surgery.towers import build_tower

TOY_FOLDER = Path(__file__).resolve().parent.parent / "data" / "toy" / "model"
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
RANDOM = "random"
"""The value of `pretrained` for an architecture without trained weights."""


class RandomWeightsWarning(UserWarning):
    """An architecture was loaded without a word on weights, so they are random."""


class WeightsNotFound(FileNotFoundError):
    """Weights are neither on this machine nor to be downloaded.

    Attributes:
        what: which weights.
        reason: why they could not be downloaded.
        architecture: the name to load a file of the same weights with; None where only a folder can carry them.
    """

    def __init__(self, what: str, reason: str, architecture: str | None) -> None:
        instead = f"load_model({architecture!r}, pretrained='path/to/weights.safetensors')"
        super().__init__(
            f"Expected {what} to be cached or to be downloaded, but got: {reason}. "
            f"With a copy of the weights on this machine use {instead if architecture else 'local-dir:folder'}"
        )
        self.what, self.reason, self.architecture = what, reason, architecture


def create_clip(name: str, pretrained: str | None) -> tuple[nn.Module, str | None]:
    """The open_clip module on the CPU in float32, and the source of its weights; see `surgery.load_model`."""
    if name == "toy" or name.startswith("local-dir:"):
        folder = TOY_FOLDER if name == "toy" else Path(name.removeprefix("local-dir:"))
        _refuse_second_source(name, pretrained)
        return _from_folder(folder), "local"
    if name.startswith("hf-hub:"):
        _refuse_second_source(name, pretrained)
        return _downloaded(name, None, quick_gelu=False), "hf-hub"
    architecture = name.replace("/", "-")
    _check_architecture(architecture)
    if pretrained in (None, RANDOM):
        return create_random(architecture), None
    if Path(pretrained).is_file() or Path(pretrained).suffix in WEIGHT_SUFFIXES:
        clip = create_random(architecture)
        _load_weights(clip, Path(pretrained), architecture)
        return clip, pretrained
    return _downloaded(architecture, pretrained, quick_gelu=_needs_quick_gelu(architecture, pretrained)), pretrained


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences open_clip's remarks on random weights and QuickGELU: here these are choices and errors."""

    def not_from_open_clip(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root = logging.getLogger()
    root.addFilter(not_from_open_clip)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(not_from_open_clip)


@contextmanager
def _offline_where_unreachable() -> Iterator[None]:
    """Goes straight to the cache where the hub's name does not resolve, instead of half a minute of retries."""
    before = constants.HF_HUB_OFFLINE
    if not getproxies():
        try:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _refuse_second_source(name: str, pretrained: str | None) -> None:
    if pretrained is not None:
        raise ValueError(
            f"Expected pretrained to be None for {name!r}, which carries its weights, but got {pretrained!r}"
        )


def _check_architecture(name: str) -> None:
    known = open_clip.list_models()
    if name in known:
        return
    near = difflib.get_close_matches(name, ["toy", *known], n=5, cutoff=0.3)
    raise ValueError(
        f"Expected name to be an open_clip model, 'hf-hub:org/repo', 'local-dir:folder' or 'toy', but got {name!r}; "
        f"nearest: {', '.join(near) or 'none'}"
    )


def create_random(name: str, **options: Any) -> nn.Module:
    """The architecture with random weights."""
    try:
        with _quiet():
            return open_clip.create_model(name, pretrained_text=False, **options)
    except Exception as error:
        raise ValueError(
            f"Expected {name} to be an architecture that open_clip can build here, but got: {error}"
        ) from error


def random_weights_message(name: str) -> str:
    """What to say of an architecture that was loaded without a word on weights."""
    tags = open_clip.list_pretrained_tags_by_model(name.replace("/", "-"))
    example = tags[0] if tags else "path/to/weights.safetensors"
    return (
        f"{name} has random weights, since pretrained was not given. Name a tag or a file, such as "
        f"load_model({name!r}, pretrained={example!r}), or say pretrained={RANDOM!r} where random ones are wanted"
    )


def _from_folder(folder: Path) -> nn.Module:
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise FileNotFoundError(f"Expected {folder} to be a folder with open_clip_config.json, but found none")
    weights = [path for path in sorted(folder.iterdir()) if path.suffix in WEIGHT_SUFFIXES]
    if not weights:
        raise FileNotFoundError(f"Expected weights ({', '.join(WEIGHT_SUFFIXES)}) in {folder}, but found none")
    clip = create_random(f"local-dir:{folder}", load_weights=False)
    _load_weights(clip, min(weights, key=lambda path: WEIGHT_SUFFIXES.index(path.suffix)), folder.name)
    return clip


def _load_weights(clip: nn.Module, path: Path, architecture: str) -> None:
    """Reads a state dict with safetensors or `weights_only=True` into the module, strictly."""
    if not path.is_file():
        raise FileNotFoundError(f"Expected pretrained to be a file, but found none at {path}")
    if path.suffix not in WEIGHT_SUFFIXES:
        raise ValueError(f"Expected a checkpoint to end in {', '.join(WEIGHT_SUFFIXES)}, but got {path.name}")
    try:
        load_checkpoint(clip, str(path), strict=True, weights_only=True)
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"Expected {path.name} to hold tensors only, but reading it needs pickle, which can run code; "
            "convert it to .safetensors where you trust it"
        ) from error
    except SafetensorError as error:
        raise ValueError(f"Expected {path.name} to be a safetensors file, but got: {error}") from error
    except (RuntimeError, AssertionError, AttributeError, TypeError, KeyError, StopIteration, IndexError) as error:
        if "TorchScript" in str(error):
            raise ValueError(
                f"Expected {path.name} to be a state dict, but got a TorchScript archive; save its state_dict() instead"
            ) from error
        raise ValueError(
            f"Expected {path.name} to be weights of {architecture}, but got: {first_line(error)}"
        ) from error


def _needs_quick_gelu(architecture: str, tag: str) -> bool:
    """Whether the weights behind the tag were trained with QuickGELU.

    Raises:
        ValueError: unknown tag, or an architecture that fixes QuickGELU with weights that were trained without.
    """
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    config = open_clip.get_model_config(architecture)
    plain = architecture.removesuffix("-quickgelu")
    if not open_clip.get_pretrained_cfg(architecture, tag):
        if plain != architecture and open_clip.get_pretrained_cfg(plain, tag):
            raise ValueError(
                f"Expected weights trained with QuickGELU for {architecture}, but got {tag!r}, trained without; "
                f"use {plain}"
            )
        raise ValueError(
            f"Expected pretrained to be a tag of {architecture} ({', '.join(tags) or 'it has none'}) or the path of a "
            f"{' or '.join(WEIGHT_SUFFIXES)} file, but got {tag!r}"
        )
    trained_with = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False))
    if config.get("quick_gelu", False) and not trained_with:
        raise ValueError(
            f"Expected weights trained with QuickGELU for {architecture}, but got {tag!r}, trained without"
        )
    return trained_with


def _downloaded(name: str, tag: str | None, quick_gelu: bool) -> nn.Module:
    """Weights from open_clip's cache, or downloaded into it."""
    _refuse_unsupported(name)
    with _what_is_missing(name, tag):
        return open_clip.create_model(name, tag, force_quick_gelu=quick_gelu, require_pretrained=True)


def download_weights(name: str, tag: str) -> None:
    """Brings weights into open_clip's cache, where `load_model` finds them, and builds nothing.

    Args:
        name: architecture.
        tag: one of its tags.

    Raises:
        FileNotFoundError: they cannot be downloaded.
    """
    with _what_is_missing(name, tag):
        open_clip.download_pretrained(open_clip.get_pretrained_cfg(name, tag))


@contextmanager
def _what_is_missing(name: str, tag: str | None) -> Iterator[None]:
    """Around a download: quiet, no waiting where there is no network, and an error that says what else can be done."""
    try:
        with _quiet(), _offline_where_unreachable():
            yield
    except Exception as error:
        what = f"weights {tag!r} of {name}" if tag else f"weights of {name}"
        raise WeightsNotFound(what, _why_not_downloaded(error), tag and _architecture_of_file(name, tag)) from error


def _architecture_of_file(name: str, tag: str) -> str:
    """The architecture to load a file of a tag's weights with: a file cannot say that it needs QuickGELU."""
    suffix = "-quickgelu"
    return name + suffix if _needs_quick_gelu(name, tag) and not name.endswith(suffix) else name


def _why_not_downloaded(error: BaseException) -> str:
    """One reason from an error of the hub, of open_clip around it, or of an address."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    answers = [
        c for c in causes if isinstance(c, HfHubHTTPError | HTTPError) and not isinstance(c, LocalEntryNotFoundError)
    ]
    if answers:
        return first_line(answers[-1]).rstrip(".")
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes) and constants.HF_HUB_OFFLINE:
        return "the hub is not asked, since HF_HUB_OFFLINE is set"
    if any(isinstance(cause, LocalEntryNotFoundError | ConnectionError | URLError) for cause in causes):
        return "no connection to the hub"
    return first_line(error).rstrip(".")


def _refuse_unsupported(name: str) -> None:
    """Builds the tower without memory, so that nothing is downloaded for an architecture that is refused."""
    if name.startswith("hf-hub:"):
        return
    with torch.device("meta"):
        build_tower(create_random(name, device="meta").visual)


def create_tokenizer(name: str) -> Any:
    """open_clip's tokenizer; a relative `bpe_path` in a folder's configuration is relative to the folder."""
    if name != "toy" and not name.startswith("local-dir:"):
        return open_clip.get_tokenizer(name.replace("/", "-") if not name.startswith("hf-hub:") else name)
    folder = TOY_FOLDER if name == "toy" else Path(name.removeprefix("local-dir:"))
    text = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    merges = text.get("tokenizer_kwargs", {}).get("bpe_path")
    options = {} if merges is None else {"bpe_path": str(folder / merges)}
    return open_clip.get_tokenizer(f"local-dir:{folder}", **options)


def first_line(error: BaseException) -> str:
    """What an error says first, short enough for a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300].rsplit(" ", 1)[0] + " ..."
