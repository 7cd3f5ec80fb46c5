"""Sums and differences of texts as one target: "a red circle ++ grass", "a dog on grass -- grass".

The target is the sum of the unit features with these signs, brought to unit norm: a direction like that of any other
text, so maps, blame and relevance of it are computed as ever. The cosine with "a ++ b" is the sum of the two cosines
over the length of the sum.
"""

import re
from collections.abc import Mapping

import numpy as np

Term = tuple[int, str]
"""Sign, and text."""
_OPERATOR = re.compile(r"\s(\+\+|--)\s")
LEAST_LENGTH = 1e-3


def parse_target(text: str) -> tuple[Term, ...]:
    """The texts that a target is made of, with their signs; a text without an operator is its own.

    Raises:
        ValueError: nothing stands on one side of an operator.

    >>> parse_target("a dog on grass -- grass")
    ((1, 'a dog on grass'), (-1, 'grass'))
    """
    first, *rest = _OPERATOR.split(text)
    if not rest:
        return ((1, text),)
    signs = [1, *(1 if operator == "++" else -1 for operator in rest[::2])]
    terms = tuple((sign, part.strip()) for sign, part in zip(signs, [first, *rest[1::2]], strict=True))
    if not all(part for _, part in terms):
        raise ValueError(f'Expected a text on both sides of " ++ " and " -- ", but got {text!r}')
    return terms


def combine(text: str, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The unit feature (d,) of a target from those of its texts.

    Raises:
        ValueError: the texts cancel, so that there is no direction left.
    """
    terms = parse_target(text)
    if len(terms) == 1:
        return vectors[text]
    total = sum(sign * vectors[part] for sign, part in terms)
    length = float(np.linalg.norm(total))
    if length < LEAST_LENGTH:
        raise ValueError(f"Expected the texts of a difference to differ, but got {text!r}, whose features cancel")
    return (total / length).astype(vectors[terms[0][1]].dtype)
