"""`run_part(engine, part)`: images in, tables out. The same on this machine, in any process and on a cluster."""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from analysis.studies.batch import Batch, TextBank
from analysis.studies.folder import IMAGES, Part
from analysis.studies.images import Item, Reader, image_names, iterate_items, open_data
from analysis.studies.measure import MEASURES, Measure
from analysis.studies.study import Study
from analysis.studies.tables import fetch, join, to_table
from data.datasets import Dataset
from surgery import Model, RandomWeightsWarning, load_model
from surgery.dense import fit_method
from surgery.memory import is_out_of_memory

RANDOM_SEED = 0
"""Of random weights, so that every process has the same."""

Tables = dict[str, pa.Table]


class Engine:
    """A study with its model and data set open: everything that computing a part needs.

    Attributes:
        study, model, dataset: what is measured, by what, on what.
        measures: by name.
        images: number of images.
        say: called with one line when something is worth saying.
    """

    def __init__(self, study: Study, device: str = "auto", say: Callable[[str], None] | None = None) -> None:
        """Loads the model and opens the data set.

        Raises:
            ValueError: something of the study has no meaning for this model or these images.
            OSError: weights or files are missing.
        """
        self.study, self.say = study, say or (lambda line: None)
        self.dataset: Dataset = open_data(study.data, study.seed)
        self.images = len(self.dataset) if study.limit is None else min(len(self.dataset), study.limit)
        self.model = load_study_model(study, device)
        tower = self.model.tower
        self.methods = {name: fit_method(tower, method) for name, method in study.parsed_methods.items()}
        self.measures: dict[str, Measure] = {
            name: MEASURES[name](study, self.model, self.dataset) for name in study.measures
        }
        self.size_px = self.model.pixel_size(study.size)
        self._bank = TextBank(self.model, study.templates)
        self._size = study.batch  # halved where memory does not suffice
        needs = [measure.needs for measure in self.measures.values()]
        blocks = max((method.reach for method in self.methods.values()), default=1)
        self._heads = any(need.heads for need in needs)
        self._keep = None if any(need.blocks == "all" for need in needs) else blocks
        self._reader = Reader(
            self.dataset,
            self.size_px,
            tower.grid_for(self.size_px),
            study.texts,
            masks=any(need.masks for need in needs),
            images=any(need.images for need in needs),
        )

    def fingerprints(self) -> dict[str, str]:
        """What results depend on besides the study itself."""
        names = image_names(self.dataset)[: self.images]
        classes = json.dumps(sorted(self.dataset.classes.items()))
        return {
            "weights": weights_fingerprint(self.model),
            "images": hashlib.sha256("\n".join(names).encode()).hexdigest(),
            "classes": hashlib.sha256(classes.encode()).hexdigest(),
            "number of images": str(self.images),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def batches(self, part: Part) -> list[range]:
        """The batches of a part; none crosses its border."""
        start, stop = part
        return [range(first, min(first + self.study.batch, stop)) for first in range(start, stop, self.study.batch)]

    def iterate(self, parts: Sequence[Part], workers: int = 0) -> Iterator["Step"]:
        """Computes parts one after the other; worker processes read ahead across their borders.

        Yields:
            A step a batch; that of the last batch of a part carries its tables.
        """
        batches = {part: self.batches(part) for part in parts}
        items = iterate_items(self._reader, [batch for own in batches.values() for batch in own], workers)
        for part, own in batches.items():
            collected: list[Tables] = []
            for number, batch in enumerate(own):
                asked = time.perf_counter()
                read = next(items)
                waited = time.perf_counter() - asked
                collected.append(self.measure(read))
                last = number == len(own) - 1
                yield Step(part, len(batch), waited, _joined(collected) if last else None)

    def measure(self, items: Sequence[Item]) -> Tables:
        """The tables of some images."""
        readable = [item for item in items if item.rgb is not None]
        tables = [self._halving(readable[n : n + self._size]) for n in range(0, len(readable), self._size)]
        return {**(_joined(tables) if tables else {}), IMAGES: _images_table(items)}

    def _halving(self, items: Sequence[Item]) -> Tables:
        """Measures a batch, in halves where memory does not suffice; smaller batches then stay."""
        try:
            return self._measure(items)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(items) == 1:
                raise MemoryError(
                    f"Expected one image at {self.size_px[0]} x {self.size_px[1]} pixels to fit into memory, but got: "
                    f"{str(error).splitlines()[0]}. A smaller size or fewer methods and texts need less"
                ) from error
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        half = -(-len(items) // 2)
        if half < self._size:
            self._size = half
            self.say(f"Memory did not suffice for {len(items)} images at once; going on with {half}")
        return _joined([self._halving(items[:half]), self._halving(items[half:])])

    def read(self, index: int) -> Item:
        """One image as the measures get it; `Item.rgb` is None where it cannot be read."""
        return self._reader[index]

    def batch_of(self, items: Sequence[Item]) -> Batch:
        """Readable images as the measures get them."""
        return Batch(self.model, items, self.methods, self._bank, self._keep, self._heads)

    @torch.inference_mode()
    def _measure(self, items: Sequence[Item]) -> Tables:
        batch = self.batch_of(items)
        rows = {name: measure.measure(batch) for name, measure in self.measures.items()}
        return {name: to_table(columns) for name, columns in fetch(rows).items()}


@dataclass(frozen=True, slots=True)
class Step:
    """One batch is done.

    Attributes:
        part: to which it belongs.
        images: how many it had.
        waited: seconds until they were read.
        tables: of the whole part, with its last batch.
    """

    part: Part
    images: int
    waited: float
    tables: Tables | None


def run_part(engine: Engine, part: Part) -> Tables:
    """The tables of one part, by the names of the measures, and "images"."""
    return next(step.tables for step in engine.iterate([part]) if step.tables is not None)


def usable_measures(study: Study, device: str = "auto") -> tuple[tuple[str, ...], dict[str, str]]:
    """All measures that have a meaning for the model and the images of a study, and why the others have none.

    Measures that are dear are only run where they are named.
    """
    model, dataset = load_study_model(study, device), open_data(study.data, study.seed)
    usable, refused = [], {}
    for name, measure in MEASURES.items():
        try:
            if not measure.dear:
                measure(study, model, dataset)
                usable.append(name)
        except ValueError as error:
            refused[name] = str(error)
    return tuple(usable), refused


def load_study_model(study: Study, device: str = "auto") -> Model:
    """The model of a study; random weights are the same in every process."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        torch.manual_seed(RANDOM_SEED)
        return load_model(study.model, study.pretrained, device=device, precision=study.precision)


def weights_fingerprint(model: Model) -> str:
    """SHA-256 of names, shapes and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.clip.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _joined(tables: Sequence[Tables]) -> Tables:
    names = dict.fromkeys(name for part in tables for name in part)
    return {name: join([part[name] for part in tables if name in part]) for name in names}


def _images_table(items: Sequence[Item]) -> pa.Table:
    """A row an image, and one more for each text of it that was left out."""
    rows: list[tuple[int, str, str | None, str | None]] = []
    for item in items:
        whole = [reason for text, reason in item.problems if text is None]
        rows.append((item.index, item.name, None, whole[0] if whole else None))
        rows += [(item.index, item.name, text, reason) for text, reason in item.problems if text is not None]
    index, name, text, problem = zip(*rows, strict=True)
    columns = {"name": name, "text": text, "problem": problem}
    return pa.table(
        {"index": pa.array(np.array(index, np.int32))} | {k: pa.array(v, pa.string()) for k, v in columns.items()}
    )
