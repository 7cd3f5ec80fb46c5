"""Layers: what does the residual do?"""

from dashboard.pages.info import PageInfo
from dashboard.pages.layers.settings import LayersSettings

PAGE = PageInfo(
    name="layers",
    title="Layers",
    icon=":material/layers:",
    question="What does the residual do?",
    look_for=(
        "Move alpha: does the map turn when the attention outweighs the residual? Then see in which block the residual "
        "outgrows the attention, and which tokens stand out."
    ),
    settings=LayersSettings,
    has_headline=True,
)
