"""What stands under a map, and what a click on a map means: the same on every page."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis import Region, contrast, flip_auc
from analysis.numerals import auc, signed
from dashboard import events, state


def region_note(values: np.ndarray, region: Region | None) -> str:
    """What stands under a map: contrast and flip AUC where there is a region, else the mean.

    Args:
        values: (gh, gw).
        region: of the same grid.
    """
    if region is None:
        return f"mean {signed(values.mean())}"
    return f"contrast {signed(contrast(values, region))}\nAUC {auc(flip_auc(values, region))}"


def take_patch(event: Mapping[str, Any], grid: tuple[int, int]) -> None:
    """A clicked patch of a map view becomes the case's; other events are left alone."""
    patch = events.picked_patch(event, grid)
    if patch is not None:
        state.update(patch=patch)
