"""Thumbnails of the samples; a click chooses one."""

from collections.abc import Callable

import streamlit as st

from dashboard import services
from dashboard.case import describe_image
from dashboard.figures.maps import encode_photo
from dashboard.panels.mapview import FOLDER
from data.samples import SAMPLES

THUMBNAIL_PX = 64
KEY = "gallery"

_component = st.components.v2.component(
    "clip_theatre_gallery",
    html='<div class="gallery" role="group" aria-label="Sample images"></div>',
    css=(FOLDER / "gallery.css").read_text(encoding="utf-8"),
    js=(FOLDER / "gallery.js").read_text(encoding="utf-8"),
)


@services.cached(max_entries=1)
def _thumbnails() -> list[dict[str, str]]:
    samples = [services.sample_named(name) for name in SAMPLES]
    return [
        {"name": name, "title": describe_image(name), "source": encode_photo(sample.image.rgb, side_px=THUMBNAIL_PX)}
        for name, sample in zip(SAMPLES, samples, strict=True)
    ]


def render_gallery(chosen: str, on_choice: Callable[[str], None]) -> None:
    """Draws the thumbnails.

    Args:
        chosen: name of the marked sample; another string marks none.
        on_choice: gets the name of a clicked sample, in a callback.
    """

    def happened() -> None:
        name = st.session_state[KEY].chosen
        if name in SAMPLES:
            on_choice(name)

    _component(key=KEY, data={"images": _thumbnails(), "chosen": chosen}, on_chosen_change=happened)
