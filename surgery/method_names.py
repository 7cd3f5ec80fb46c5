"""Methods in writing: a preset's name, or a variant of one such as "clearclip:alpha=2,residual=1"."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from surgery.methods import METHODS, Method, get_method


def parse_method(text: str) -> Method:
    """A preset, or a variant of one.

    Raises:
        ValueError: no such preset or field, or a value out of range.

    >>> parse_method("clip:attention=vv,mlp=no")
    Method(attention='vv', blocks=1, residual=1.0, alpha=1.0, mlp=False, position_interpolation='bicubic', steps='')
    """
    name, _, changes = text.strip().partition(":")
    method = get_method(name.strip())
    return replace(method, **dict(_parse_change(method, change) for change in filter(None, changes.split(","))))


def write_method(method: Method) -> str:
    """The text that `parse_method` reads as this method: a preset's name, or what differs from CLIP.

    >>> write_method(METHODS["gem"]), write_method(Method("vv", blocks=2, alpha=0.5, mlp=False))
    ('gem', 'clip:attention=vv,blocks=2,alpha=0.5,mlp=no')
    """
    for name, preset in METHODS.items():
        if preset == method:
            return name
    changes = []
    for field in fields(method):
        value = getattr(method, field.name)
        if value != field.default:
            written = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            changes.append(f"{field.name}={written:g}" if isinstance(written, float) else f"{field.name}={written}")
    return f"clip:{','.join(changes)}"


def _parse_change(method: Method, change: str) -> tuple[str, Any]:
    key, _, text = (part.strip() for part in change.partition("="))
    names = [field.name for field in fields(method)]
    if key not in names or not text:
        raise ValueError(
            f"Expected FIELD=VALUE after a method's name, a field of {', '.join(names)}, but got {change!r}"
        )
    read, what = _READERS.get(key, (str, "text"))
    try:
        return key, read(text)
    except ValueError as error:
        raise ValueError(f"Expected {key} to be {what}, but got {text!r}") from error


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "no", "true", "false"):
        raise ValueError(text)
    return text.lower() in ("yes", "true")


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "blocks": (int, "a whole number"),
    "residual": (float, "a number"),
    "alpha": (float, "a number"),
    "mlp": (_yes_or_no, "yes or no"),
}
