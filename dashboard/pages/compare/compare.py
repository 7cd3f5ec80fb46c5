"""The script of the page Compare; the name of this file is its address."""

from dashboard.pages.compare import PAGE
from dashboard.pages.compare.body import HELP, render_compare
from dashboard.panels import page

page.render(PAGE, HELP, render_compare)
