"""Compare: what differs between two cases?"""

from dashboard.pages.compare.settings import CompareSettings
from dashboard.pages.info import PageInfo

PAGE = PageInfo(
    name="compare",
    title="Compare",
    icon=":material/compare:",
    question="What differs between two cases?",
    look_for=(
        "Two models, images, prompts or methods side by side. Point at a map to read the same place in all, click to "
        "keep it; a dot far from the dotted line is a component that writes more in one case than in the other."
    ),
    settings=CompareSettings,
    has_headline=True,
    examines_case=False,
)
