"""The pictures of a study as a grid: photograph in grey, map over it, figures under it."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from dashboard import studies
from dashboard.figures.theme import NEGATIVE_RGB, OPACITY, POSITIVE_RGB

FOLDER = Path(__file__).resolve().parent
SIDE_PX = 112
KEY = "study grid"

_component = st.components.v2.component(
    "clip_theatre_study_grid",
    html='<div class="pictures" role="group" aria-label="Pictures of the study"></div>',
    css=(FOLDER / "grid.css").read_text(encoding="utf-8"),
    js=(FOLDER / "grid.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One cell: a JPEG as a data address, a tooltip, lines under it, and whether it is marked."""

    source: str
    title: str
    note: str
    chosen: bool = False


def render_grid(pictures: Sequence[Picture], on_choice: Callable[[int], None]) -> None:
    """Draws the grid; `on_choice` gets the place of a clicked picture, in a callback."""

    def happened() -> None:
        place = st.session_state[KEY].chosen
        if isinstance(place, int) and 0 <= place < len(pictures):
            on_choice(place)

    _component(key=KEY, data={"pictures": [asdict(picture) for picture in pictures]}, on_chosen_change=happened)


@lru_cache(maxsize=3000)
def thumbnail(picture: str) -> Image.Image | None:
    """A picture of a study, small and in colour; None where it cannot be read."""
    try:
        image = studies.load_thumbnail(picture)
    except (OSError, ValueError):
        return None
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    return image


def paint(image: Image.Image | None, values: np.ndarray | None, limit: float) -> str:
    """A thumbnail with its map as a JPEG in a data address: hue is the sign, opacity the magnitude. Pure.

    Args:
        image: the small photograph; None draws a grey field.
        values: (gh, gw); None shows the photograph alone.
        limit: end of the symmetric scale.
    """
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), (128, 128, 128)) if image is None else image
    if values is not None:
        grey = np.asarray(image.convert("L").convert("RGB"), np.float32)
        scaled = Image.fromarray(values.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR)
        strength = np.clip(np.asarray(scaled)[..., None] / limit, -1, 1)
        colour = np.where(strength < 0, np.float32(NEGATIVE_RGB), np.float32(POSITIVE_RGB))
        opacity = OPACITY * np.abs(strength)
        image = Image.fromarray((grey * (1 - opacity) + colour * opacity).astype(np.uint8))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
