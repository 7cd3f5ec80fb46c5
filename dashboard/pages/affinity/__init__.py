"""Affinity: where did the attention of a patch really go?"""

from dashboard.pages.affinity.settings import AffinitySettings
from dashboard.pages.info import PageInfo

PAGE = PageInfo(
    name="affinity",
    title="Affinity",
    icon=":material/hub:",
    question="Where did the attention of a patch really go?",
    look_for=(
        "Move over the image: does q-k leave the object while v-v stays on it? Click to choose the patch for every "
        "page; point at a map to read a weight, click a partner to follow it."
    ),
    settings=AffinitySettings,
    has_headline=True,
)
