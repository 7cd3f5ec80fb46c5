"""What the embedded model is there to show, over 200 scenes that it was not trained on, and the table that says so."""

import pytest

from analysis.evaluation.__main__ import main
from analysis.evaluation.toy import evaluate_toy, toy_methods, toy_study, toy_table
from analysis.studies import Study

SCENES, SEED = 200, 2024


@pytest.fixture(scope="module")
def report():
    study = Study(data=f"toy:{SCENES}", measures=("maps", "maps_surgery", "retrieval"), seed=SEED)
    return evaluate_toy(study)


def test_raw_clip_maps_are_flipped(report):
    figures = report.plain["clip"]
    assert figures.loc["flip_auc", "images"] == SCENES
    assert figures.loc["flip_auc", "mean"] < 0.35
    assert figures.loc["score_contrast", "mean"] <= -0.20


def test_clip_surgery_turns_them_right(report):
    figures = report.plain["clip_surgery"]
    assert figures.loc["flip_auc", "mean"] > 0.85
    assert figures.loc["score_contrast", "mean"] >= 0.45


def test_the_model_knows_its_captions(report):
    assert (report.retrieval.loc[["image_to_text_of_64", "text_to_image_of_64"], "mean"] >= 0.8).all()


def test_the_command_writes_the_table_between_the_markers(tmp_path, capsys, report, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("<!-- toy-table:start -->\n<!-- toy-table:end -->\n")
    few = dict(list(toy_methods().items())[:3:2])  # CLIP and CLIP Surgery, which the report holds
    monkeypatch.setattr("analysis.evaluation.toy.toy_methods", lambda: few)
    monkeypatch.setattr("analysis.evaluation.__main__.evaluate_toy", lambda *arguments: report)
    assert main(["toy", "--n", "64", "--write", str(page)]) == 0
    table = toy_table(report)
    assert table in page.read_text() and table in capsys.readouterr().out
    auc = report.plain["clip_surgery"].loc["flip_auc", "mean"]
    assert "| CLIP Surgery | +" in table and f"| {auc:.2f} |" in table


def test_the_table_has_the_presets_and_fewer_blocks_of_clip_surgery():
    titles = list(toy_methods())
    assert len(toy_study(64).methods) == len(titles) == 15
    assert titles[-1] == "CLIP Surgery, last 1 block only" and titles[10] == "CLIP Surgery, last 5 blocks only"


def test_the_command_reports_its_errors(capsys):
    assert main(["toy", "--n", "10"]) == 1
    assert "Expected n to be at least 64 scenes" in capsys.readouterr().err
