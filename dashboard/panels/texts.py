"""Texts that a visitor typed or that an error quotes, made safe for labels and messages. Pure."""

import re
from collections.abc import Sequence

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
