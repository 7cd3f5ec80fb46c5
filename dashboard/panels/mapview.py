"""The map view: a grid of similarity maps over one photograph, drawn and linked in the browser.

Hovering a patch shows its value in every map at once; a click, the button of a cell and the threshold line come back
as events (see `dashboard.events`). What is sent are patch grids, a few hundred numbers a map; upscaling and colouring
happen in the browser.

    rows = (Row("grass", (Cell("CLIP", values),)),)
    view = MapView(photo=photo_of(services.image(case)), rows=rows, limit=0.3, patch=case.patch)
    render_map_view(view, key="my maps", on_event=take_event)      # on_event(event) runs in the callback
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from dashboard.case import Patch
from dashboard.figures.maps import drawn_ratio, encode_photo
from dashboard.figures.theme import NEGATIVE_RGB, POSITIVE_RGB, REGION_COLOUR
from dashboard.panels import shown
from dashboard.services import cached
from dashboard.view_picture import draw_view
from data.images import LoadedImage
from surgery import PromptPoints

FOLDER = Path(__file__).resolve().parent.parent / "components"
SCRIPTS = ("dom", "patches", "paint", "walk", "histogram", "pen", "mapview")


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph as the browser gets it: two small JPEGs as data addresses, and the original's size in pixels."""

    colour: str
    grey: str
    width: int
    height: int

    @property
    def ratio(self) -> float:
        """Width over height as it is drawn."""
        return drawn_ratio(self.width, self.height)


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One map.

    Attributes:
        title: above it, such as the method.
        values: (gh, gw) signed values; ignored where `error` is set.
        note: under it; a flip AUC in it, such as "AUC 0.02", is marked with the side of 0.5 that it lies on.
        hint: tooltip of the title.
        points: prompt points in pixels of the image.
        action: label of a button that shows on hover, such as "pin"; "" for none.
        error: shown instead of the map.
        limit: end of a signed scale of its own, which the note should name; None for the scale of the view.
        counted: whether its values are part of the histogram.
        chosen: whether it is the marked one in a row that chooses.
    """

    title: str
    values: np.ndarray | None = None
    note: str = ""
    hint: str = ""
    points: PromptPoints | None = None
    action: str = ""
    error: str = ""
    limit: float | None = None
    counted: bool = True
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A labelled bar; `share` in [0, 1]."""

    label: str
    share: float
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """Maps side by side under one title, such as a prompt.

    Attributes:
        title: above them; "" for none.
        cells: the maps.
        share: a bar under the title of a table's row.
        chooses: whether a click on a map chooses it, as an "action" event, instead of a patch.
    """

    title: str
    cells: tuple[Cell, ...]
    chooses: bool = False
    share: Bar | None = None


@dataclass(frozen=True, slots=True)
class MapView:
    """Everything that is drawn.

    Attributes:
        photo: under every map.
        rows: the maps.
        limit: end of the symmetric scale that all maps share.
        unit: what the numbers are, for the colour bar.
        scale: "signed" from -limit to limit, "positive" from 0 to limit, or "minmax" for each map on its own
            from 0 to 1.
        outline: SVG path of the region in pixels of the image, see `dashboard.regions.outline_path`; "" for none.
        patch: the chosen patch.
        threshold: values below it are hidden; None hides nothing.
        colour_bar: whether the colour bar is shown; leave it out where several views share one.
        histogram: whether the histogram with the threshold line is shown.
        bars: beside the coloured photograph on the left; None leaves this column out.
        bars_title: above the bars.
        draw: whether a region can be drawn on the first map, see `dashboard.events.picked_drawing`.
        wide: whether maps grow to fill the width.
        link: views with the same word mark the same place while the pointer moves over one of them; "" for none.
        table: whether titles of rows stand at their left, and photograph, scale and histogram below.
        corner: above the titles of a table's rows, such as what their bars are.
        opacity: how much of the maps covers the photograph, in [0, 1], with a slider; None for all of it, without.
    """

    photo: Photo
    rows: tuple[Row, ...]
    limit: float
    unit: str = "cosine"
    scale: str = "signed"
    outline: str = ""
    patch: Patch | None = None
    threshold: float | None = None
    colour_bar: bool = True
    histogram: bool = False
    bars: tuple[Bar, ...] | None = None
    bars_title: str = ""
    draw: bool = False
    wide: bool = False
    link: str = ""
    table: bool = False
    corner: str = ""
    opacity: float | None = None


