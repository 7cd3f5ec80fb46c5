"""Case <-> query string, so that a reload or a pasted link shows the same view. Pure.

Every field of `Case` has a row in `FIELDS`: its name in the address, how it is written and how it is read. Defaults are
left out. A reader raises ValueError for what it does not understand; `from_query` then keeps the default and names the
parameter.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import urlencode

from dashboard.case import (
    COLOURS,
    CUSTOM,
    MAX_PINS,
    MEASURES,
    PROJECTIONS,
    RAMPS,
    SCALES,
    TEMPLATES,
    TOKENS_OF,
    Case,
    Pin,
)
from surgery import METHODS, Method
from surgery.attention import KINDS

MAX_TEXT = 2000
MAX_PROMPTS = 40
MAX_SIZE_PX = 2048
MAX_PATCHES = 1 << 16


@dataclass(frozen=True, slots=True)
class Field:
    """How one field of the case stands in the address.

    Attributes:
        name: the query parameter.
        write: value -> strings, one per repetition of the parameter.
        read: those strings -> value; raises ValueError.
    """

    name: str
    write: Callable[[Any], list[str]]
    read: Callable[[Sequence[str]], Any]


def _one(read: Callable[[str], Any]) -> Callable[[Sequence[str]], Any]:
    return lambda values: read(values[-1])


def _text(value: str) -> str:
    if len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"Expected at most {MAX_TEXT} printable characters, but got {value[:20]!r}")
    return value


def _prompts(values: Sequence[str]) -> tuple[str, ...]:
    if len(values) > MAX_PROMPTS:
        raise ValueError(f"Expected at most {MAX_PROMPTS} prompts, but got {len(values)}")
    return tuple(_text(value) for value in values)


def _natural(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError(f"Expected a whole number from 0, but got {number}")
    return number


def _size(value: str) -> int:
    if not 0 < int(value) <= MAX_SIZE_PX:
        raise ValueError(f"Expected a size from 1 to {MAX_SIZE_PX} pixels, but got {value}")
    return int(value)


def _number(value: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"Expected a finite number, but got {value}")
    return number


def _flag(value: str) -> bool:
    return {"0": False, "1": True}[_choice("0", "1")(value)]


def _choice(*choices: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"Expected one of {', '.join(choices)}, but got {value!r}")
        return value

    return read


def _patch(value: str) -> tuple[int, int]:
    row, column = (_natural(part) for part in value.split(","))
    return row, column


def _methods(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_choice(*METHODS, CUSTOM)(name) for name in value.split(",") if name))


def _block_or_method(value: str) -> str:
    return str(_natural(value)) if value.isdecimal() else _choice(*METHODS, CUSTOM)(value)


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


def read_ranges(value: str) -> tuple[int, ...]:
    """The inverse of `write_ranges`.

    Raises:
        ValueError: no natural numbers, or one of `MAX_PATCHES` or above.
    """
    numbers: set[int] = set()
    for run in value.split(","):
        first, dash, last = run.partition("-")
        end = _natural(last if dash else first)
        if end >= MAX_PATCHES:
            raise ValueError(f"Expected patches to be below {MAX_PATCHES}, but got {end}")
        numbers.update(range(_natural(first), end + 1))
    return tuple(sorted(numbers))


def _kinds(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_choice(*KINDS)(kind) for kind in value.split(",") if kind))


def write_method(method: Method) -> str:
    """ "vv,5,1,1,0,bicubic" for a method, in the order of its fields."""
    return ",".join(_write_number(v) if isinstance(v, bool | int | float) else v for v in asdict(method).values())


def _write_number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def read_method(value: str) -> Method:
    """The inverse of `write_method`.

    Raises:
        ValueError: not six parts, or a part that `Method` refuses.
    """
    attention, blocks, residual, alpha, mlp, interpolation = value.split(",")
    return Method(attention, int(blocks), _number(residual), _number(alpha), _flag(mlp), interpolation)


def _write_pin(pin: Pin) -> str:
    return json.dumps([*(getattr(pin, f.name) for f in fields(pin))], default=write_method, separators=(",", ":"))


def _read_pin(value: str) -> Pin:
    try:
        model, weights, image, size, templates, prompts, prompt, method, custom, feature_surgery = json.loads(value)
        texts = _prompts(prompts)
        return Pin(
            model=_text(model),
            weights=_text(weights),
            image=_text(image),
            size=None if size is None else _size(size),
            templates=_choice(*TEMPLATES)(templates),
            prompts=texts,
            prompt=range(len(texts))[_natural(prompt)],
            method=_choice(*METHODS, CUSTOM)(method),
            custom=read_method(custom),
            feature_surgery=bool(feature_surgery),
        )
    except (TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"Expected a pin as the page writes it, but got {value[:40]!r}") from error


def _pins(values: Sequence[str]) -> tuple[Pin, ...]:
    return tuple(_read_pin(value) for value in values[:MAX_PINS])


def _plain(name: str, read: Callable[[str], Any] = _text) -> Field:
    return Field(name, lambda value: [str(value)], _one(read))


def _optional(name: str, read: Callable[[str], Any], write: Callable[[Any], str] = str) -> Field:
    return Field(name, lambda value: [] if value is None else [write(value)], _one(read))


def _switch(name: str) -> Field:
    return Field(name, lambda value: [str(int(value))], _one(_flag))


FIELDS: dict[str, Field] = {
    "model": _plain("model"),
    "weights": _plain("weights"),
    "image": _plain("image"),
    "prompts": Field("p", list, _prompts),
    "templates": _plain("templates", _choice(*TEMPLATES)),
    "caption": _plain("caption"),
    "region": _plain("region"),
    "patch": _optional("patch", _patch, lambda patch: f"{patch[0]},{patch[1]}"),
    "layer": _optional("block", _natural),
    "head": _optional("head", _natural),
    "word": _optional("word", _natural),
    "measure": _plain("measure", _choice(*MEASURES)),
    "gradients": _switch("gradients"),
    "tokens_of": _plain("tokens", _choice(*TOKENS_OF)),
    "overlay": Field("overlay", list, lambda values: tuple(_block_or_method(value) for value in values)),
    "projection": _plain("projection", _choice(*PROJECTIONS)),
    "colour": _plain("colour", _choice(*COLOURS)),
    "lit": Field("lit", lambda lit: [write_ranges(lit)], _one(read_ranges)),
    "prompt": _plain("prompt"),
    "component": _plain("component"),
    "ablate": _switch("ablate"),
    "kinds": Field("kinds", lambda kinds: [",".join(kinds)], _one(_kinds)),
    "ramp": _plain("ramp", _choice(*RAMPS)),
    "struck": _plain("struck"),
    "methods": Field("methods", lambda names: [",".join(names)], _one(_methods)),
    "custom": Field("custom", lambda method: [write_method(method)], _one(read_method)),
    "method_a": _plain("a", _choice(*METHODS, CUSTOM)),
    "method_b": _plain("b", _choice(*METHODS, CUSTOM)),
    "difference": _switch("difference"),
    "feature_surgery": _switch("surgery"),
    "scale": _plain("scale", _choice(*SCALES)),
    "threshold": _optional("threshold", _number, repr),
    "points": _switch("points"),
    "size": _optional("size", _size),
    "pins": Field("pin", lambda pins: [_write_pin(pin) for pin in pins], _pins),
}


def to_query(case: Case) -> dict[str, list[str]]:
    """The query parameters of a case; what stands at its default is left out.

    >>> to_query(Case(prompts=("a cat", "grass"), patch=(7, 5)))
    {'p': ['a cat', 'grass'], 'patch': ['7,5']}
    """
    default = Case()
    changed = {name: field for name, field in FIELDS.items() if getattr(case, name) != getattr(default, name)}
    return {field.name: field.write(getattr(case, name)) for name, field in changed.items()}


def from_query(query: Mapping[str, Sequence[str]], default: Case) -> tuple[Case, list[str]]:
    """Reads a case from query parameters.

    Args:
        query: parameter -> its values.
        default: what stands where the query says nothing.

    Returns:
        The case, and the names of parameters that were not understood and left at their default.
    """
    values, ignored = {name: getattr(default, name) for name in FIELDS}, []
    for name, field in FIELDS.items():
        given = query.get(field.name)
        if not given:
            continue
        try:
            values[name] = field.read(given)
        except ValueError:
            ignored.append(field.name)
    return Case(**values), ignored


def to_link(base: str, case: Case) -> str:
    """The address that shows this case; `base` without query."""
    query = urlencode(to_query(case), doseq=True)
    return f"{base}?{query}" if query else base
