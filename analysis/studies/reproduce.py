"""A published row measured again: a study for every data set by its preset, and both figures side by side."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.evaluation.presets import COMMON, DATA_SETS, PROTOCOLS, assumptions, check_preset
from analysis.evaluation.protocols import describe_method
from analysis.evaluation.published import SOURCES, Published, published
from analysis.studies.protocols import MAPS
from analysis.studies.reader import StudyFolder, StudyState
from analysis.studies.run import run_study
from analysis.studies.study import Study
from analysis.studies.summary import summarise_study
from data.registry import KINDS
from surgery import METHODS, TITLES, Method
from surgery.method_names import parse_method
from surgery.methods import get_method

OPENAI = "openai"
BATCH = 4
IN_ONE = (COMMON, "clearclip")
"""Names of the one protocol in which several methods were printed, ClearCLIP's."""
Runner = Callable[[Study, Path], StudyState]


@dataclass(frozen=True, slots=True)
class Measured:
    """Segmentation figures of one method on one data set, in percent.

    Attributes:
        miou: as mmseg counts: a class that is only predicted counts 0.
        low, high: 95 % interval of `miou` over images; NaN for a single image.
        miou_present: over the classes that occur in the masks.
        images: how many.
        protocol: the whole protocol in one line.
    """

    miou: float
    low: float
    high: float
    miou_present: float
    images: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Row:
    """One figure measured again.

    Attributes:
        method: name as in `analysis.evaluation.PROTOCOLS`; with the common protocol, of `surgery.METHODS`.
        data_set: name.
        measured: what was measured; None where the data set is not there.
        published: the printed figure of this architecture; None where there is none.
        notes: what was assumed, where paper and repository differ, or why nothing was measured.
    """

    method: str
    data_set: str
    measured: Measured | None
    published: Published | None
    notes: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Measured minus published, in points."""
        if self.measured is None or self.published is None:
            return None
        return self.measured.miou - self.published.miou


def reproduce(
    method: str,
    root: str | Path,
    folder: str | Path,
    data_sets: Sequence[str] = DATA_SETS,
    *,
    model: str = "ViT-B-16",
    pretrained: str | None = OPENAI,
    methods: Sequence[str] = tuple(METHODS),
    limit: int | None = None,
    precision: str = "fp32",
    run: Runner = run_study,
) -> Iterator[Row]:
    """Rows of a published table, one data set after the other.

    Args:
        method: of `analysis.evaluation.presets.METHOD_NAMES`; "common" is all methods in one protocol.
        root: folder below which the data sets lie, each as it was downloaded.
        folder: keeps a study for each data set; the same call goes on with what is missing.
        data_sets: of `analysis.evaluation.presets.DATA_SETS`.
        model, pretrained, precision: as in `surgery.load_model`; figures were published with OpenAI's weights.
        methods: those of "common".
        limit: first images of each data set only; None for all.
        run: runs a study in a folder, `analysis.studies.run_study` or the same with a bar.

    Raises:
        ValueError: no such method or data set, a method without meaning for the tower, or a folder with other studies.
    """
    for data_set in data_sets:
        check_preset(method, data_set)
    for data_set in data_sets:
        missing = next(KINDS[data_set].missing(root), None)
        if missing is not None:
            yield Row(method, data_set, None, None, (f"not measured: {missing}",))
            continue
        study = Study(
            model=model,
            pretrained=pretrained,
            data=f"{data_set}:{Path(root).resolve()}",
            methods=_methods(method, data_set, methods),
            measures=("segmentation",),
            limit=limit,
            batch=BATCH,
            precision=precision,
            protocol=f"{method}:{data_set}",
        )
        run(study, Path(folder) / data_set)
        yield from measured_rows(StudyFolder(Path(folder) / data_set))


def _methods(method: str, data_set: str, methods: Sequence[str]) -> tuple[str | Method, ...]:
    return tuple(methods) if method == COMMON else (PROTOCOLS[method, data_set].method,)


def measured_rows(folder: StudyFolder) -> Iterator[Row]:
    """A row a method of a finished or growing study with the measure "segmentation".

    The published figure is that of the study's protocol on its own data set, and there is none for the protocol "maps".
    """
    study = folder.study
    if study.protocol == MAPS:
        yield from _rows(folder, lambda name: protocol_of_maps(folder, name), None, None)
        return
    method, _, data_set = study.protocol.partition(":")
    own = data_set if folder.request["data set"] == data_set else None
    protocol = PROTOCOLS[method, data_set]
    yield from _rows(folder, lambda name: str(replace(protocol, method=parse_method(name))), method, own)


def protocol_of_maps(folder: StudyFolder, method: str) -> str:
    """The protocol "maps" in one line."""
    height, width = folder.request["input size px"]
    return (
        f"{describe_method(parse_method(method))}; one pass at {height} x {width}, maps enlarged bilinearly, arg-max "
        f"over the classes, background left out; templates {folder.study.templates}"
    )


def _rows(
    folder: StudyFolder, protocol: Callable[[str], str], method: str | None, data_set: str | None
) -> Iterator[Row]:
    """Rows of a study; method and data set are those of the preset, None where there is no published figure."""
    study, state = folder.study, folder.state
    shown_set = data_set or str(folder.request["data set"])
    table = summarise_study(folder.path, measures=["segmentation"])["segmentation"].set_index(["method", "quantity"])
    for name in study.methods:
        if (name, "miou") not in table.index:
            yield Row(name, shown_set, None, None, ("not measured: no image could be read",))
            continue
        mean, present = table.loc[(name, "miou")], table.loc[(name, "miou_present")]
        measured = Measured(
            miou=100 * float(mean["mean"]),
            low=100 * float(mean["low"]),
            high=100 * float(mean["high"]),
            miou_present=100 * float(present["mean"]),
            images=int(mean["images"]),
            protocol=protocol(name),
        )
        preset = _preset_of(name, method)
        printed = None
        if preset is not None and data_set is not None:
            printed = published(preset, study.model, data_set, common=method in IN_ONE)
        notes = _notes(study, method, data_set, printed, state) if preset is not None else _limits(study, state)
        yield Row(preset or name, shown_set, measured, printed, tuple(notes))


def _preset_of(name: str, method: str | None) -> str | None:
    """The name of a study's method in the published tables; None for one that the protocol was not printed with."""
    if method is None or method in IN_ONE:
        return method and name
    presets = (PROTOCOLS[method, data_set].method for data_set in DATA_SETS)
    return method if any(get_method(preset) == parse_method(name) for preset in presets) else None


