"""Words: which word met which region?"""

from dashboard.pages.info import PageInfo
from dashboard.pages.words.settings import WordsSettings

PAGE = PageInfo(
    name="words",
    title="Words",
    icon=":material/match_word:",
    question="Which word met which region?",
    look_for=(
        "Do the words light up what they name, and do leaving out and gradients agree? Click a word for its map, a "
        "patch for the words that answer it."
    ),
    settings=WordsSettings,
)
