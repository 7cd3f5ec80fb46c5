"""Redundancy: what do all words have in common?"""

from dashboard.pages.info import PageInfo
from dashboard.pages.redundancy.settings import RedundancySettings

PAGE = PageInfo(
    name="redundancy",
    title="Redundancy",
    icon=":material/join_inner:",
    question="What do all words have in common?",
    look_for=(
        "Does the redundant map look like the maps of all labels before surgery, and are they told apart after it? "
        "Strike a label out to see what it did to the others; click a patch to choose it."
    ),
    settings=RedundancySettings,
    has_headline=True,
)
