"""The dashboard without a browser."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.address import to_query
from dashboard.case import Case
from dashboard.jobs import Job
from dashboard.settings import Settings, View

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
OpenApp = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def own_print_options() -> Iterator[None]:
    """What the lines of a page set for printing arrays ends with the test that runs them."""
    with np.printoptions():
        yield


@pytest.fixture
def open_app() -> OpenApp:
    """A function that opens the dashboard as a new visitor; with a case or settings, at their address.

    `open_app()`, `open_app(Case(...))`, `open_app(case, FlipSettings(ablate=True), page="flip")`,
    `open_app(query={"p": ["grass"]})`.
    """

    def open_it(
        case: Case | None = None, *settings: Settings, page: str = "", query: dict[str, list[str]] | None = None
    ) -> AppTest:
        app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
        for name, values in (query or (to_query(View(case, settings)) if case else {})).items():
            app.query_params[name] = values
        if page:
            app.switch_page(f"dashboard/pages/{page}/{page}.py")
        return app.run()

    return open_it


def component_data(app: AppTest, name: str) -> list[dict[str, Any]]:
    """What the components called `name` were sent, in order."""
    found = [element.proto for element in app.get("bidi_component")]
    return [json.loads(proto.json) for proto in found if proto.component_name == name]


def carried_out(work: Callable[[Job[T]], T]) -> T:
    """The result of work that pages do in the background."""
    return work(Job())


def error_texts(app: AppTest) -> str:
    """All error messages on the page, as one text without the backslashes that keep them from being Markdown."""
    return "\n".join(error.value.replace("\\", "").replace("\u2060", "") for error in app.error)
