"""Rows of a measure as an Arrow table: one copy from the device for each kind of number, small types, shared texts."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from analysis.studies.measure import Column, Rows


def fetch(rows: Mapping[str, Rows]) -> dict[str, dict[str, Column]]:
    """Tensors of all measures brought to the CPU as arrays, in one copy for each dtype."""
    places = [(name, key) for name, columns in rows.items() for key, value in columns.items() if torch.is_tensor(value)]
    groups: dict[torch.dtype, list[tuple[str, str]]] = {}
    for name, key in places:
        groups.setdefault(rows[name][key].dtype, []).append((name, key))
    fetched: dict[tuple[str, str], np.ndarray] = {}
    for members in groups.values():
        tensors = [rows[name][key] for name, key in members]
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu().numpy()
        parts = np.split(flat, np.cumsum([tensor.numel() for tensor in tensors])[:-1])
        fetched |= {place: part.reshape(t.shape) for place, part, t in zip(members, parts, tensors, strict=True)}
    return {
        name: {key: fetched.get((name, key), value) for key, value in columns.items()} for name, columns in rows.items()
    }


def to_table(rows: Mapping[str, Column]) -> pa.Table:
    """Columns as Arrow: floats of 32 bits, the image's number of 32, texts as a dictionary, (rows, n) as lists."""
    return pa.table({name: _column(name, values) for name, values in rows.items()})


def _column(name: str, values: Column) -> pa.Array:
    if isinstance(values, Tensor):
        raise TypeError(f"Expected column {name} to be on the CPU, but got a tensor")
    if not isinstance(values, np.ndarray):
        return _texts(values)
    if name == "index":
        return pa.array(values.astype(np.int32))
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    if values.ndim == 1:
        # NaN means that there is no such value, which Parquet and pandas know as null.
        return pa.array(values, from_pandas=values.dtype.kind == "f")
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _texts(values: Sequence[str | None]) -> pa.Array:
    if any(isinstance(value, list | tuple) for value in values):
        return pa.array(values, pa.list_(pa.string()))
    return pa.array(values, pa.string()).dictionary_encode()


def join(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of several; dictionaries are unified."""
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()
