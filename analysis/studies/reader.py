"""Reading a study's folder: its state, rows of a measure by column and filter, images and what was wrong with them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from analysis.studies.folder import IMAGES, PARTS, Part, done_parts, part_name, parts_of, read_request
from analysis.studies.images import open_data
from analysis.studies.measure import MEASURES
from analysis.studies.study import Study
from data.datasets import Dataset


@dataclass(frozen=True, slots=True)
class StudyState:
    """How far a study is.

    Attributes:
        folder: where it is.
        images, done: number of images of the study, and of those that are measured or listed as unreadable.
        parts, done_parts: the same in parts.
        unreadable: number of images that could not be read; `StudyFolder.images` lists them.
    """

    folder: Path
    images: int
    done: int
    parts: int
    done_parts: int
    unreadable: int

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.done == self.images

    def __str__(self) -> str:
        text = f"{self.done} of {self.images} images are done, {self.done_parts} of {self.parts} parts"
        return f"{text}; {self.unreadable} could not be read" if self.unreadable else text


class StudyFolder:
    """A study on disk. Tables are read when asked for, and only the columns and parts that are.

    Attributes:
        path: the folder.
        request: study.json.
        study: what was asked for.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises FileNotFoundError or ValueError for a folder that holds no study."""
        self.path = Path(path)
        self.request = read_request(self.path)
        self.study = Study.from_json(self.request["study"])

    @property
    def images_total(self) -> int:
        """Number of images of the study."""
        return int(self.request["images"])

    @property
    def classes(self) -> dict[int, str]:
        """id -> name of the classes of the data set."""
        return {int(id): name for id, name in self.request["classes"].items()}

    @cached_property
    def parts(self) -> list[Part]:
        """The parts that are done, in order, as they were when first asked for."""
        return done_parts(self.path)

    @property
    def state(self) -> StudyState:
        """How far the study is."""
        everything = parts_of(self.images_total, int(self.request["part length"]))
        done = sum(stop - start for start, stop in self.parts)
        unreadable = done - len(self.readable_images()) if self.parts else 0
        return StudyState(self.path, self.images_total, done, len(everything), len(self.parts), unreadable)

    def readable_images(self) -> np.ndarray:
        """Numbers of the images that are done and could be read, ascending."""
        table = self._arrow(IMAGES, ["index", "text", "problem"])
        kept = table.column("text").is_null().to_numpy() & table.column("problem").is_null().to_numpy()
        return np.sort(table.column("index").to_numpy()[kept])

    def open_dataset(self) -> Dataset:
        """The data set, for thumbnails; raises what `open_data` raises where it is not on this machine."""
        return open_data(self.study.data, self.study.seed)

    def images(self, unreadable: bool | None = None) -> pd.DataFrame:
        """A row an image: index, name, problem (None where it could be read).

        Args:
            unreadable: only those with a problem (True) or without (False).
        """
        table = self._arrow(IMAGES, ["index", "name", "text", "problem"]).to_pandas()
        table = table[table["text"].isna()].drop(columns="text")
        if unreadable is not None:
            table = table[table["problem"].notna() == unreadable]
        return table.reset_index(drop=True)

    def left_out(self) -> pd.DataFrame:
        """Texts of images that were left out: index, name, text, problem; text is None for whole images."""
        table = self._arrow(IMAGES, ["index", "name", "text", "problem"]).to_pandas()
        return table[table["problem"].notna()].reset_index(drop=True)

    def columns(self, measure: str) -> tuple[str, ...]:
        """Names of the columns of a measure; empty before its first part is done."""
        self._check(measure)
        return tuple(self._schema(measure).names) if self.parts else ()

    def quantities(self, measure: str) -> tuple[str, ...]:
        """Names of the columns that hold one number a row."""
        self._check(measure)
        schema = self._schema(measure) if self.parts else []
        keys = {"index", *MEASURES[measure].keys}
        return tuple(field.name for field in schema if field.name not in keys and pa.types.is_floating(field.type))

    def table(
        self,
        measure: str,
        columns: Sequence[str] | None = None,
        where: Mapping[str, object] | None = None,
        images: Collection[int] | None = None,
        names: bool = False,
    ) -> pd.DataFrame:
        """Rows of a measure, in order of the images.

        Args:
            measure: one of the study's.
            columns: which to read; None reads all. "index" is the number of the image in the data set.
            where: column -> value, or list of values, that rows must have.
            images: numbers of the images; only the parts that hold them are opened.
            names: put the name of the image before the other columns.

        Raises:
            ValueError: a measure or column that the study does not have.
        """
        self._check(measure)
        if not self.parts:
            return pd.DataFrame(columns=list(columns or ()))
        table = self._arrow(measure, columns, where, images).to_pandas()
        if names:
            known = self.images().set_index("index")["name"]
            table.insert(0, "image", table["index"].map(known))
        return table

    def iterate(
        self, measure: str, columns: Sequence[str] | None = None, where: Mapping[str, object] | None = None
    ) -> Iterator[pa.Table]:
        """The same part by part, in order, as Arrow tables: memory stays that of a part."""
        self._check(measure)
        for part in self.parts:
            path = self._file(measure, part)
            if path.exists():
                found = pq.read_table(path, columns=None if columns is None else list(columns), filters=_filter(where))
                yield found

    def _arrow(
        self,
        measure: str,
        columns: Sequence[str] | None = None,
        where: Mapping[str, object] | None = None,
        images: Collection[int] | None = None,
    ) -> pa.Table:
        schema = self._schema(measure)
        unknown = [name for name in (*(columns or ()), *(where or ())) if name not in schema.names]
        if unknown:
            raise ValueError(f"Expected columns to be among {', '.join(schema.names)}, but got {', '.join(unknown)}")
        wanted = None if images is None else np.unique(np.fromiter(images, np.int64))
        parts = self.parts if wanted is None else [part for part in self.parts if _holds(part, wanted)]
        files = [str(path) for part in parts if (path := self._file(measure, part)).exists()]
        rule = _filter(where)
        if wanted is not None:
            inside = ds.field("index").isin(pa.array(wanted, pa.int32()))
            rule = inside if rule is None else rule & inside
        data = ds.dataset(files, schema=schema, format="parquet")
        return data.to_table(columns=None if columns is None else list(columns), filter=rule)

    def _schema(self, measure: str) -> pa.Schema:
        for part in self.parts:
            path = self._file(measure, part)
            if path.exists():
                return pq.read_schema(path)
        return pa.schema([])

    def _file(self, measure: str, part: Part) -> Path:
        return self.path / PARTS / part_name(part) / f"{measure}.parquet"

    def _check(self, measure: str) -> None:
        if measure not in self.study.measures:
            choices = ", ".join(self.study.measures)
            raise ValueError(f"Expected measure to be one of {choices}, which this study has, but got {measure!r}")


def open_study(folder: str | Path) -> StudyFolder:
    """A study's folder, for reading; it may still be growing.

    Raises:
        FileNotFoundError: no study there.
        ValueError: study.json is damaged or of another version.
    """
    return StudyFolder(folder)


def _holds(part: Part, wanted: np.ndarray) -> bool:
    return bool(np.searchsorted(wanted, part[1]) > np.searchsorted(wanted, part[0]))


def _filter(where: Mapping[str, object] | None) -> "ds.Expression | None":
    rule = None
    for column, value in (where or {}).items():
        values = list(value) if isinstance(value, list | tuple | set | frozenset | np.ndarray) else [value]
        one = ds.field(column).isin(values)
        rule = one if rule is None else rule & one
    return rule
