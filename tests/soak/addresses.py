"""Addresses that nobody's page has written, the same ones for the same number."""

import json
import random
from collections.abc import Iterator
from urllib.parse import quote

from dashboard.address import FIELDS
from dashboard.pages import PAGES

NUMBERS = ("nan", "inf", "1e999", "3e38", "-1", "9" * 400, "0", "2048", "٣", "1_0", "0x10", "")
TEXTS = (
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "\x1b[2J",
    "a\x00b",
    "x" * 3000,
    "=1+1",
    "\u202eabc",
    "👩‍🚀" * 50,
)
REGIONS = (
    "box:0,0,0,0",
    "box:9,9,1,1",
    "box:a,b,c,d",
    "box:nan,0,9,9",
    "polygon:1,1,2",
    "mask:zz#1",
    "object:none",
    "x",
)
PINS = ("[" * 990, "{", "[1,2]", json.dumps(["toy", "", "toy-0", 1e300, "none", ["a"], 0, "clip", "vv", 0]))
CUSTOM = ("vv,5,3e38,1,0,bicubic", "vv,999999,1,1,0,bicubic", "qk,1,2,1,0,bicubic", "vv", "gem,6,0,100,1,bilinear")
NAMED = (
    ("p=a&image=toy-5&size=2048", "pin=" + "[" * 990, "custom=vv,5,3e38,1,0,bicubic")
    + tuple(f"region={quote(region)}" for region in REGIONS)
    + tuple(f"pin={quote(pin)}" for pin in PINS)
)


def hostile_addresses(count: int) -> Iterator[str]:
    """Query strings: those that once broke pages first, then mixtures."""
    choice = random.Random(0)
    names = [field.name for field in FIELDS.values()]
    names += [f"{page.settings.PAGE}.{field.name}" for page in PAGES for field in page.settings.FIELDS.values()]
    values = NUMBERS + TEXTS + REGIONS + PINS + CUSTOM
    for index in range(count):
        if index < len(NAMED):
            yield NAMED[index]
        else:
            pairs = ((choice.choice(names), choice.choice(values)) for _ in range(choice.randint(1, 4)))
            yield "&".join(f"{name}={quote(value)}" for name, value in pairs)
