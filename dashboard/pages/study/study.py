"""The script of the page Study; the name of this file is its address."""

from dashboard.pages.study import PAGE
from dashboard.pages.study.body import HELP, render_study
from dashboard.panels import page

page.render(PAGE, HELP, render_study)
