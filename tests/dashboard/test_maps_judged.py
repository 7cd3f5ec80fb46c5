"""Which map explains best, on the Maps page without a browser."""

from dataclasses import replace

import numpy as np
import pytest

from dashboard.case import Case
from dashboard.figures.judged import plot_judged
from dashboard.jobs import Job
from dashboard.pages.maps import judged
from dashboard.pages.maps.settings import MapsSettings
from data.samples import load_sample

SCENE = load_sample("toy-2")
NAME = next(iter(SCENE.masks))
CASE = Case(image="toy-2", prompts=SCENE.prompts, region=f"object:{NAME}", methods=("clip", "custom"))


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    """Few steps and explainers, so that it takes no time."""
    monkeypatch.setattr(judged, "STEPS", 4)
    monkeypatch.setattr(judged, "usable_explainers", lambda tower: ("legrad",))


def test_the_table_is_that_of_the_library_and_counts_what_beats_chance() -> None:
    found = judged.judge_work(CASE)(Job())
    table = judged.judged_table(found).set_index("name")
    assert set(table.index) == {"clip", "custom", "legrad", "random", "centre"}
    assert table.insertion.is_monotonic_decreasing
    run: dict = {}
    exec(judged.python_judged(CASE).replace("steps=4", 'steps=4, explainers=["legrad"]'), run)
    expected = run["table"].set_index("name").loc[table.index]
    for figure in judged.FIGURES:
        np.testing.assert_allclose(table[figure], expected[figure], atol=1e-5, err_msg=figure)
    assert table.beats["random"] == "baseline"
    won = sum(
        (table[figure]["custom"] > table[figure][["random", "centre"]].max())
        if more
        else (table[figure]["custom"] < table[figure][["random", "centre"]].min())
        for figure, more in judged.FIGURES.items()
    )
    assert table.beats["custom"] == f"{won} of 5"
    assert len(plot_judged(found.maps).data) == 2 * len(found.maps)


def test_a_region_of_another_thing_judges_nothing(open_app) -> None:
    other = next(prompt for prompt in SCENE.prompts if prompt != NAME)
    assert judged.judging_region(CASE) and not judged.judging_region(replace(CASE, prompt=other))
    app = open_app(CASE, MapsSettings(judged=True))
    assert not app.exception and not app.error
    assert "insertion" in app.dataframe[0].value.columns
