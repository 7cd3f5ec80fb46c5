"""Words: which word met which region?"""

from dashboard.panels import page
from dashboard.panels.words import HELP, render_words_page

page.render(
    title="Words",
    question="Which word met which region?",
    look_for=(
        "Do the words light up what they name, and do leaving out and gradients agree? Click a word for its map, a "
        "patch for the words that answer it."
    ),
    help=HELP,
    body=render_words_page,
)
