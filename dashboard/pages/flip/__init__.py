"""Flip: why does it light up the background?"""

from dashboard.pages.flip.settings import FlipSettings
from dashboard.pages.info import PageInfo

PAGE = PageInfo(
    name="flip",
    title="Flip",
    icon=":material/flip:",
    question="Why does it light up the background?",
    look_for=(
        "Which block turns the sign, and which component writes it? Click a bar, a cell or a dot to see what it adds "
        "to every patch and the map without it, and a small map to put it in the row above."
    ),
    settings=FlipSettings,
    has_headline=True,
)
