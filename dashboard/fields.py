"""How single values stand in the address: written as strings, read back, nonsense refused. Pure.

    FIELDS = {"ablate": switch("ablate"), "scale": text("scale", choice("signed", "minmax"))}

The rows of `dashboard.address.FIELDS` and of every page's settings are made of these.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.case import CUSTOM
from surgery import METHODS

MAX_TEXT = 2000
MAX_PATCHES = 1 << 16
MAX_DIGITS = 6
MAX_NUMBER = 1e6
NUMBER = re.compile(r"-?(\d{1,20}\.?\d{0,30}|\.\d{1,30})(e-?\d{1,3})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """How one value stands in the address.

    Attributes:
        name: the query parameter; of a page's settings without the page's prefix.
        write: value -> strings, one per repetition of the parameter.
        read: those strings -> value; raises ValueError.
    """

    name: str
    write: Callable[[Any], list[str]]
    read: Callable[[Sequence[str]], Any]


def single(name: str, read: Callable[[str], Any], write: Callable[[Any], str] = str) -> Field:
    """A value that is one string."""
    return Field(name, lambda value: [write(value)], lambda values: read(values[-1]))


def optional(name: str, read: Callable[[str], Any], write: Callable[[Any], str] = str) -> Field:
    """A value that may be None, which is left out."""
    return Field(name, lambda value: [] if value is None else [write(value)], lambda values: read(values[-1]))


def text(name: str, read: Callable[[str], str] | None = None) -> Field:
    """A string, as it is or one of some."""
    return single(name, read or read_text)


def switch(name: str) -> Field:
    """True or False, as 1 or 0."""
    return single(name, read_flag, lambda value: str(int(value)))


def listed(name: str, read: Callable[[str], Any]) -> Field:
    """A tuple of different strings in one parameter, between commas."""

    def read_all(value: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(read(part) for part in value.split(",") if part))

    return single(name, read_all, ",".join)


def choice(*choices: str) -> Callable[[str], str]:
    """A reader of one of some strings."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"Expected one of {', '.join(choices)}, but got {value!r}")
        return value

    return read


read_method_name = choice(*METHODS, CUSTOM)


def read_text(value: str) -> str:
    """A printable text of at most `MAX_TEXT` characters."""
    if len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"Expected at most {MAX_TEXT} printable characters, but got {value[:20]!r}")
    return value


def read_natural(value: str) -> int:
    """A whole number from 0 of at most `MAX_DIGITS` digits."""
    if not (value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS):
        raise ValueError(f"Expected a whole number from 0 of at most {MAX_DIGITS} digits, but got {value[:20]!r}")
    return int(value)


def read_between(low: float, high: float) -> Callable[[str], float]:
    """A reader of a number within bounds."""

    def read(value: str) -> float:
        if not NUMBER.fullmatch(value) or not low <= float(value) <= high:
            raise ValueError(f"Expected a number from {low:g} to {high:g}, but got {value[:20]!r}")
        return float(value)

    return read


read_number = read_between(-MAX_NUMBER, MAX_NUMBER)
"""A reader of a number that figures and widgets can show."""


def read_flag(value: str) -> bool:
    """0 or 1."""
    return choice("0", "1")(value) == "1"


def write_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, those in a row as one range.

    >>> write_ranges((3, 4, 5, 9))
    '3-5,9'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def read_ranges(value: str, below: int = MAX_PATCHES, kind: str = "patches") -> tuple[int, ...]:
    """The inverse of `write_ranges`.

    Args:
        value: of the address.
        below: what no number reaches.
        kind: what is numbered.

    Raises:
        ValueError: no natural numbers, one of `below` or above, more than `MAX_PATCHES`, or not in ascending order.
    """
    numbers: list[int] = []
    for run in value.split(","):
        first, dash, last = run.partition("-")
        start, end = read_natural(first), read_natural(last if dash else first)
        if end >= below:
            raise ValueError(f"Expected {kind} to be below {below}, but got {end}")
        if end < start or (numbers and start <= numbers[-1]):
            raise ValueError(f"Expected {kind} to ascend, but got {run[:20]!r}")
        if len(numbers) + end - start >= MAX_PATCHES:
            raise ValueError(f"Expected at most {MAX_PATCHES} {kind}, but got more")
        numbers += range(start, end + 1)
    return tuple(numbers)
