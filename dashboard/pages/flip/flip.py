"""The script of the page Flip; the name of this file is its address."""

from dashboard.pages.flip import PAGE
from dashboard.pages.flip.body import HELP, render_flip
from dashboard.panels import page

page.render(PAGE, HELP, render_flip)
