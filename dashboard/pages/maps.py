"""Maps: what does each method see?"""

from dashboard.panels import page
from dashboard.panels.maps import HELP, render_maps

page.render(
    title="Maps",
    question="What does each method see?",
    look_for=(
        "Orange is similar, blue is dissimilar, transparent is zero: does the object light up, or everything but the "
        "object? Hover to read a patch in all maps, click to choose it."
    ),
    help=HELP,
    body=render_maps,
)
