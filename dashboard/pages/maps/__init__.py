"""Maps: what does each method see?"""

from dashboard.pages.info import PageInfo
from dashboard.pages.maps.settings import MapsSettings

PAGE = PageInfo(
    name="maps",
    title="Maps",
    icon=":material/grid_view:",
    question="What does each method see?",
    look_for=(
        "Orange is similar, blue is dissimilar, transparent is zero: does the object light up, or everything but the "
        "object? Hover to read a patch in all maps, click to choose it."
    ),
    settings=MapsSettings,
    has_headline=True,
)
