"""View <-> query string, so that a reload or a pasted link shows the same view. Pure.

Every field of `Case` has a row in `FIELDS`: its name in the address, how it is written and how it is read; a page's
settings bring their own rows, which stand behind the page's name and a dot. What stands at its default is left out,
but for image, prompts and region, which are always written: an address that leaves them out means the image's own.
A reader raises ValueError for what it does not understand; `from_query` then keeps the default and names the parameter.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any
from urllib.parse import urlencode

from analysis.interventions import KINDS
from analysis.readout import parse_component
from dashboard.case import MAX_NAME, MAX_NOTE, MAX_PINS, METHOD_NAMES, PLACES, TEMPLATES, Case, Pin
from dashboard.fields import (
    MAX_TEXT,
    Field,
    choice,
    listed,
    optional,
    read_between,
    read_flag,
    read_method_name,
    read_natural,
    read_text,
    single,
    switch,
    text,
)
from dashboard.pages import PAGES
from dashboard.settings import Settings, View
from data.geometry import FITS
from surgery import Method

MAX_PROMPTS = 40
MAX_SIZE_PX = 2048
MAX_ALPHA = 100.0
MAX_PIN = MAX_TEXT * 10
MAX_REPEATS = 100
MAX_REMOVED = 40
NONSENSE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""What reading a value may raise: what it was meant to be is not there."""
ALWAYS = frozenset({"image", "prompts", "region"})
"""Fields that are written also at their defaults."""

Opening = Callable[[Mapping[str, Any]], Case]
"""Gets the fields that an address names, and gives the case that stands for the rest."""


def _prompts(values: Sequence[str]) -> tuple[str, ...]:
    if len(values) > MAX_PROMPTS:
        raise ValueError(f"Expected at most {MAX_PROMPTS} prompts, but got {len(values)}")
    return tuple(read_text(value) for value in values if value)


def _size(value: str) -> int:
    size = read_natural(value)
    if not 0 < size <= MAX_SIZE_PX:
        raise ValueError(f"Expected a size from 1 to {MAX_SIZE_PX} pixels, but got {value}")
    return size


def _patch(value: str) -> tuple[int, int]:
    row, column = (read_natural(part) for part in value.split(","))
    return row, column


def write_method(method: Method) -> str:
    """ "vv,5,1,1,0,bicubic" for a method, in the order of its fields; steps only where there are any."""
    values = [_write_number(v) if isinstance(v, bool | int | float) else v for v in asdict(method).values()]
    return ",".join(values if method.steps else values[:-1])


def _write_number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def read_method(value: str) -> Method:
    """The inverse of `write_method`.

    Raises:
        ValueError: not six or seven parts, or a part that `Method` refuses.
    """
    attention, blocks, residual, alpha, mlp, *texts = value.split(",")
    if len(texts) not in (1, 2):
        raise ValueError(f"Expected a method of 6 or 7 parts, but got {value[:40]!r}")
    factors = _residual(residual), _alpha(alpha)
    return Method(attention, read_natural(blocks), *factors, read_flag(mlp), *map(read_text, texts))


_residual, _alpha = read_between(0.0, 1.0), read_between(0.0, MAX_ALPHA)


def write_pin(pin: Pin) -> str:
    """A pin as JSON: its fields in order; those that stand at their defaults at the end are left out."""
    values = [getattr(pin, f.name) for f in fields(pin)]
    while values[-1] == fields(pin)[len(values) - 1].default:
        values.pop()
    return json.dumps(values, default=write_method, separators=(",", ":"))


def read_pin(value: str) -> Pin:
    """The inverse of `write_pin`.

    Raises:
        ValueError: not what `write_pin` writes.
    """
    if len(value) > MAX_PIN:
        raise ValueError(f"Expected a pin of at most {MAX_PIN} characters, but got {len(value)}")
    try:
        values = json.loads(value)
        model, weights, image, size, templates, prompts, prompt, method, custom, feature_surgery, *rest = values
        fit, region, name, note = (*rest, *("stretch", "", "", "")[len(rest) :])
        texts = _prompts(prompts)
        return Pin(
            model=read_text(model),
            weights=read_text(weights),
            image=read_text(image),
            size=None if size is None else _size(_digits(size)),
            templates=choice(*TEMPLATES)(templates),
            prompts=texts,
            prompt=range(len(texts))[read_natural(_digits(prompt))],
            method=read_method_name(method),
            custom=read_method(custom),
            feature_surgery=bool(feature_surgery),
            fit=choice(*FITS)(fit),
            region=read_text(region),
            name=read_text(name)[:MAX_NAME],
            note=read_text(note)[:MAX_NOTE],
        )
    except NONSENSE as error:
        raise ValueError(f"Expected a pin as the page writes it, but got {value[:40]!r}") from error


