"""Pins: what the drawer does with them, the file they are taken away in, and what differs between two of them. Pure.

case = add_pin(case, pin)                  # and without_pin, moved_pin, renamed_pin: all give a new case
first, second = slots(case)                # what Compare shows: numbers of pins, or methods of the present view
pins = read_pins(file)                     # what `write_pins` wrote, checked as pins of the address are
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace

from dashboard.address import read_pin, write_method
from dashboard.case import (
    CUSTOM,
    MAX_NAME,
    MAX_NOTE,
    MAX_PINS,
    METHOD_NAMES,
    PLACES,
    Case,
    Pin,
    case_of_pin,
    describe_method,
    describe_model,
    describe_region,
    examinable_prompts,
    examined_prompt,
    method_title,
    pin_of,
)

KIND, VERSION = "clip-theatre pins", 1
MAX_FILE_BYTES = 1_000_000
DEFAULT_PAIR = ("", "")
UNASKED = ""
"""An aspect that does not matter to a case, and so does not differ."""


def add_pin(case: Case, pin: Pin) -> Case:
    """The case with one more pin; as it was where the drawer is full or has it already."""
    if any(bare(pin) == bare(kept) for kept in case.pins) or len(case.pins) >= MAX_PINS:
        return case
    return replace(case, pins=(*case.pins, pin))


def without_pin(case: Case, place: int) -> Case:
    """The case without one pin; what was compared stays, but for the pin that has gone."""
    order = [index for index in range(len(case.pins)) if index != place]
    return _in_order(case, order)


def moved_pin(case: Case, place: int, step: int) -> Case:
    """The case with one pin earlier (step -1) or later (step 1) in the drawer."""
    order = list(range(len(case.pins)))
    if 0 <= place < len(order) and 0 <= place + step < len(order):
        order.insert(place + step, order.pop(place))
    return _in_order(case, order)


def _in_order(case: Case, order: Sequence[int]) -> Case:
    """The pins at these places, and the pair with their new numbers."""
    numbers = {PLACES[old]: PLACES[new] for new, old in enumerate(order)}
    pair = tuple(slot if slot in METHOD_NAMES else numbers.get(slot, "") for slot in case.pair)
    return replace(case, pins=tuple(case.pins[index] for index in order), pair=pair)


def renamed_pin(case: Case, place: int, **texts: str) -> Case:
    """The case with another `name` or `note` of one pin, without what cannot be printed."""
    limits = {"name": MAX_NAME, "note": MAX_NOTE}
    kept = {field: "".join(filter(str.isprintable, text))[: limits[field]] for field, text in texts.items()}
    pins = [replace(pin, **kept) if index == place else pin for index, pin in enumerate(case.pins)]
    return replace(case, pins=tuple(pins))


def bare(pin: Pin) -> Pin:
    """The pin without name and note: what it is computed from."""
    return replace(pin, name="", note="")


def live_pin(case: Case, method: str) -> Pin:
    """The pin of the present view: the text under examination, and one method.

    Raises:
        ValueError: there is neither a prompt nor an object region.
    """
    text = examined_prompt(case)
    texts = case.prompts if text in case.prompts else examinable_prompts(case)
    return pin_of(replace(case, prompts=texts), texts.index(text), method)


def slots(case: Case) -> tuple[str, str]:
    """What Compare shows: numbers of pins, or names of methods, which mean the present view.

    What the case does not say, or says of a pin that is not there, is the first pins; where there are none, CLIP and
    the case's method.

    >>> slots(Case())
    ('clip', 'clip_surgery')
    """
    here = PLACES[: len(case.pins)]
    said = [slot if slot in METHOD_NAMES or slot in here else "" for slot in case.pair]
    methods = ("clip", case.method_a if case.method_a != "clip" else "clip_surgery")
    free = [slot for slot in (*here, *methods) if slot not in said]
    first = said[0] or free.pop(0)
    return first, said[1] or free.pop(0)


def pin_in(case: Case, slot: str) -> Pin:
    """The pin that a slot means.

    Raises:
        ValueError: as `live_pin`.
    """
    return live_pin(case, slot) if slot in METHOD_NAMES else case.pins[PLACES.index(slot)]


def chosen_for(case: Case, side: int, slot: str) -> Case:
    """The case with another slot on side 0 (A) or 1 (B); the other side's own slot changes places with it."""
    old = slots(case)
    pair = (slot, old[1]) if side == 0 else (old[0], slot)
    return replace(case, pair=old[::-1] if pair[0] == pair[1] else pair)


def opened(case: Case, slot: str) -> Case:
    """A pinned case on the table; the methods shown, the drawer and the pair stay."""
    pin = pin_in(case, slot)
    methods = case.methods if pin.method in case.methods else (*case.methods, pin.method)
    method = case.method_a if pin.method == "clip" else pin.method
    return replace(case_of_pin(pin), methods=methods, method_a=method, pins=case.pins, pair=case.pair)


