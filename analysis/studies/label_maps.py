"""Label maps of single images of a study, made again when they are asked for: predicted, true, and where they differ.

drawer = LabelDrawer(open_study("out/voc"), "clip_surgery")
found = drawer.label_map(7)                 # .labels, .truth: numbers of drawer.names; .wrong: bool (H, W)
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from analysis.evaluation.confusion import IGNORE
from analysis.studies.classes import SEGMENTATION
from analysis.studies.engine import Engine
from analysis.studies.measures.segmentation import Segmentation
from analysis.studies.reader import StudyFolder


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """One image, segmented.

    Attributes:
        index: number of the image; name: as in the data set.
        rgb: uint8 (H, W, 3), the image.
        labels: int64 (H, W), predicted class; truth: the true one, 255 where it does not count.
        names: of the classes.
    """

    index: int
    name: str
    rgb: np.ndarray
    labels: np.ndarray
    truth: np.ndarray
    names: tuple[str, ...]

    @property
    def wrong(self) -> np.ndarray:
        """Bool (H, W): the prediction counts, and is another class than the true one."""
        return (self.truth != IGNORE) & (self.labels != self.truth)


class LabelDrawer:
    """What makes label maps of one method of a study: its model, its data set and its protocol.

    Attributes:
        names: of the classes.
    """

    def __init__(self, folder: StudyFolder, method: str, device: str = "auto") -> None:
        """Loads the model and opens the data set.

        Raises:
            ValueError: the study lacks the measure "segmentation" or the method.
            OSError: weights or images are not on this machine.
        """
        study = folder.study
        if SEGMENTATION not in study.measures:
            raise ValueError(
                f"Expected a study with the measure {SEGMENTATION}, but it has {', '.join(study.measures)}"
            )
        if method not in study.methods:
            raise ValueError(f"Expected method to be one of {', '.join(study.methods)}, but got {method!r}")
        self._engine = Engine(replace(study, methods=(method,), measures=(SEGMENTATION,)), device)
        measure = self._engine.measures[SEGMENTATION]
        assert isinstance(measure, Segmentation)
        self._measure = measure
        self.names = measure.names

    @torch.inference_mode()
    def label_map(self, index: int) -> LabelMap | None:
        """The label map of an image of the study; None where it cannot be read or has no mask."""
        item = self._engine.read(index)
        if item.rgb is None or item.mask is None:
            return None
        ((_, _, labels),) = self._measure.iterate_labels(self._engine.batch_of([item]))
        truth = self._measure.truth_of(item).numpy()
        return LabelMap(index, item.name, item.image.numpy(), labels.cpu().numpy(), truth, self.names)
