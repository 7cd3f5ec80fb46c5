"""What a measure is: what it needs, a batch in, rows out. It knows nothing of files, progress or machines.

A new measure is one class in one file of `analysis.studies.measures`, under the decorator `register`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor

from data.datasets import is_background

if TYPE_CHECKING:
    import pandas as pd

    from analysis.studies.batch import Batch
    from analysis.studies.reader import StudyFolder
    from analysis.studies.study import Study
    from data.datasets import Dataset
    from surgery import Model

PROBES = 50
"""Samples that are asked whether they have masks and captions; none is decoded."""

Column = Tensor | np.ndarray | Sequence[str | None]
Rows = Mapping[str, Column]
"""Columns of one length: tensors (rows,) or (rows, n), arrays, or lists of texts. "index" is the image's number."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a measure needs.

    Attributes:
        blocks: "all" blocks of the pass, or those that the "methods" walk.
        heads: what every head of the pass gave.
        masks: the label mask at image size.
        images: the image itself, at its own size.
        regions: a data set with masks.
        captions: a data set with captions.
    """

    blocks: str = "methods"
    heads: bool = False
    masks: bool = False
    images: bool = False
    regions: bool = False
    captions: bool = False


class Measure(ABC):
    """One measure of one study.

    Attributes:
        name: in `Study.measures`, and of its files.
        about: one line for lists.
        keys: columns that tell the rows of one image apart, besides "text"; summaries have a group for each of their
            values.
        needs: see `Needs`.
        dear: whether it costs more than most others together, so that it is run only where it is named.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    keys: ClassVar[tuple[str, ...]] = ("method",)
    needs: ClassVar[Needs] = Needs()
    dear: ClassVar[bool] = False

    def __init__(self, study: "Study", model: "Model", dataset: "Dataset") -> None:
        """Raises ValueError for a study, a tower or a data set in which the measure has no meaning."""
        self.study, self.model, self.dataset = study, model, dataset
        probed = [dataset[index] for index in range(0, len(dataset), max(1, len(dataset) // PROBES))]
        for needed, what, there in (
            (self.needs.regions, "label masks", any(sample.has_mask for sample in probed)),
            (self.needs.captions, "captions", any(sample.captions for sample in probed)),
        ):
            if needed and not there:
                raise ValueError(
                    f"Expected images with {what} for the measure {self.name}, but {dataset.name} has none"
                )

    @property
    def texts(self) -> tuple[str, ...]:
        """What the study looks for: its texts, or all classes of the data set but the background."""
        if self.study.texts is not None:
            return self.study.texts
        names = (name for id, name in self.dataset.classes.items() if not is_background(id, name))
        return tuple(dict.fromkeys(names))

    @abstractmethod
    def measure(self, batch: "Batch") -> Rows:
        """The rows of a batch, by image."""

    @classmethod
    def derive(cls, folder: "StudyFolder", resamples: int) -> "pd.DataFrame | None":
        """Figures of the whole data set that are no means over rows, in the columns of a summary; None without any."""
        return None


MEASURES: dict[str, type[Measure]] = {}


def register(measure: type[Measure]) -> type[Measure]:
    """Makes a measure known under its name."""
    MEASURES[measure.name] = measure
    return measure
