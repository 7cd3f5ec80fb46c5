"""Papers are cited so that the place can be found."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path for folder in ("surgery", "analysis", "data", "dashboard") for path in (ROOT / folder).rglob("*.py")]
PAPER = r"(CLIP Surgery|Li et al\. 2023|2304\.05653)"
NUMBERED = re.compile(rf"{PAPER}[^.;:)]{{0,60}}\bsection \d|\bsection \d[.\d]*[^.;:)]{{0,30}}{PAPER}", re.IGNORECASE)


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_clip_surgery_is_cited_by_subject(path: Path) -> None:
    """There are two versions under one arXiv number, so the number of a section alone names no place."""
    text = " ".join(path.read_text(encoding="utf-8").split())
    assert [found[0] for found in NUMBERED.finditer(text)] == []
