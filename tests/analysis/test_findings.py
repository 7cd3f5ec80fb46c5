"""The published claims on fresh toy scenes: a study, and its table."""

import pytest

from analysis.findings import findings_study, findings_table
from analysis.studies import run_study, summarise_study
from analysis.tables import replace_section


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("findings") / "study"
    run_study(findings_study(100), path, device="cpu")
    return path


@pytest.fixture(scope="module")
def found(folder):
    return summarise_study(folder)


def test_removing_the_worst_component_helps_more_than_removing_a_random_one(found):
    figures = found["ablation"].set_index("quantity")
    assert figures.loc["worst", "mean"] > figures.loc["random", "mean"]
    assert figures.loc["worst_minus_random", "low"] > 0
    difference = figures.loc["worst", "mean"] - figures.loc["random", "mean"]
    assert figures.loc["worst_minus_random", "mean"] == pytest.approx(difference, abs=1e-6)
    assert figures.loc["rank_correlation", "low"] > 0


def test_leaving_a_word_out_points_at_what_it_names(found):
    words = found["words"]
    points = words[(words["quantity"] == "points_at_it") & (words["source"] == "left out")]
    assert set(points["of"]) == {"object", "background"} and (points["low"] > 0.5).all()


def test_the_table_says_what_was_found(folder, found):
    table, first = findings_table(folder), found["ablation"].set_index("quantity").loc["worst"]
    assert "in 100 fresh toy scenes" in table and table.count("\n") == 9
    assert f"{first['mean']:.3f} ({first['low']:.3f} to {first['high']:.3f})" in table


def test_a_section_is_replaced_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- t:start -->\nold\n<!-- t:end -->\nb\n")
    replace_section(page, "t", r"new \1")
    assert page.read_text() == "a\n<!-- t:start -->\nnew \\1\n<!-- t:end -->\nb\n"
    with pytest.raises(ValueError, match="have the markers <!-- x:start -->"):
        replace_section(page, "x", "new")
    page.write_text("<!-- t:end -->\n<!-- t:start -->")
    with pytest.raises(ValueError, match="after it, <!-- t:end --> once each"):
        replace_section(page, "t", "new")
    assert page.read_text() == "<!-- t:end -->\n<!-- t:start -->"
