"""Masks on the Maps page: from a prompt's map, or from points and a box of the visitor's own, to masks of objects."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch
from PIL import Image

from analysis.masks import MaskCandidates, write_rle
from analysis.segment_anything import DOWNLOADS_MB, NOT_INSTALLED, is_here, is_installed
from dashboard import services, state
from dashboard.case import Case, method_title
from dashboard.figures.theme import NEGATIVE_RGB, POSITIVE_RGB, REGION_COLOUR
from dashboard.jobs import Stopped
from dashboard.pages.maps import mask_results as results
from dashboard.pages.maps.mask_snippet import python_masks
from dashboard.pages.maps.settings import MAX_POINTS, WALKER, MapsSettings
from dashboard.panels.mapview import FOLDER, photo_of, script
from dashboard.panels.page import EXPECTED, File
from dashboard.panels.texts import plain
from dashboard.panels.work import is_under_way, watch, work_through
from dashboard.regions import outline_path
from data.images import decode_mask

HERE = Path(__file__).resolve().parent
TITLE = "Cutting out masks"
WALKER_TITLE = "random walker, no download"
WALKER_HELP = (
    "Every pixel goes to the seeds that it reaches first over the image (Grady 2006). It needs no download, and knows "
    "no objects: it stops where colours change. Segment Anything (arXiv 2304.02643, 2408.00714) was trained on masks; "
    "its weights are fetched when you say so."
)
NO_POINTS = "The map of this text does not vary, or is cut off as a whole: it gives no points. Set points by hand."

_component = st.components.v2.component(
    "clip_theatre_masks",
    html='<div class="masks"></div>',
    css=(HERE / "masks.css").read_text(encoding="utf-8"),
    js=script(FOLDER / "dom.js", HERE / "masks.js"),
)


def render_masks(case: Case, own: MapsSettings) -> dict[str, File]:
    """A switch, and with it the masks; returns what can be taken away."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="mask-line"):
        st.toggle(
            "masks",
            help="Cuts out what a map points at: its highest cells become points, and the points become masks.",
            **state.setting(own, "masks"),
        )
        if own.masks and case.prompts:
            _render_choices(case, own)
    if not own.masks or not case.prompts:
        return {}
    if own.mask_with != WALKER and not _is_ready(own.mask_with):
        return {}
    try:
        found = work_through(results.mask_key(case, own), TITLE, results.mask_work(case, own))
    except torch.OutOfMemoryError:
        st.error("Segment Anything ran out of memory. Choose a smaller one, or the random walker.")
        return {}
    except (*EXPECTED, ImportError, RuntimeError) as error:
        st.error(plain(str(error).partition("\n")[0]))
        return {}
    return {} if found is None else _render_found(case, own, found)


def _render_choices(case: Case, own: MapsSettings) -> None:
    choices = {"label_visibility": "collapsed", "width": 200}
    st.selectbox("Map", case.prompts, **choices, **state.setting(own, "mask_prompt", results.mask_prompt(case, own)))
    options = [WALKER, *dict.fromkeys((*DOWNLOADS_MB, *(() if own.mask_with == WALKER else (own.mask_with,))))]
    st.selectbox(
        "Masks by",
        options,
        format_func=lambda name: WALKER_TITLE if name == WALKER else name,
        help=WALKER_HELP,
        label_visibility="collapsed",
        width=245,
        **state.setting(own, "mask_with"),
    )
    st.slider(
        "points from the map at",
        0.05,
        1.0,
        step=0.05,
        width=190,
        help="Cells of the map in [0, 1] at or above it are points. The line of the histogram cuts the map before its "
        "range is stretched, so that something absent gets none.",
        **state.setting(own, "mask_cut"),
    )


def _is_ready(name: str) -> bool:
    """Whether a Segment Anything model can be loaded; otherwise says what is missing and offers the download."""
    if not is_installed():
        st.info(plain(NOT_INSTALLED))
        return False
    if is_here(name):
        return True
    size, title = DOWNLOADS_MB.get(name), f"Downloading {name}"
    problem = state.problem(name)
    if problem is not None:
        st.warning(f"The last try failed. {plain(problem[1])}")
    said = f" (about {size} MB)" if size else ""
    asked = st.button(f"Download {name}{said}", type="primary", key="download masks")
    if asked or is_under_way(name, title):
        try:
            watch(name, title, results.download_work(name, size))
        except Stopped:
            return False
        except EXPECTED as error:
            state.set_problem(name, name, str(error).partition("\n")[0])
        else:
            state.clear_problem(name)
        st.rerun()
    return False


def _render_found(case: Case, own: MapsSettings, found: Sequence[MaskCandidates]) -> dict[str, File]:
    if not found:
        st.info(NO_POINTS)
    size = services.image(case).rgb.shape[:2]
    chosen = min(own.mask_object, max(0, len(found) - 1))
    _component(
        key="masks",
        data=mask_payload(case, own, found, chosen),
        on_event_change=lambda: take_event(st.session_state["masks"].event, size),
    )
    if not found:
        return {}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if len(found) > 1:
            st.segmented_control(
                "Object",
                range(len(found)),
                format_func=lambda index: f"object {index + 1}",
                required=True,
                label_visibility="collapsed",
                key=f"mask object of {len(found)}",
                default=chosen,
                on_change=lambda: _choose_object(st.session_state[f"mask object of {len(found)}"]),
            )
        if case.fit == "stretch":
            mask = picked(own, found, chosen)
            st.button("take it as the region", on_click=_take_as_region, args=(mask,), disabled=not mask.any())
    return mask_files(case, own, found, chosen)


def _choose_object(index: int) -> None:
    state.adjust(MapsSettings, mask_object=index, mask_candidate=0)


