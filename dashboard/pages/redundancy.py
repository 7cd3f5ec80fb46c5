"""Redundancy: what do all words have in common?"""

from dashboard.panels import page
from dashboard.panels.redundancy import HELP, render_redundancy

page.render(
    title="Redundancy",
    question="What do all words have in common?",
    look_for=(
        "Does the redundant map look like the maps of all labels before surgery, and are they told apart after it? "
        "Strike a label out to see what it did to the others; click a patch to choose it."
    ),
    help=HELP,
    body=render_redundancy,
)
