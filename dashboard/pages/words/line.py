"""The caption as a line of buttons, each shaded by the relevance of its word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from dashboard.figures.theme import NEGATIVE_RGB, POSITIVE_RGB, shared_limit
from dashboard.pages.words.results import WordValues

HERE = Path(__file__).resolve().parent

HTML = """<div class="words">
<div class="text"><div class="line" role="group"></div> <span class="tail"></span></div>
<div class="key"><div class="strip"></div><div class="ends"><span class="end"></span><span class="unit"></span>
<span class="end"></span></div></div>
</div>"""

_component = st.components.v2.component(
    "clip_theatre_words",
    html=HTML,
    css=(HERE / "line.css").read_text(encoding="utf-8"),
    js=(HERE / "line.js").read_text(encoding="utf-8"),
)


def words_payload(values: WordValues, answers: np.ndarray, limit: float, chosen: int, label: str) -> dict[str, Any]:
    """What is sent to the browser; pure.

    Args:
        values: the caption and its units.
        answers: (u,) what the units are shaded by.
        limit: magnitude of the strongest shade.
        chosen: the marked unit.
        label: what the shades say, for screen readers.
    """
    last = len(values.units) - 1
    units = [
        {"text": name, "value": float(value) if np.isfinite(value) else None, "special": index in (0, last)}
        for index, (name, value) in enumerate(zip(values.units, answers, strict=True))
    ]
    words = values.caption.words
    tail = values.caption.text[words[-1].span[1] :].strip() if words else ""
    return {
        "units": units,
        "tail": tail,
        "limit": limit,
        "unit": "cosine",
        "chosen": chosen,
        "label": label,
        "colours": {"positive": ",".join(map(str, POSITIVE_RGB)), "negative": ",".join(map(str, NEGATIVE_RGB))},
    }


def shade_limit(values: WordValues, of_patch: bool) -> float:
    """End of the scale of the shades: shared by all patches, so that patches can be compared; pure."""
    known = values.patches if of_patch else values.image
    return shared_limit([known[np.isfinite(known)]])


def render_line(payload: dict[str, Any], units: int, on_choice: Callable[[int], None]) -> None:
    """Draws the line.

    Args:
        payload: from `words_payload`.
        units: number of units.
        on_choice: gets the position of a clicked unit, in a callback.
    """

    def happened() -> None:
        index = st.session_state["words line"].chosen
        if isinstance(index, int) and 0 <= index < units:
            on_choice(index)

    _component(key="words line", data=payload, on_chosen_change=happened)
