"""Results -> plotly figures, usable from a notebook; no Streamlit here.

One file a subject. `theme` has what they share: colours, the diverging scale, layout, escaping of texts.
"""

from dashboard.figures.maps import plot_maps
from dashboard.figures.photo import PATCHES_CURVE, plot_photo
from dashboard.figures.theme import (
    DIVERGING,
    METHOD_COLOURS,
    PATCH_COLOUR,
    REGION_COLOUR,
    apply_theme,
    escape,
    method_colour,
    shared_limit,
)

__all__ = [
    "DIVERGING",
    "METHOD_COLOURS",
    "PATCHES_CURVE",
    "PATCH_COLOUR",
    "REGION_COLOUR",
    "apply_theme",
    "escape",
    "method_colour",
    "plot_maps",
    "plot_photo",
    "shared_limit",
]