def _digits(number: Any) -> str:
    """A whole number of JSON, which also has numbers that Python cannot make whole."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"Expected a whole number, but got {type(number).__name__}")
    return str(number) if abs(number) < 10**9 else "too large"


def _pins(values: Sequence[str]) -> tuple[Pin, ...]:
    return tuple(read_pin(value) for value in values[:MAX_PINS])


def _pair(value: str) -> tuple[str, str]:
    first, second = (choice("", *PLACES, *METHOD_NAMES)(part) for part in value.split(","))
    return first, second


def _removable(label: str) -> str:
    part = parse_component(label)
    if part is None or part.kind not in KINDS:
        raise ValueError(f"Expected a head, attention or MLP such as a3.h1, a3 or m3, but got {label[:20]!r}")
    return part.label


def _removed(values: Sequence[str]) -> tuple[str, ...]:
    found = listed("without", _removable).read(values)
    if len(found) > MAX_REMOVED:
        raise ValueError(f"Expected at most {MAX_REMOVED} components, but got {len(found)}")
    return found


FIELDS: dict[str, Field] = {
    "model": text("model"),
    "weights": text("weights"),
    "image": text("image"),
    "prompts": Field("p", lambda prompts: [*prompts] or [""], _prompts),
    "templates": text("templates", choice(*TEMPLATES)),
    "caption": text("caption"),
    "region": text("region"),
    "patch": optional("patch", _patch, lambda patch: f"{patch[0]},{patch[1]}"),
    "layer": optional("block", read_natural),
    "head": optional("head", read_natural),
    "word": optional("word", read_natural),
    "prompt": text("prompt"),
    "component": text("component"),
    "removed": Field("without", lambda removed: [",".join(removed)], _removed),
    "methods": listed("methods", read_method_name),
    "custom": single("custom", read_method, write_method),
    "method_a": text("method", read_method_name),
    "feature_surgery": switch("surgery"),
    "size": optional("size", _size),
    "fit": text("fit", choice(*FITS)),
    "pins": Field("pin", lambda pins: [write_pin(pin) for pin in pins], _pins),
    "pair": single("pair", _pair, ",".join),
}


def to_query(view: View) -> dict[str, list[str]]:
    """The query parameters of a view.

    >>> to_query(View(Case(prompts=("a cat", "grass"), patch=(7, 5))))
    {'image': ['toy-1'], 'p': ['a cat', 'grass'], 'region': [''], 'patch': ['7,5']}
    """
    query = _changed(view.case, Case(), FIELDS)
    for found in view.settings:
        own = _changed(found, type(found)(), found.FIELDS)
        query |= {f"{found.PAGE}.{name}": values for name, values in own.items()}
    return query


def _changed(value: Any, default: Any, rows: Mapping[str, Field]) -> dict[str, list[str]]:
    wanted = {name for name in rows if getattr(value, name) != getattr(default, name)}
    wanted |= ALWAYS if rows is FIELDS else set()
    return {field.name: field.write(getattr(value, name)) for name, field in rows.items() if name in wanted}


def from_query(query: Mapping[str, Sequence[str]], opening: Opening) -> tuple[View, list[str]]:
    """Reads a view from query parameters.

    Args:
        query: parameter -> its values.
        opening: gives the case for what the query does not say.

    Returns:
        The view, and the names of parameters that were not understood and left at their default.
    """
    ignored: list[str] = []
    given = _read(query, FIELDS, "", ignored)
    kinds = [page.settings for page in PAGES if page.settings is not Settings]
    settings = tuple(kind(**_read(query, kind.FIELDS, f"{kind.PAGE}.", ignored)) for kind in kinds)
    return View(replace(opening(given), **given), settings), ignored


def _read(
    query: Mapping[str, Sequence[str]], rows: Mapping[str, Field], prefix: str, ignored: list[str]
) -> dict[str, Any]:
    """The fields that the query has a usable value for; names of others are added to `ignored`."""
    values = {}
    for name, field in rows.items():
        given = query.get(prefix + field.name)
        if not given:
            continue
        try:
            if len(given) > MAX_REPEATS:
                raise ValueError(f"Expected at most {MAX_REPEATS} values, but got {len(given)}")
            values[name] = field.read(given)
        except NONSENSE:
            ignored.append(prefix + field.name)
    return values


def to_link(base: str, view: View) -> str:
    """The address that shows this view; `base` without query."""
    return f"{base}?{urlencode(to_query(view), doseq=True)}"
