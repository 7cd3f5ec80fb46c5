"""What a pin shows, computed again from the caches: its map, its figures over its region, and a thumbnail.

found = pinned_map(pin)       # `PinnedMap`; raises where its weights or its image are not here
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from analysis.flips import MethodReading, judge_map
from analysis.regions import Region
from dashboard import catalogue, services, state
from dashboard.case import Case, Pin, case_of_pin
from dashboard.figures import shared_limit
from dashboard.keys import ModelKey
from dashboard.overview import lay_over
from dashboard.pins import bare
from surgery import Method

THUMBNAIL_PX = 72


@dataclass(frozen=True, slots=True, eq=False)
class PinnedMap:
    """The map of a pin.

    Attributes:
        values: (gh, gw) float32.
        unit: "cosine" or "feature surgery".
        method: as the tower carried it out.
        region: on the grid of the map; None for none.
        reading: contrast, flip AUC and interval over the region; None without one.
        thumbnail: the map over the grey photograph as a data address.
    """

    values: np.ndarray
    unit: str
    method: Method
    region: Region | None
    reading: MethodReading | None
    thumbnail: str


def pinned_map(pin: Pin) -> PinnedMap:
    """What a pin shows.

    Raises:
        DownloadNeeded: its weights are not on this machine.
        MissingImage: its uploaded image is not here, or not any more.
        ValueError, OSError: its model, image, region or method cannot be.
    """
    case = ready_case(pin)
    return _pinned_map(bare(pin), services.model_key(case), case)


def ready_case(pin: Pin) -> Case:
    """The case of a pin, whose weights and image are here.

    Raises:
        DownloadNeeded, MissingImage, ValueError, OSError: as `pinned_map`.
    """
    missing = catalogue.missing_download(pin.model, pin.weights)
    if missing is not None:
        raise catalogue.DownloadNeeded(pin.model, f"They take {catalogue.tag_size(missing)}.")
    case = case_of_pin(pin)
    if case.upload is None:
        services.sample_named(case.image)
    elif not state.has_upload(case.upload):
        raise services.MissingImage(case.upload)
    return case


@services.cached(max_entries=128)
def _pinned_map(pin: Pin, model: ModelKey, _case: Case) -> PinnedMap:
    found, region = services.maps(_case, pin.method), services.region(_case)
    values = found.patches[:, :, pin.prompt]
    reading = None if region is None else judge_map(found.method, values, region)
    thumbnail = encode_thumbnail(services.image(_case).rgb, values)
    return PinnedMap(values, found.unit, found.method, region, reading, thumbnail)


def encode_thumbnail(rgb: np.ndarray, values: np.ndarray) -> str:
    """A map (gh, gw) over a small grey photograph, on a scale of its own, as a data address of a JPEG."""
    small = Image.fromarray(rgb)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    grey = np.asarray(small.convert("L"), dtype=np.float64)[..., None].repeat(3, axis=-1) / 255  # (h, w, 3)
    coloured = lay_over(grey, values.astype(np.float64), shared_limit([values]))
    stream = io.BytesIO()
    Image.fromarray((255 * coloured).round().astype(np.uint8)).save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
