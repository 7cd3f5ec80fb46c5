"""One file a page; `streamlit_app.py` shows those in `PAGES`, in this order.

A page is a script of two statements: imports, then `page.render(...)` from `dashboard.panels.page`. What it shows is in
`dashboard/panels/`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PageInfo:
    """A page in the navigation.

    Attributes:
        file: name of the script in this folder, without ".py"; also its address.
        title: as in the navigation.
        icon: a Material symbol.
    """

    file: str
    title: str
    icon: str


PAGES: tuple[PageInfo, ...] = (
    PageInfo("maps", "Maps", ":material/grid_view:"),
    PageInfo("flip", "Flip", ":material/flip:"),
    PageInfo("layers", "Layers", ":material/layers:"),
    PageInfo("affinity", "Affinity", ":material/hub:"),
    PageInfo("redundancy", "Redundancy", ":material/join_inner:"),
    PageInfo("words", "Words", ":material/match_word:"),
    PageInfo("space", "Space", ":material/scatter_plot:"),
)
