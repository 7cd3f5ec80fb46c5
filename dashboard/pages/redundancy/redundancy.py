"""The script of the page Redundancy; the name of this file is its address."""

from dashboard.pages.redundancy import PAGE
from dashboard.pages.redundancy.body import HELP, render_redundancy
from dashboard.panels import page

page.render(PAGE, HELP, render_redundancy)
