"""The Study page over large studies: what it sends stays small, and it says where it shows a sample."""

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import studies
from dashboard.figures.study import MOST_POINTS
from tests.benchmarks.study_page import TEXTS, Shape, open_page, show, write_synthetic

MOST_BYTES = 2_000_000
SHAPES = {
    "5000": Shape(5_000, blocks=2, heads=2, part_length=512),
    "100000": Shape(100_000, methods=2, blocks=2, heads=2, measures=("maps", "lens", "blame"), part_length=2048),
}


def figures(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(element.proto.spec) for element in app.get("plotly_chart")]


def test_what_is_sent_is_bounded_and_a_sample_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(studies.STUDIES_VARIABLE, str(tmp_path))
    app = open_page()
    for name, shape in SHAPES.items():
        write_synthetic(tmp_path / name, shape)
        assert 100_000 < show(app, id=f"lab-{name}").bytes < MOST_BYTES
        titles = [figure["layout"]["title"]["text"] for figure in figures(app)]
        assert sum("sample of 4,000" in title for title in titles) == (2 if name == "5000" else 1)
        dots = [len(trace.get("customdata", ())) for figure in figures(app) for trace in figure["data"]]
        assert max(dots) == MOST_POINTS
        words = " ".join(element.value for element in app.markdown)
        assert f"{shape.images:,} pictures, {3 * shape.images:,} maps" in words
        assert ("sample of about 20,000 maps" in words) == (name == "100000")
        assert show(app, text=TEXTS[0]).bytes < MOST_BYTES
        words = " ".join(element.value for element in app.markdown)
        assert f"{3 * shape.images // 5:,} chosen" in words
        show(app, text="")
