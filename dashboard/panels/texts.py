"""Texts that a visitor typed or that an error quotes, made safe for labels and messages. Pure."""

import re
from collections.abc import Sequence

from dashboard.figures.theme import kind_title
from surgery import Method

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!~:$|<>&^=\"'])")


def plain(text: str) -> str:
    """Text that Streamlit's Markdown shows as it stands: no links, colours, formulas, HTML or emoji short codes."""
    # A word joiner after a colon keeps ":smile:" from becoming an emoji, which a backslash alone does not.
    return _MARKUP.sub(r"\\\1", text.replace("\n", " ")).replace(":", ":\u2060")


def shorten(text: str, length: int = 28) -> str:
    """At most `length` characters, with an ellipsis where something is left out."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def join_prompts(prompts: Sequence[str]) -> str:
    """One line that `surgery.prompts.split_prompts` reads back.

    >>> join_prompts(["a red circle", "a cat, asleep"])
    'a red circle, "a cat, asleep"'
    """
    return ", ".join(_quoted(prompt) if "," in prompt or prompt.startswith('"') else prompt for prompt in prompts)


def _quoted(prompt: str) -> str:
    return '"' + prompt.replace('"', '""') + '"'


_RULE = re.compile(r"Expected (?P<what>.+?) to (?P<rule>.+?), but got (?P<value>.+)", re.DOTALL)
_PHRASES = (
    (re.compile(r"Expected prompts to hold at least one text, but got none"), "There is no prompt."),
    (re.compile(r"Expected every prompt to be non-empty text.*", re.DOTALL), "Between two commas there is no prompt."),
    (
        re.compile(
            r"Expected every prompt to have at most (\d+) tokens, start and end included, but got (\d+) for (.+?):"
        ),
        r"The model reads at most \1 tokens of a prompt, start and end included, and these are \2: \3;",
    ),
    (
        re.compile(r"Expected at most (\d+) prompts, but got (\d+)"),
        r"At most \1 prompts can be looked at together, and these are \2.",
    ),
    (
        re.compile(r"Expected the (image|mask) with SHA-256 (\w+), but it was not uploaded in this session"),
        r"The \1 of this view was uploaded in another browser, or more than a day ago (SHA-256 \2).",
    ),
)


def in_visitors_words(message: str) -> str:
    """An error of ours, "Expected size to be ..., but got ...", as it is said to somebody who looks at a page. Pure.

    >>> in_visitors_words("Expected size to be a multiple of 16, but got 100")
    'The size has to be a multiple of 16; here it is 100'
    """
    for pattern, words in _PHRASES:
        if pattern.match(message):
            return pattern.sub(words, message, count=1)
    found = _RULE.match(message)
    if found is None:
        return message
    what = found["what"].removeprefix("the ")
    are = "they are" if what.endswith("s") and not what.endswith("ss") else "it is"
    have = "have" if are == "they are" else "has"
    return f"The {what} {have} to {found['rule']}; here {are} {found['value']}"


def why_not(method: Method, depth: int, kinds: Sequence[str] | None) -> str:
    """Why a method cannot be run on a tower, in one sentence; "" where the reason is another one. Pure.

    Args:
        method: any method.
        depth: number of blocks of the tower.
        kinds: the kinds of attention that it knows; None for all.
    """
    if kinds is not None and method.attention not in kinds:
        known = ", ".join(map(kind_title, kinds))
        return f"It compares tokens by {kind_title(method.attention)}, and this model only knows {known}."
    reach = max(method.blocks, method.reach)
    if reach > depth:
        return f"It needs the last {reach} blocks, and this model has {depth}."
    return ""
