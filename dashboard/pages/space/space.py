"""The script of the page Space; the name of this file is its address."""

from dashboard.pages.space import PAGE
from dashboard.pages.space.body import HELP, render_space
from dashboard.panels import page

page.render(PAGE, HELP, render_space)
