"""The tables of a report against the report itself."""

import numpy as np
import pytest

from analysis import diagnose
from analysis.flip_tables import component_table, method_table
from data.samples import load_sample
from surgery import load_model


@pytest.fixture(scope="module")
def report():
    sample = load_sample("toy-3")
    model = load_model("toy", device="cpu")
    return diagnose(model, sample.image.to_pil(), "a green ring", sample.masks["a green ring"], ablate=True)


def test_parts_and_wholes_both_add_up_to_the_contrast(report):
    table = component_table(report)
    assert table["component"].is_unique
    whole = table[~table["kind"].isin(["head", "bias"])]
    parts = table[table["kind"] != "attention"]
    for rows in (whole, parts):
        assert rows["blame"].sum() == pytest.approx(report.contrast["clip"], abs=1e-5)


def test_rows_marked_in_sum_add_up_to_the_contrast_and_the_others_to_their_parts(report):
    table = component_table(report)
    assert table.loc[table["in_sum"], "blame"].sum() == pytest.approx(report.contrast["clip"], abs=1e-5)
    wholes = table[~table["in_sum"]]
    assert set(wholes["kind"]) == {"attention"}
    for _, whole in wholes.iterrows():
        parts = table[(table["block"] == whole["block"]) & table["kind"].isin(["head", "bias"])]
        assert parts["blame"].sum() == pytest.approx(whole["blame"], abs=1e-6)


def test_removals_are_beside_what_blame_says(report):
    table = component_table(report).set_index("component")
    assert table["change"].notna().sum() == len(report.interventions)
    for found in report.interventions:
        row = table.loc[found.component.label]
        assert row["change"] == pytest.approx(found.change) and row["contrast_without"] == pytest.approx(found.contrast)
        assert row["blame"] == pytest.approx(found.blame, abs=1e-6)


def test_components_stand_in_the_order_of_the_network(report):
    blocks = component_table(report)["block"].dropna().to_numpy(dtype=int)
    assert (np.diff(blocks) >= 0).all()


def test_methods_carry_settings_and_figures(report):
    table = method_table(report).set_index("method")
    assert list(table.index) == list(report.readings)
    for name, found in report.readings.items():
        assert table.loc[name, "flip_auc"] == found.flip_auc
        assert table.loc[name, "attention"] == found.method.attention
