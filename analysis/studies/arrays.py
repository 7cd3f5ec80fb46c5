"""Columns of a study's tables as arrays."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from analysis.studies.reader import StudyFolder


def column_values(table: pa.Table, name: str) -> np.ndarray:
    """A column of numbers, NaN where it is null."""
    return table.column(name).to_numpy()


def group_rows(table: pa.Table, keys: Sequence[str]) -> Iterator[tuple[tuple[object, ...], np.ndarray]]:
    """Values of the keys, and the rows that have them, in order of appearance."""
    if not keys:
        yield (), np.arange(table.num_rows)
        return
    columns = [table.column(key).to_pandas() for key in keys]
    codes, uniques = pd.MultiIndex.from_arrays(columns).factorize()
    order = np.argsort(codes, kind="stable")
    borders = np.searchsorted(codes[order], np.arange(len(uniques) + 1))
    for number, key in enumerate(uniques):
        yield tuple(key), order[borders[number] : borders[number + 1]]


def list_values(table: pa.Table, name: str) -> np.ndarray:
    """A column of lists of one length, (rows, n)."""
    column = table.column(name).combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def study_arrays(folder: "StudyFolder", measure: str, columns: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Whole columns of a measure, lists as (rows, n) and texts as objects; None without a row."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    for table in folder.iterate(measure, columns):
        for name in columns:
            kind = table.schema.field(name).type
            if pa.types.is_fixed_size_list(kind):
                parts[name].append(list_values(table, name))
            else:
                parts[name].append(table.column(name).to_pandas().astype(object if _is_text(kind) else None).to_numpy())
    found = {name: np.concatenate(own) for name, own in parts.items() if own}
    return found if found and len(found[columns[0]]) else None


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or pa.types.is_string(kind)
