"""Study: which pictures flip, and why?"""

from dashboard.pages.info import PageInfo
from dashboard.pages.study.settings import StudySettings

PAGE = PageInfo(
    name="study",
    title="Study",
    icon=":material/photo_library:",
    question="Which pictures flip, and why?",
    look_for=(
        "Choose in any plot: the grid and all other plots follow. A click on a picture opens it in Flip, where N and P "
        "go on to its neighbours."
    ),
    settings=StudySettings,
    examines_case=False,
    has_headline=True,
)
