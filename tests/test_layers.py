"""The import rules of the project, read from the source: who may import whom, and who may know which library."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("data", "surgery", "analysis", "dashboard", "streamlit_app")  # each may import itself and those before it
WEB_LIBRARIES = {"streamlit", "plotly"}
MAX_LINES = 350

SOURCES = [ROOT / "streamlit_app.py", *(path for layer in LAYERS[:-1] for path in sorted((ROOT / layer).rglob("*.py")))]
SOURCES = [path.relative_to(ROOT) for path in SOURCES if path.exists()]
ALL_FILES = SOURCES + [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("*.py"))]


def imported_modules(source: str, package: tuple[str, ...]) -> set[str]:
    """Return the dotted names that a module imports anywhere, also inside functions; relative ones made absolute."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else ())))
            names.update(f"{module}.{alias.name}" if module == "dashboard.pages" else module for alias in node.names)
    return names


def violations(path: Path, source: str) -> list[str]:
    """Return one sentence for every import in `source` that the file at `path` must not contain."""
    layer = path.parts[0].removesuffix(".py")
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    found = []
    for name in sorted(imported_modules(source, path.parent.parts)):
        top = name.split(".")[0]
        if top in LAYERS and top not in allowed:
            found.append(f"{path} imports {name}, which is above it")
        if top == "tests":
            found.append(f"{path} imports {name}; tests are never installed")
        if top in WEB_LIBRARIES and layer not in ("dashboard", "streamlit_app"):
            found.append(f"{path} imports {name}, which only the dashboard may")
        if name.startswith("dashboard.pages.") and not may_import_page(path, name):
            found.append(f"{path} imports {name}, which belongs to one page alone")
        if top == "open_clip" and layer != "surgery" and path != Path("data/toy/train.py"):
            found.append(f"{path} imports {name}, which only surgery may")
    return found


def may_import_page(path: Path, name: str) -> bool:
    """Whether the file may import this module of the folder of pages: the registry is for all, a page for itself."""
    page = name.split(".")[2]
    return page in ("info", "PAGES") or path.parts[:3] == ("dashboard", "pages", page)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_downwards(path: Path) -> None:
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", ALL_FILES, ids=str)
def test_files_stay_short(path: Path) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    ("path", "source", "word"),
    [
        ("data/images.py", "from surgery import Method", "above"),
        ("data/toy/scenes.py", "from ...analysis.norms import x", "above"),
        ("analysis/norms.py", "def f():\n    import dashboard.state", "above"),
        ("surgery/maps.py", "import plotly.graph_objects as go", "dashboard"),
        ("data/toy/scenes.py", "import open_clip", "surgery"),
        ("analysis/norms.py", "from open_clip import create_model", "surgery"),
        ("surgery/maps.py", "from tests.conftest import shared", "tests"),
        ("dashboard/pages/flip/body.py", "from dashboard.pages.maps.body import note", "one page alone"),
        ("dashboard/pages/flip/body.py", "from dashboard.pages.maps import body", "one page alone"),
        ("dashboard/pages/flip/body.py", "from ..maps.body import note", "one page alone"),
        ("dashboard/pages/flip/body.py", "def f():\n    from dashboard.pages import maps", "one page alone"),
        ("dashboard/panels/page.py", "from dashboard.pages.maps.body import note", "one page alone"),
        ("dashboard/state.py", "import dashboard.pages.maps.settings", "one page alone"),
    ],
)
def test_the_rules_catch_what_they_forbid(path: str, source: str, word: str) -> None:
    (message,) = violations(Path(path), source)
    assert word in message


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("data/toy/train.py", "import open_clip"),
        ("dashboard/figures.py", "import plotly\nfrom analysis import decompose"),
        ("analysis/norms.py", "from .regions import Region\nfrom surgery import Method"),
        ("streamlit_app.py", "import streamlit\nfrom dashboard import state"),
        (
            "dashboard/pages/flip/body.py",
            "from dashboard.pages.flip.results import x\nfrom dashboard.panels import page",
        ),
        ("dashboard/address.py", "from dashboard.pages import PAGES"),
        ("dashboard/panels/page.py", "from dashboard.pages.info import PageInfo"),
    ],
)
def test_the_rules_allow_the_rest(path: str, source: str) -> None:
    assert violations(Path(path), source) == []
