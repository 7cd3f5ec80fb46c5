"""Affinity: where did the attention of a patch really go?"""

from dashboard.panels import page
from dashboard.panels.affinity import HELP, render_affinity

page.render(
    title="Affinity",
    question="Where did the attention of a patch really go?",
    look_for=(
        "Move over the image: does q-k leave the object while v-v stays on it? Click to choose the patch for every "
        "page; point at a map to read a weight."
    ),
    help=HELP,
    body=render_affinity,
)
