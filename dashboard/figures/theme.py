"""What all figures share. Colours are those of Okabe and Ito, told apart with every kind of colour vision."""

import html
from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go

POSITIVE_RGB = (213, 94, 0)
NEGATIVE_RGB = (0, 114, 178)
POSITIVE = "rgb(213,94,0)"
NEGATIVE = "rgb(0,114,178)"
NEUTRAL = "#8a8f94"
"""What has no sign: totals, biases, references; legible on light and dark."""

REGION_COLOUR = "#F0E442"
"""Outline of the region, on every page."""

PATCH_COLOUR = "#ffffff"
"""The chosen patch, on every page: a white square with a black edge."""

METHOD_COLOURS: dict[str, str] = {
    "clip": "#8a8f94",
    "maskclip": "#E69F00",
    "clip_surgery": "#D55E00",
    "sclip": "#56B4E9",
    "gem": "#009E73",
    "naclip": "#0072B2",
    "clearclip": "#CC79A7",
    "cliptrase": "#7f5f2e",
    "tagclip": "#b8860b",
    "itaclip": "#2f6f6f",
    "resclip": "#7a3b8f",
    "sc_clip": "#a0522d",
    "custom": "#9467bd",
}
"""A method's line colour, on every page."""

SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#9467bd", "#8a8f94")
"""For lines that are no methods."""

GROUP_COLOURS = {"CLS": "#9467bd", "patches": "#8a8f94", "foreground": "#009E73", "background": "#E69F00"}
"""Groups of tokens, on every page."""

OPACITY = 0.92

KIND_TITLES = {
    "identity": "identity",
    "qq+kk": "q-q + k-k",
    "kk+gaussian": "k-k + Gaussian",
    "gem": "GEM",
}


def _diverging() -> list[list[object]]:
    negative, positive = (",".join(map(str, rgb)) for rgb in (NEGATIVE_RGB, POSITIVE_RGB))
    return [
        [0.0, f"rgba({negative},{OPACITY})"],
        [0.5, f"rgba({negative},0)"],
        [0.5, f"rgba({positive},0)"],
        [1.0, f"rgba({positive},{OPACITY})"],
    ]


DIVERGING: list[list[object]] = _diverging()
"""Plotly colour scale: hue is the sign, opacity the magnitude, zero is transparent. For `zmin=-limit, zmax=limit`."""


def shared_limit(arrays: Iterable[np.ndarray]) -> float:
    """The end of a symmetric scale that holds all arrays: their largest magnitude, rounded up to two digits.

    >>> shared_limit([np.array([0.1, -0.213])])
    0.22
    """
    largest = max((float(np.nanmax(np.abs(values))) for values in arrays if np.size(values)), default=0.0)
    if not np.isfinite(largest) or largest == 0:
        return 1.0
    unit = 10.0 ** (np.floor(np.log10(largest)) - 1)
    return float(f"{np.ceil(largest / unit - 1e-9) * unit:.6g}")


def escape(text: str) -> str:
    """Text that plotly shows as it stands: neither its HTML subset nor its %{...} templates are read in it."""
    return html.escape(text, quote=False).replace("%{", "%&#123;").replace("\n", " ")


def kind_title(kind: str) -> str:
    """How a kind of attention is written: "q-k" for "qk"."""
    return KIND_TITLES.get(kind, "-".join(kind) if len(kind) == 2 else kind)


def method_colour(name: str) -> str:
    """The line colour of a method, the same on every page."""
    return METHOD_COLOURS.get(name, METHOD_COLOURS["custom"])


def apply_theme(figure: go.Figure, title: str = "", height: int = 300) -> go.Figure:
    """Gives a figure the common look, in place, and returns it.

    Args:
        figure: any figure.
        title: says what is plotted, with units; already escaped where it holds a visitor's words.
        height: in pixels.
    """
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "x": 0, "xanchor": "left", "y": 0.98, "yanchor": "top"},
        height=height,
        margin={"l": 56, "r": 16, "t": 40 if title else 16, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 12},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1, "font": {"size": 11}},
        hoverlabel={"font": {"size": 12}},
    )
    figure.update_xaxes(zeroline=False, gridcolor="rgba(128,128,128,0.18)", automargin=True)
    figure.update_yaxes(zerolinecolor="rgba(128,128,128,0.6)", gridcolor="rgba(128,128,128,0.18)", automargin=True)
    return figure
