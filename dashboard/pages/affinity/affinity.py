"""The script of the page Affinity; the name of this file is its address."""

from dashboard.pages.affinity import PAGE
from dashboard.pages.affinity.body import HELP, render_affinity
from dashboard.panels import page

page.render(PAGE, HELP, render_affinity)
