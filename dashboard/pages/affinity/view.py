"""The affinity view: the attention of the patch under the pointer, a map a kind, redrawn in the browser.

All weights between the patches of one block and head are sent once; moving the pointer needs no server. A weight
travels as the square root of its share of the largest weight of its row, in 16 bits, or in 8 where the grid is large.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from analysis.affinity import Affinity, token_index
from analysis.numerals import number
from analysis.regions import Region
from dashboard.case import Patch
from dashboard.figures.affinity import KIND_COLOURS, PARTNER_COLOURS
from dashboard.figures.theme import NEUTRAL, POSITIVE_RGB, REGION_COLOUR, kind_title, shared_limit
from dashboard.panels import shown
from dashboard.panels.mapview import FOLDER, Cell, MapView, Photo, Row, script
from dashboard.view_picture import draw_view

HERE = Path(__file__).resolve().parent

MAX_FINE_BYTES = 600_000
MAX_HOVER_PATCHES = 1100
"""On a larger grid only the rows of one patch are sent, and the maps change with a click instead."""

SAMPLED_ROWS = 256
TOP_QUANTILE = 0.999
"""The end of the colour scale: this quantile of the weights between two different patches."""

HINTS = {
    "qk": "CLIP's own attention",
    "vv": "CLIP Surgery (arXiv 2304.05653)",
    "qq": "self-self attention, ClearCLIP (2407.12442)",
    "kk": "self-self attention, NACLIP (2404.08181) without its prior",
    "identity": "every token keeps its own value, MaskCLIP (2112.01071)",
    "qq+kk": "mean of the two softmaxes, SCLIP (2312.01597)",
    "kk+gaussian": "with a prior for neighbours, NACLIP (2404.08181)",
    "gem": "self-self attention of q, k and v, smoothed and averaged, GEM (2312.00878)",
}


@dataclass(frozen=True, slots=True, eq=False)
class EncodedAffinity:
    """Attention weights as the browser gets them.

    Attributes:
        codes: base64 of (kinds, rows, patches) unsigned integers, round(levels * sqrt(weight / peak of the row)).
        levels: the largest code, 65535 or 255.
        peaks: base64 of (kinds, rows) float32, the largest weight of every row.
        cls: base64 of (kinds, rows) float32, the weight on the CLS token.
        top: the end of the colour scale.
        single: whether the only row is that of one patch; else there is a row a patch.
    """

    codes: str
    levels: int
    peaks: str
    cls: str
    top: float
    single: bool


def encode_affinity(affinity: Affinity, patch: Patch | None = None) -> EncodedAffinity:
    """Packs the rows of all patches, or of one."""
    prefix = affinity.prefix
    first = prefix if patch is None else token_index(patch, affinity.grid, prefix)
    rows = affinity.weights[:, first : None if patch is None else first + 1]  # (kinds, rows, tokens)
    between = rows[:, :, prefix:]  # (kinds, rows, patches)
    peaks = between.max(axis=-1)
    levels = 65535 if 2 * between.size <= MAX_FINE_BYTES else 255
    share = between / np.where(peaks > 0, peaks, 1)[..., None]
    codes = np.rint(levels * np.sqrt(share)).astype("<u2" if levels > 255 else "u1")
    cls = rows[:, :, : prefix - affinity.registers].sum(axis=-1)
    top = scale_top(affinity.weights[:, prefix:, prefix:])
    sent = (_base64(values) for values in (peaks.astype("<f4"), cls.astype("<f4")))
    return EncodedAffinity(_base64(codes), levels, *sent, top, patch is not None)


def scale_top(between: np.ndarray) -> float:
    """The end of the shared colour scale, two digits: all but the largest weights between different patches.

    Args:
        between: (kinds, patches, patches).
    """
    patches = between.shape[-1]
    rows = slice(None, None, max(1, patches // SAMPLED_ROWS))
    apart = between[:, rows][:, ~np.eye(patches, dtype=bool)[rows]]
    quantile = float(np.quantile(apart, TOP_QUANTILE)) if apart.size else 0.0
    return float(f"{quantile:.2g}") if quantile > 0 else 1.0


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


@dataclass(frozen=True, slots=True, eq=False)
class AffinityView:
    """Everything that is drawn.

    Attributes:
        photo: under every map.
        affinity: of one block and head.
        encoded: the same for the browser.
        patch: the chosen patch.
        example: the patch that is shown while none is chosen.
        region: tells which weights stay inside; None for no region.
        outline: SVG path of the region in pixels of the image.
        ramp: one of `dashboard.pages.affinity.settings.RAMPS`.
    """

    photo: Photo
    affinity: Affinity
    encoded: EncodedAffinity
    patch: Patch | None
    example: Patch
    region: Region | None
    outline: str
    ramp: str


def payload(view: AffinityView) -> dict[str, Any]:
    """What is sent to the browser; pure."""
    photo, encoded = view.photo, view.encoded
    return {
        "photo": asdict(photo) | {"ratio": photo.ratio},
        "grid": list(view.affinity.grid),
        "kinds": [_kind(kind) for kind in view.affinity.kinds],
        "codes": encoded.codes,
        "levels": encoded.levels,
        "peaks": encoded.peaks,
        "cls": encoded.cls,
        "has_cls": view.affinity.has_cls,
        "tokens": view.affinity.weights.shape[-1],
        "groups": _groups(view),
        "sides": _base64(region_sides(view.region, view.affinity.grid)),
        "top": encoded.top,
        "single": encoded.single,
        "ramp": view.ramp,
        "patch": None if view.patch is None else list(view.patch),
        "example": list(view.example),
        "outline": view.outline,
        "colours": {"positive": ",".join(map(str, POSITIVE_RGB)), "region": REGION_COLOUR},
    }


def _groups(view: AffinityView) -> list[dict[str, str]]:
    """Whose weight a bar of the strongest partners may be; without a region all other patches are one group."""
    names = ["itself", "neither"] if view.region is None else ["itself", "own region", "other region", "neither"]
    names += ["cls"] if view.affinity.has_cls else []
    names += ["registers"] if view.affinity.registers else []
    titles = {"cls": "CLS token"} | ({"neither": "another patch"} if view.region is None else {})
    return [{"name": name, "title": titles.get(name, name), "colour": PARTNER_COLOURS[name]} for name in names]


def _kind(kind: str) -> dict[str, str]:
    colour = KIND_COLOURS.get(kind, NEUTRAL)
    return {"name": kind, "title": kind_title(kind), "hint": HINTS.get(kind, ""), "colour": colour}


def region_sides(region: Region | None, grid: tuple[int, int]) -> np.ndarray:
    """uint8 (gh * gw,): 1 for patches of the foreground, 2 of the background, 0 of neither."""
    if region is None:
        return np.zeros(grid[0] * grid[1], np.uint8)
    return (region.foreground + 2 * region.background).astype(np.uint8).ravel()


_component = st.components.v2.component(
    "clip_theatre_affinity",
    html='<div class="affinity"></div>',
    css=(HERE / "view.css").read_text(encoding="utf-8"),
    js=script(FOLDER / "dom.js", HERE / "view.js"),
)


def render_affinity_view(view: AffinityView, key: str, on_event: Callable[[Mapping[str, Any]], None]) -> None:
    """Draws the view.

    Args:
        view: what is drawn.
        key: unique on the page.
        on_event: gets each event of the browser, in a callback: a patch (see `events.picked_patch`) or a ramp.
    """

    def happened() -> None:
        event = st.session_state[key].event
        if event is not None:
            on_event(event)

    picture = as_map_view(view)
    shown.show(key, picture.rows[0].title, partial(draw_view, picture))
    _component(key=key, data=payload(view), on_event_change=happened)


def as_map_view(view: AffinityView) -> MapView:
    """The attention of the chosen patch as maps on a linear scale, for paper."""
    affinity, patch = view.affinity, view.patch or view.example
    values, shares = affinity.maps(patch), affinity.cls_share(patch)
    cells = tuple(
        Cell(kind_title(kind), of_kind, note=f"CLS {number(share)}" if affinity.has_cls else "")
        for kind, of_kind, share in zip(affinity.kinds, values, shares, strict=True)
    )
    head = "mean of heads" if affinity.head is None else f"head {affinity.head}"
    title = f"Attention of patch row {patch[0]}, column {patch[1]}; block {affinity.block}, {head}"
    unit = "share of the patch's attention"
    rows = (Row(title, cells),)
    return MapView(
        view.photo, rows, shared_limit(values), unit=unit, scale="positive", outline=view.outline, patch=patch
    )
