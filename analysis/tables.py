"""Tables that commands write into Markdown files, between markers."""

import re
from pathlib import Path

from data.store import write_bytes


def replace_section(path: Path, name: str, text: str) -> None:
    """Replaces what stands between `<!-- name:start -->` and `<!-- name:end -->` in a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file does not have the two markers exactly once, in this order.
    """
    old = path.read_text(encoding="utf-8")
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if old.count(start) != 1 or old.count(end) != 1 or old.index(start) > old.index(end):
        raise ValueError(f"Expected {path} to have the markers {start} and, after it, {end} once each")
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    write_bytes(path, pattern.sub(lambda _: f"{start}\n{text}\n{end}", old).encode())
