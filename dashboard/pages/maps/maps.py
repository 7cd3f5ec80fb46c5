"""The script of the page Maps; the name of this file is its address."""

from dashboard.pages.maps import PAGE
from dashboard.pages.maps.body import HELP, render_maps
from dashboard.panels import page

page.render(PAGE, HELP, render_maps)
