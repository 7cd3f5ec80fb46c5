"""The maps themselves, where their objects are, and the image's own feature: what a page needs to show a collection."""

import numpy as np
import torch
import torch.nn.functional as F

from analysis.studies.batch import Batch
from analysis.studies.measure import Measure, Rows, register


@register
class Pictures(Measure):
    """The map of every text as cosines, a number of 16 bits a patch, and size and place of its region.

    Columns: `map` (gh * gw), `area` (share of all patches that are foreground), `row` and `column` (mean place of the
    foreground, from 0 at the top left to 1); NaN without region.
    """

    name = "pictures"
    about = "the maps themselves, with size and place of their objects"

    def measure(self, batch: Batch) -> Rows:
        targets, (gh, gw) = batch.targets, batch.trace.grid
        rows, columns = torch.meshgrid(_middles(gh, batch), _middles(gw, batch), indexing="ij")
        places = {
            "row": targets.mean(rows.flatten(), "foreground"),
            "column": targets.mean(columns.flatten(), "foreground"),
        }
        area = targets.foreground.float().mean(dim=-1)
        places["area"] = torch.where(targets.has_region, area, torch.nan)
        maps = [batch.pick(batch.similarity(name).patches) for name in batch.methods]
        count = len(maps)
        return {
            "index": np.tile(targets.index, count),
            "text": list(targets.names) * count,
            "method": [name for name in batch.methods for _ in targets.names],
            **{name: values.repeat(count) for name, values in places.items()},
            "map": torch.cat(maps).half(),
        }


def _middles(side: int, batch: Batch) -> torch.Tensor:
    return (torch.arange(side, device=batch.pixels.device) + 0.5) / side


@register
class Features(Measure):
    """One row an image: its own unit feature, for layouts of a collection and for neighbours."""

    name = "features"
    about = "the image's own feature"
    keys = ()

    def measure(self, batch: Batch) -> Rows:
        unit = F.normalize(batch.original.cls.float(), dim=-1)
        return {"index": batch.indices, "text": [None] * len(batch.items), "feature": unit.half()}
