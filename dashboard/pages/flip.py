"""Flip: why does it light up the background?"""

from dashboard.panels import page
from dashboard.panels.flip import HELP, render_flip

page.render(
    title="Flip",
    question="Why does it light up the background?",
    look_for=(
        "Which block turns the sign, and which component writes it? Click a bar, a cell or a dot to see what it adds "
        "to every patch, and ablate it to see the map without it."
    ),
    help=HELP,
    body=render_flip,
)
