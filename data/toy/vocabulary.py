"""What the toy model knows, so that whoever shows it something else can say so."""

import re
from collections.abc import Sequence

from data.toy.captions import toy_words
from data.toy.scenes import COLOURS
from data.toy.shapes import SHAPES
from data.toy.textures import TEXTURES

WORDS_SHOWN = 8
_BETWEEN_WORDS = re.compile(r"(?:\s|[!-&(-/:-@\[-`{-~\u2010-\u2018\u201a-\u2027])+")  # punctuation but apostrophes


def unknown_words(texts: Sequence[str]) -> tuple[str, ...]:
    """The words of some texts that the toy model was never trained on, so that what it does with them means nothing.

    Args:
        texts: prompts as they were written, without the templates around them.

    Returns:
        Words in lower case, each once, in order; empty where the toy knows all of them.

    >>> unknown_words(["a red circle on grass", "a Pagoda, a lake"])
    ('pagoda', 'lake')
    """
    known = {"", *toy_words()}
    words = (word.strip("'’") for text in texts for word in _BETWEEN_WORDS.split(text.lower()))
    return tuple(dict.fromkeys(word for word in words if word not in known))


def describe_vocabulary() -> str:
    """The colours, shapes and backgrounds of the toy's scenes, in words."""
    groups = {"colours": COLOURS, "shapes": SHAPES, "backgrounds": TEXTURES}
    return "; ".join(f"{title} {', '.join(names)}" for title, names in groups.items())


def describe_limits(texts: Sequence[str] = (), images: Sequence[str] = ()) -> str | None:
    """One line on input that the toy was not trained on.

    Args:
        texts: prompts without templates.
        images: names of the images that are none of its scenes.

    Returns:
        What it has seen, and what of the input it has not; None where there is nothing to say.
    """
    foreign = []
    if images:
        foreign.append(f"the image{'s' * (len(images) > 1)} {_listed(images)}")
    if words := unknown_words(texts):
        foreign.append(f"the word{'s' * (len(words) > 1)} {_listed(words)}")
    if not foreign:
        return None
    return (
        f"the toy has seen only its own drawn scenes ({describe_vocabulary()}); "
        f"its maps mean nothing for {' and '.join(foreign)}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:WORDS_SHOWN]) + (", ..." if len(names) > WORDS_SHOWN else "")
