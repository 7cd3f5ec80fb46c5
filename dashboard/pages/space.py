"""Space: which patches live together?"""

from dashboard.panels import page
from dashboard.panels.space import HELP, render_space

page.render(
    title="Space",
    question="Which patches live together?",
    look_for=(
        "Does the object form a cloud of its own, and from which block on? Draw a lasso around points to light up "
        "their patches, or drag over the image to light up its points."
    ),
    help=HELP,
    body=render_space,
)
