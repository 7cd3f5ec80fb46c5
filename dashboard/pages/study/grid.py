"""The pictures of a study as a grid: photograph in grey, map over it, figures under it."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from dashboard import state, studies
from dashboard.figures.theme import NEGATIVE_RGB, OPACITY, POSITIVE_RGB
from dashboard.pages.study.results import Shown
from dashboard.panels.neighbours import show_picture

FOLDER = Path(__file__).resolve().parent
SIDE_PX = 112
NEIGHBOURS = 500
"""Pictures before and after an opened one that its arrows reach."""
OPEN = "open flip"

_component = st.components.v2.component(
    "clip_theatre_study_grid",
    html='<div class="pictures" role="group"></div><div class="legend"></div>',
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


def render_grid(
    pictures: Sequence[Picture],
    on_choice: Callable[[int], None],
    key: str = "study grid",
    wide: bool = False,
    legend: Mapping[str, tuple[int, int, int]] | None = None,
) -> None:
    """Draws the grid.

    Args:
        pictures: its cells.
        on_choice: gets the place of a clicked picture, in a callback.
        key: unique on the page.
        wide: cells are strips, wider than high.
        legend: text -> colour, below the grid.
    """

    def happened() -> None:
        place = st.session_state[key].chosen
        if isinstance(place, int) and 0 <= place < len(pictures):
            on_choice(place)

    items = [{"text": text, "colour": f"rgb{colour}"} for text, colour in (legend or {}).items()]
    label = "Label maps of the study" if wide else "Pictures of the study"
    data = {"pictures": [asdict(picture) for picture in pictures], "wide": wide, "legend": items, "label": label}
    _component(key=key, data=data, on_chosen_change=happened)


def open_list(shown: Shown, entries: Sequence[tuple[int, str]], place: int) -> None:
    """Puts a picture on the table, and the list that it stands in behind the arrows.

    Args:
        shown: the study.
        entries: number and class of every picture of the list.
        place: of the one that is opened.
    """
    first = max(0, place - NEIGHBOURS)
    near = entries[first : place + NEIGHBOURS]
    named = tuple((studies.picture_name(shown.key[0], index), text) for index, text in near)
    model = studies.case_model(shown.folder.study)
    state.note("neighbours", (named, model))
    show_picture(named[place - first], model)
    state.note(OPEN, True)


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
    return as_address(image)


def as_address(image: Image.Image, quality: int = 80) -> str:
    """A picture as a JPEG in a data address. Pure."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
