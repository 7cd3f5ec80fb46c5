"""Space: which patches live together?"""

from dashboard.pages.info import PageInfo
from dashboard.pages.space.settings import SpaceSettings

PAGE = PageInfo(
    name="space",
    title="Space",
    icon=":material/scatter_plot:",
    question="Which patches live together?",
    look_for=(
        "Does the object form a cloud of its own, and from which block on? Draw a lasso around points to light up "
        "their patches, or drag over the image to light up its points."
    ),
    settings=SpaceSettings,
    has_headline=True,
)