def picked(own: MapsSettings, found: Sequence[MaskCandidates], chosen: int) -> np.ndarray:
    """(H, W) the chosen candidate of the chosen object."""
    masks = found[chosen].masks
    return masks[min(own.mask_candidate, len(masks) - 1)]


def mask_payload(case: Case, own: MapsSettings, found: Sequence[MaskCandidates], chosen: int) -> dict[str, Any]:
    """What the browser draws."""
    picture, region = services.image(case), services.region_mask(case)
    size, photo = picture.rgb.shape[:2], photo_of(picture)
    points, candidates, hint = _own_points(own), [], ""
    if found:
        one, at = found[chosen], min(own.mask_candidate, len(found[chosen].masks) - 1)
        points = points if own.mask_points or one.points is None else _shown_points(one)
        overlaps = results.ious(case, one)
        for index, (mask, score) in enumerate(zip(one.masks, one.scores, strict=True)):
            more = "" if overlaps is None else f"\nIoU with the region {overlaps[index]:.2f}"
            text = f"expected IoU {score:.2f}{more}"
            candidates.append({"path": outline_path(mask, size), "text": text, "chosen": index == at})
        hint = f"{_origin(case, own, len(found))}; masks by {one.source}. Click the picture to set points of your own."
    return {
        "photo": {"colour": photo.colour, "grey": photo.grey, "width": size[1], "height": size[0]},
        "chosen": next((one["path"] for one in candidates if one["chosen"]), ""),
        "others": [outline_path(one.best, size) for index, one in enumerate(found) if index != chosen],
        "region": "" if region is None else outline_path(region, size),
        "points": points,
        "box": own.mask_box and list(own.mask_box),
        "drawn": bool(own.mask_points or own.mask_box),
        "candidates": candidates,
        "hint": hint or "Click the picture to set points, or drag a box.",
        "colours": {
            "positive": ",".join(map(str, POSITIVE_RGB)),
            "negative": ",".join(map(str, NEGATIVE_RGB)),
            "region": REGION_COLOUR,
        },
    }


def _origin(case: Case, own: MapsSettings, objects: int) -> str:
    if own.mask_points or own.mask_box:
        return "From your own points and box"
    count = f"{objects} object{'s' if objects > 1 else ''}"
    return f"{count} in the map of {method_title(case.method_a)}, feature surgery, “{results.mask_prompt(case, own)}”"


def _own_points(own: MapsSettings) -> list[list[int]]:
    return [list(point) for point in own.mask_points]


MAX_SHOWN = 60


def _shown_points(one: MaskCandidates) -> list[list[int]]:
    """Points of one object, of either sign at most so many: the walker has hundreds."""
    rows = np.column_stack([one.points.xy, one.points.labels])
    kept = [rows[rows[:, 2] == label] for label in (1, 0)]
    return [row for part in kept for row in part[:: max(1, -(-len(part) // MAX_SHOWN))].tolist()]


def take_event(event: Mapping[str, Any] | None, size: tuple[int, int]) -> None:
    """Puts a point, a box, a chosen candidate or "clear" into the settings; nonsense is left alone."""
    if not isinstance(event, Mapping):
        return
    own, (height, width) = state.settings(MapsSettings), size
    if event.get("type") == "clear":
        state.adjust(MapsSettings, mask_points=(), mask_box=None, mask_object=0, mask_candidate=0)
    elif event.get("type") == "candidate" and _natural(event.get("index")):
        state.adjust(MapsSettings, mask_candidate=event["index"])
    elif event.get("type") == "point":
        x, y, label = (event.get(name) for name in ("x", "y", "label"))
        inside = all(map(_natural, (x, y, label))) and x < width and y < height and label in (0, 1)
        if inside and len(own.mask_points) < MAX_POINTS:
            points = (*own.mask_points, (x, y, label))
            state.adjust(MapsSettings, mask_points=points, mask_object=0, mask_candidate=0)
    elif event.get("type") == "box":
        box = event.get("box")
        if isinstance(box, list) and len(box) == 4 and all(map(_natural, box)):
            left, top, right, bottom = box
            if left < right <= width and top < bottom <= height:
                state.adjust(MapsSettings, mask_box=tuple(box), mask_object=0, mask_candidate=0)


def _natural(value: object) -> bool:
    return type(value) is int and 0 <= value < 10**6


def _take_as_region(mask: np.ndarray) -> None:
    """The mask becomes the region, kept like an upload of its file, so that it survives a reload."""
    content = png_of(mask)
    state.update(region=f"mask:{state.remember_mask(decode_mask(content), 'mask.png', content)}")


def png_of(mask: np.ndarray) -> bytes:
    """A mask (H, W) in black and white."""
    stream = io.BytesIO()
    Image.fromarray(255 * mask.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def mask_files(case: Case, own: MapsSettings, found: Sequence[MaskCandidates], chosen: int) -> dict[str, File]:
    """The chosen mask as PNG, the chosen candidate of every object as COCO run lengths, and the lines of Python."""
    mask, text = picked(own, found, chosen), results.mask_prompt(case, own)
    at = min(own.mask_candidate, len(found[chosen].masks) - 1)
    rows = [
        (text, one.masks[at if index == chosen else 0], float(one.scores[at if index == chosen else 0]))
        for index, one in enumerate(found)
    ]
    lines = python_masks(case, own, text)
    return {
        "PNG, the mask": File("mask.png", lambda: png_of(mask)),
        "JSON, masks as COCO run lengths": File("masks.json", lambda: write_rle(rows).encode()),
        "Python, the masks": File("masks.py", lambda: lines.encode()),
    }
