"""Words: which word met which region?"""

from dashboard.pages.info import PageInfo
from dashboard.pages.words.settings import WordsSettings

PAGE = PageInfo(
    name="words",
    title="Words",
    icon=":material/match_word:",
    question="Which word met which region?",
    look_for=(
        "Do the measures name the same words, and do the words light up what they name? Point at a patch for the words "
        "that answer it, click a word for its maps, a measure for its words against patches."
    ),
    settings=WordsSettings,
    has_headline=True,
)