@cached(max_entries=32)
def _photo(sha256: str, _rgb: np.ndarray) -> Photo:
    height, width = _rgb.shape[:2]
    return Photo(encode_photo(_rgb, side_px=448), encode_photo(_rgb, side_px=320, grey=True), width, height)


def photo_of(image: LoadedImage) -> Photo:
    """The photograph of an image, encoded once."""
    return _photo(image.sha256, image.rgb)


def payload(view: MapView) -> dict[str, Any]:
    """What is sent to the browser; pure."""
    shapes = {cell.values.shape for row in view.rows for cell in row.cells if cell.values is not None}
    if len(shapes) > 1:
        raise ValueError(f"Expected all maps of a view to have one grid, but got {sorted(shapes)}")
    return {
        "photo": asdict(view.photo) | {"ratio": view.photo.ratio},
        "grid": list(next(iter(shapes), (1, 1))),
        "rows": [_row(row) for row in view.rows],
        "limit": view.limit,
        "unit": view.unit,
        "scale": view.scale,
        "outline": view.outline,
        "patch": None if view.patch is None else list(view.patch),
        "threshold": view.threshold,
        "colour_bar": view.colour_bar,
        "histogram": view.histogram,
        "aside": _aside(view),
        "draw": view.draw,
        "wide": view.wide,
        "link": view.link,
        "table": view.table,
        "corner": view.corner,
        "opacity": view.opacity,
        "colours": {
            "positive": ",".join(map(str, POSITIVE_RGB)),
            "negative": ",".join(map(str, NEGATIVE_RGB)),
            "region": REGION_COLOUR,
        },
    }


def _row(row: Row) -> dict[str, Any]:
    share = None if row.share is None else {"value": row.share.share, "text": row.share.text}
    return {"title": row.title, "cells": [_cell(cell) for cell in row.cells], "chooses": row.chooses, "share": share}


def _cell(cell: Cell) -> dict[str, Any]:
    values = np.zeros(0) if cell.values is None else cell.values
    points = []
    if cell.points is not None:
        points = np.column_stack([cell.points.xy, cell.points.labels]).tolist()
    return {
        "title": cell.title,
        "values": base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode(),
        "note": cell.note,
        "hint": cell.hint,
        "points": points,
        "action": cell.action,
        "error": cell.error,
        "limit": cell.limit,
        "counted": cell.counted,
        "chosen": cell.chosen,
    }


def _aside(view: MapView) -> dict[str, Any] | None:
    if view.bars is None:
        return None
    bars = [{"label": bar.label, "value": bar.share, "text": bar.text} for bar in view.bars]
    return {"title": view.bars_title, "bars": bars}


def script(*files: Path) -> str:
    """Scripts of components as one module, each after what it uses."""
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


_component = st.components.v2.component(
    "clip_theatre_map_view",
    html='<div class="view"></div>',
    css=(FOLDER / "mapview.css").read_text(encoding="utf-8"),
    js=script(*(FOLDER / f"{name}.js" for name in SCRIPTS)),
)


def render_map_view(view: MapView, key: str, on_event: Callable[[Mapping[str, Any]], None]) -> None:
    """Draws the view.

    Args:
        view: what is drawn.
        key: unique on the page.
        on_event: gets each event of the browser, in a callback; read it with `dashboard.events`.
    """

    def happened() -> None:
        event = st.session_state[key].event
        if event is not None:
            on_event(event)

    titles = dict.fromkeys(cell.title for row in view.rows for cell in row.cells)
    shown.show(key, f"Maps: {', '.join(titles)}", partial(draw_view, view))
    _component(key=key, data=payload(view), on_event_change=happened)
