"""The tensors of a TorchScript archive, read without running its code.

Such an archive is a zip: `data.pkl` holds the modules as nested attributes, `data/N` the bytes of storage N, and
`code/` the program, which is not touched. The pickle is read with an unpickler that imports nothing: classes of the
program become empty shells, and everything but tensors and numbers is refused.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgery.checkpoints.contents import GELU, QUICK_GELU, CheckpointError, Tensors

QUICK_GELU_CONSTANT = "1.702"
"""In the program of every model with QuickGELU, x * sigmoid(1.702 x)."""

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_torchscript(path: Path) -> tuple[Tensors, str | None]:
    """All tensors of the archive by the names that its `state_dict()` would have, and its activation where it tells.

    Raises:
        CheckpointError: the archive holds something that no scripted module does.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        with archive.open(f"{root}data.pkl") as file:
            try:
                module = _Reader(file, archive, root).load()
            except (pickle.UnpicklingError, KeyError, TypeError, AttributeError, RuntimeError) as error:
                raise CheckpointError(
                    f"Expected {path.name} to be a TorchScript archive of tensors and numbers, but got: {error}"
                ) from error
        activation = _activation(archive, f"{root}code/")
    return dict(_named_tensors(module, "")), activation


def _activation(archive: zipfile.ZipFile, folder: str) -> str | None:
    """Read from the text of the program: QuickGELU is written out there, GELU is called by its name."""
    names = [name for name in archive.namelist() if name.startswith(folder) and name.endswith(".py")]
    program = "\n".join(archive.read(name).decode("utf-8", "replace") for name in names)
    if QUICK_GELU_CONSTANT in program:
        return QUICK_GELU
    return GELU if "gelu(" in program else None


class _Shell:
    """Stands for an object of a class that is not known here: it only takes its attributes."""


class _StorageType:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _Reader(pickle.Unpickler):
    """Reads a scripted module; imports nothing and calls nothing but the functions below."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return type("Shell", (_Shell,), {})
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        known = _FUNCTIONS.get((module, name))
        if known is None:
            raise pickle.UnpicklingError(f"{module}.{name}, which is neither a tensor nor a number")
        return known

    def persistent_load(self, pid: Any) -> Tensor:
        _, storage, key, _, count = pid
        if key not in self._storages:
            raw = bytearray(self._archive.read(f"{self._root}data/{key}"))
            empty = torch.empty(0, dtype=storage.dtype)
            self._storages[key] = torch.frombuffer(raw, dtype=storage.dtype) if raw else empty
        found = self._storages[key]
        if len(found) < count:
            raise pickle.UnpicklingError(f"a storage of {len(found)} numbers where {count} are announced")
        return found


def _tensor(storage: Tensor, offset: int, shape: tuple, stride: tuple, *_: object) -> Tensor:
    return storage.as_strided(shape, stride, offset)


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data


def _values(values: object, *_: object) -> object:
    return values


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.jit._pickle", "restore_type_tag"): _values,
} | {("torch.jit._pickle", f"build_{kind}list"): _values for kind in ("int", "double", "bool", "tensor")}


def _named_tensors(module: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Shell):
            yield from _named_tensors(value, f"{prefix}{name}.")
