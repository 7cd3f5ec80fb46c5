"""The script of the page Words; the name of this file is its address."""

from dashboard.pages.words import PAGE
from dashboard.pages.words.body import HELP, render_words
from dashboard.panels import page

page.render(PAGE, HELP, render_words)
