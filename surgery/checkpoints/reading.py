"""A file -> what was saved in it. Formats are told by the first bytes, and no pickle is ever run."""

import pickle
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from surgery.checkpoints.contents import CheckpointError, Saved
from surgery.checkpoints.torchscript import read_torchscript

HEAD_BYTES = 512
_SIGNATURES = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the weights themselves; run git lfs pull in its folder"),
    (b"GGUF", "a GGUF file of llama.cpp; take the .safetensors that it was made from"),
    (b"\x89HDF", "an HDF5 file of Keras or TensorFlow; take the PyTorch or safetensors version"),
    (b"\x93NUMPY", "a NumPy array; take the PyTorch or safetensors version"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"{", "JSON text, not weights"),
)
_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")

CONVERSION = """
    import torch; from safetensors.torch import save_file
    state = torch.load({path!r}, map_location="cpu", weights_only=False)
    save_file({{k: v.contiguous().clone() for k, v in state.get("state_dict", state).items()}}, {target!r})"""


def read_file(path: Path) -> Saved:
    """What a file holds.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: it holds no tensors, or needs pickle, or is damaged; the message says what it is.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected pretrained to be a file, but found none at {path}")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    _refuse_foreign(path, head)
    if _is_safetensors(head):
        return _read_safetensors(path)
    if head.startswith(b"PK"):
        return _read_zip(path)
    return _read_pickle(path)


def _refuse_foreign(path: Path, head: bytes) -> None:
    """Refuses what is no checkpoint, by its first bytes."""
    what = next((words for start, words in _SIGNATURES if head.startswith(start)), None)
    if not head:
        what = "an empty file; copy or download it again"
    elif not head.strip(b"\0"):
        what = "a file that begins with zeros, a damaged copy or download; fetch it again"
    elif head.lstrip().lower().startswith(_PAGE_STARTS):
        what = "a web page, such as a sign-in or error page; download the file itself"
    if what:
        raise CheckpointError(f"Expected {path.name} to be a checkpoint, but got {what}")


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of header length, then JSON."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


def _read_safetensors(path: Path) -> Saved:
    try:
        return Saved(load_file(path), "a safetensors file")
    except (SafetensorError, ValueError) as error:
        header = int.from_bytes(path.open("rb").read(8), "little")
        size = path.stat().st_size
        cut = f", {size} bytes, cut short" if "Incomplete" in str(error) or size < header + 8 else ""
        raise CheckpointError(
            f"Expected {path.name} to be a whole safetensors file, but got a damaged one{cut} ({error}); "
            "copy or download it again"
        ) from error


def _read_zip(path: Path) -> Saved:
    """A zip of `torch.save` or of TorchScript; both hold `data.pkl`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"Expected {path.name} to be a whole PyTorch file, but got one that is cut short or damaged; "
            "copy or download it again"
        ) from error
    if any(name.endswith(".npy") for name in names):
        raise CheckpointError(f"Expected {path.name} to be a checkpoint, but got NumPy arrays (a .npz of big_vision)")
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(f"Expected {path.name} to be a checkpoint, but got a zip archive of other files")
    if any(name.endswith("/constants.pkl") for name in names):
        tensors, activation = read_torchscript(path)
        return Saved(tensors, "a TorchScript archive", activation)
    return _read_pickle(path)


def _read_pickle(path: Path) -> Saved:
    with path.open("rb") as file:
        if file.read(1) not in (b"P", b"\x80"):
            raise CheckpointError(
                f"Expected {path.name} to be a checkpoint (safetensors, PyTorch or TorchScript), but got another kind"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols
            return Saved(torch.load(path, map_location="cpu", weights_only=True), "a PyTorch file")
    except (pickle.UnpicklingError, EOFError, ModuleNotFoundError) as error:
        target = str(path.with_suffix(".safetensors"))
        raise CheckpointError(
            f"Expected {path.name} to hold tensors only, but reading it needs pickle, which can run code. "
            f"Where you trust it, convert it in Python:{CONVERSION.format(path=str(path), target=target)}"
        ) from error
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        raise CheckpointError(
            f"Expected {path.name} to be a whole PyTorch file, but got: {' '.join(str(error).split())[:200]}"
        ) from error
