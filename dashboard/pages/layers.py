"""Layers: what does the residual do?"""

from dashboard.panels import page
from dashboard.panels.layers import HELP, render_layers

page.render(
    title="Layers",
    question="What does the residual do?",
    look_for=(
        "Move alpha: does the map turn when the attention outweighs the residual? Then see in which block the residual "
        "outgrows the attention, and which tokens stand out."
    ),
    help=HELP,
    body=render_layers,
)