def _notes(
    study: Study, method: str, data_set: str | None, printed: Published | None, state: StudyState
) -> tuple[str, ...]:
    notes = [] if data_set is None else [f"assumed: {what}" for what in assumptions(method, data_set)]
    if printed is not None:
        notes += [f"published: {SOURCES[printed.source]}", *filter(None, [printed.note])]
        if study.pretrained != OPENAI:
            weights = study.pretrained or "the model's own weights"
            notes.append(f"published with OpenAI's weights, measured with {weights}")
    return (*notes, *_limits(study, state))


def _limits(study: Study, state: StudyState) -> Iterator[str]:
    if study.limit is not None:
        yield f"the first {state.images} images only: not comparable with the published figure"
    if state.unreadable:
        yield f"{state.unreadable} images could not be read and are left out"


def rows_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table: method, data set, miou, low, high, present, images, published, difference, protocol, notes."""
    lines = []
    for row in rows:
        m, printed = row.measured, row.published
        figures = (np.nan,) * 4 if m is None else (m.miou, m.low, m.high, m.miou_present)
        images, protocol = (0, "") if m is None else (m.images, m.protocol)
        beside = (np.nan if printed is None else printed.miou, np.nan if row.difference is None else row.difference)
        lines.append((row.method, row.data_set, *figures, images, *beside, protocol, "; ".join(row.notes)))
    names = ["method", "data set", "miou", "low", "high", "present", "images", "published", "difference"]
    return pd.DataFrame(lines, columns=[*names, "protocol", "notes"])


def table_of(rows: Iterable[Row]) -> str:
    """Rows as Markdown: published, measured, difference; then a line of protocol and notes for each."""
    rows = list(rows)
    lines = [
        "| method | data set | published | measured (95 %) | difference | classes present | images |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        printed = "–" if row.published is None else f"{row.published.miou:g}"
        cells = ["–", "–", "–", "–"]
        if (m := row.measured) is not None:
            difference = "–" if row.difference is None else f"{row.difference:+.2f}"
            around = "" if m.low != m.low else f" ({m.low:.1f} to {m.high:.1f})"
            cells = [f"{m.miou:.2f}{around}", difference, f"{m.miou_present:.2f}", str(m.images)]
        lines.append(f"| {title_of(row.method)} | {row.data_set} | {printed} | {' | '.join(cells)} |")
    lines.append("")
    for row in rows:
        protocol = [] if row.measured is None else [row.measured.protocol]
        lines.append(f"- {title_of(row.method)}, {row.data_set}: {'; '.join((*protocol, *row.notes))}")
    return "\n".join(lines)


def title_of(method: str) -> str:
    """How a method of the presets is written.

    >>> title_of("naclip_pamr")
    'NACLIP with PAMR'
    """
    titles: Mapping[str, str] = {**TITLES, "naclip_pamr": "NACLIP with PAMR", COMMON: "all, in one protocol"}
    return titles.get(method, method)