def describe_pin_method(pin: Pin) -> str:
    """The method in words, the free one with its numbers."""
    method = describe_method(pin.custom) if pin.method == CUSTOM else method_title(pin.method)
    return f"{method} + feature surgery" if pin.feature_surgery else method


def describe_pin(pin: Pin, image: str) -> str:
    """A pin in one line, its image called as given; texts of visitors in it are not escaped."""
    size = f" · {pin.size} px" if pin.size else ""
    return f"{image} · “{pin.text}” · {describe_model(pin.model, pin.weights)}{size} · {describe_pin_method(pin)}"


def differences(first: Pin, second: Pin, title: Callable[[str], str]) -> str:
    """What two pins share, and what differs between them, in one line.

    Args:
        first, second: any pins.
        title: `Pin.image` -> how it is called.

    >>> a = pin_of(Case(prompts=("sky", "grass")), 0, "clip")
    >>> differences(a, replace(a, model="ViT-B-16", weights="openai"), str)
    'Same image and prompt; model toy against ViT-B-16 openai; method CLIP'
    """
    said = [_aspects(pin, title) for pin in (first, second)]
    if said[0] == said[1]:
        return "A and B are the same case"
    pairs = {name: (said[0][name], said[1][name]) for name in said[0]}
    differing = [f"{name} {a} against {b}" for name, (a, b) in pairs.items() if a != b and UNASKED not in (a, b)]
    same = [name for name in ("image", "prompt", "model") if said[0][name] == said[1][name]]
    words = [f"Same {_listed(same)}"] if same else []
    words += differing
    if said[0]["method"] == said[1]["method"]:
        words.append(f"method {said[0]['method']}")
    line = "; ".join(words)
    return line[0].upper() + line[1:]


def what_differs(first: Pin, second: Pin, title: Callable[[str], str]) -> tuple[str, str]:
    """What each of two pins is called beside the other: what differs, or the method. Arguments as above."""
    said = [_aspects(pin, title) for pin in (first, second)]
    names = [name for name in ("image", "prompt", "model", "method") if said[0][name] != said[1][name]] or ["method"]
    return tuple(" · ".join(aspects[name] for name in names) for aspects in said)


def _aspects(pin: Pin, title: Callable[[str], str]) -> dict[str, str]:
    """Name of what a pin consists of -> how it reads."""
    return {
        "image": title(pin.image),
        "prompt": f"“{pin.text}”",
        "model": describe_model(pin.model, pin.weights),
        "method": describe_pin_method(pin),
        "region": describe_region(pin.region) or "none",
        "input size": f"{pin.size} px" if pin.size else "native",
        "fit": pin.fit,
        "templates": pin.templates,
        "company of prompts": ", ".join(pin.prompts) if pin.feature_surgery else UNASKED,
    }


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def write_pins(pins: Sequence[Pin]) -> bytes:
    """All pins as one JSON file; images that were uploaded are named by their SHA-256."""
    rows = [{**asdict(pin), "custom": write_method(pin.custom)} for pin in pins]
    content = {"kind": KIND, "version": VERSION, "pins": rows}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def read_pins(content: bytes) -> tuple[Pin, ...]:
    """The inverse of `write_pins`.

    Raises:
        ValueError: another file, a newer one, or one with more or with other pins than pages make.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(
            f"Expected a file of pins of at most {MAX_FILE_BYTES // 10**6} MB, but got {len(content)} bytes"
        )
    try:
        said = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError("Expected a file of pins as this drawer saves it, but got no JSON") from error
    if not isinstance(said, dict) or said.get("kind") != KIND or not isinstance(said.get("pins"), list):
        raise ValueError("Expected a file of pins as this drawer saves it, but got another JSON file")
    if said.get("version") != VERSION:
        raise ValueError(f"Expected pins of version {VERSION}, but got {str(said.get('version'))[:20]!r}")
    if not 0 < len(said["pins"]) <= MAX_PINS:
        raise ValueError(f"Expected a file of 1 to {MAX_PINS} pins, but got {len(said['pins'])}")
    return tuple(_read_row(number, row) for number, row in enumerate(said["pins"], start=1))


def _read_row(number: int, row: object) -> Pin:
    names = [field.name for field in fields(Pin)]
    if not isinstance(row, dict) or set(row) != set(names):
        raise ValueError(f"Expected pin {number} of the file to have {', '.join(names)}, but got something else")
    try:
        return read_pin(json.dumps([row[name] for name in names]))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected pin {number} of the file to be one that a page made, but got something else"
        ) from error


def brought_back(case: Case, pins: Sequence[Pin]) -> Case:
    """The case with pins of a file behind those that are here; what is here already is left out.

    Raises:
        ValueError: there is no room for all of them.
    """
    here = {bare(pin) for pin in case.pins}
    new = [pin for pin in dict.fromkeys(pins) if bare(pin) not in here]
    if len(case.pins) + len(new) > MAX_PINS:
        raise ValueError(
            f"Expected room for {len(new)} more pins, but got {MAX_PINS - len(case.pins)} of {MAX_PINS} places left"
        )
    return replace(case, pins=(*case.pins, *new))
