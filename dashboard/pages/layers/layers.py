"""The script of the page Layers; the name of this file is its address."""

from dashboard.pages.layers import PAGE
from dashboard.pages.layers.body import HELP, render_layers
from dashboard.panels import page

page.render(PAGE, HELP, render_layers)
