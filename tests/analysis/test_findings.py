"""The published claims on fresh toy scenes, and the arithmetic of their figures."""

import numpy as np
import pytest

from analysis.findings import FRESH_SEED, ablation_finding, estimate, findings_table, word_finding
from analysis.tables import replace_section
from data.toy import make_scenes
from surgery import load_model


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(200, FRESH_SEED)


def test_removing_the_worst_component_helps_more_than_removing_a_random_one(toy, scenes):
    found = ablation_finding(toy, scenes)
    assert found.worst.mean > found.random.mean
    assert found.difference.low > 0
    assert found.difference.mean == pytest.approx(found.worst.mean - found.random.mean)
    assert found.rank_correlation.low > 0


def test_leaving_a_word_out_points_at_what_it_names(toy, scenes):
    found = word_finding(toy, scenes, "left out")
    assert found.objects.low > 0.5 and found.backgrounds.low > 0.5


def test_the_table_says_what_was_found(toy, scenes):
    ablation, words = ablation_finding(toy, scenes[:4]), word_finding(toy, scenes[:4])
    table = findings_table(ablation, [words])
    assert "over 4 fresh toy scenes" in table and str(words.objects) in table and str(ablation.worst) in table


def test_estimate_by_hand():
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    found = estimate(values)
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.02)
    with pytest.raises(ValueError, match="at least 2 values"):
        estimate([1.0])


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
