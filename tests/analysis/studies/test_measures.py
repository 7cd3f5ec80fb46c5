"""The rows of every measure against the functions that examine one picture."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from analysis import compute_cosine_to_cls, compute_layers, contrast, decompose, flip_auc, logit_lens, score_contrast
from analysis.lens import turning_layer
from analysis.metrics import best_threshold_iou
from analysis.regions import Region
from analysis.studies import summarise_study
from analysis.studies.measures.maps import THRESHOLDS
from analysis.studies.thresholds import best_thresholds
from data.datasets import ToyScenes
from surgery import METHODS, dense_features, feature_surgery, load_model, similarity, similarity_maps
from tests.analysis.studies.conftest import SCENES

METHOD_NAMES = ("clip", "clip_surgery")


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture(scope="module")
def cases(toy):
    """(index, sample, trace, class region, patch region) of every object of the scenes."""
    found = []
    for index, sample in enumerate(ToyScenes(SCENES, 20_000)):
        trace = toy.trace(toy.preprocess([sample.image.to_pil()]))
        for thing in sample.regions():
            found.append((index, sample, trace, thing, Region.from_mask(thing.mask, trace.grid)))
    return found


def row_of(table, index, text, method=None):
    rows = table[(table["index"] == index) & (table["text"] == text)]
    (row,) = (rows if method is None else rows[rows["method"] == method]).to_dict("records")
    return row


@pytest.mark.parametrize("measure", ["maps", "maps_surgery"])
def test_maps(toy, cases, opened, measure):
    table = opened.table(measure)
    names = [name for id, name in ToyScenes(1).classes.items() if id]
    assert len(table) == 2 * len(cases)
    for index, sample, trace, thing, region in cases:
        for method in METHOD_NAMES:
            row = row_of(table, index, thing.text, method)
            features = dense_features(trace, METHODS[method])
            if measure == "maps":
                sim = similarity(features, toy.encode_text([thing.text]))
                column = 0
            else:
                sim, column = feature_surgery(features, toy.encode_text(names)), names.index(thing.text)
            values = sim.patches[0, :, :, column].numpy()
            assert row["contrast"] == pytest.approx(contrast(values, region), abs=1e-5)
            assert row["score_contrast"] == pytest.approx(score_contrast(values, region), abs=1e-5)
            assert row["flip_auc"] == pytest.approx(flip_auc(values, region), abs=1e-4)
            assert row["cls"] == pytest.approx(float(sim.cls[0, column]), abs=1e-5)
            enlarged = similarity_maps(sim, sample.mask.shape)[0, column].numpy()
            assert row["pixel_auc"] == pytest.approx(roc_auc_score(thing.mask.ravel(), enlarged.ravel()), abs=2e-3)
            difference = enlarged[thing.mask].mean() - enlarged[~thing.mask].mean()
            assert row["pixel_contrast"] == pytest.approx(difference, abs=1e-3)
            assert row["foreground_histogram"].sum() == thing.mask.sum()


def test_explainability_miou(toy, cases, opened):
    summary = summarise_study(opened.path, measures=["maps"])["maps"]
    for method in METHOD_NAMES:
        maps, masks = {}, {}
        for _, sample, trace, thing, _ in cases:
            sim = similarity(dense_features(trace, METHODS[method]), toy.encode_text([thing.text]))
            maps.setdefault(thing.text, []).append(similarity_maps(sim, sample.mask.shape, normalize="minmax")[0, 0])
            masks.setdefault(thing.text, []).append(thing.mask)
        best = {name: best_threshold_iou(maps[name], masks[name], thresholds=THRESHOLDS) for name in maps}
        found = best_thresholds(opened, "maps", method).set_index("text")
        assert found["iou"].to_dict() == pytest.approx({name: b.iou for name, b in best.items()}, abs=1e-3)
        row = summary[(summary["method"] == method) & (summary["quantity"] == "explainability_miou")].iloc[0]
        assert row["mean"] == pytest.approx(np.mean([b.iou for b in best.values()]), abs=1e-3)
        assert row["low"] < row["high"]


def test_layers(cases, opened):
    table = opened.table("layers")
    for index, _, trace, thing, region in cases[:6]:
        row = row_of(table, index, thing.text)
        found, cosines = compute_layers(trace, region), compute_cosine_to_cls(trace, region)
        for stream in ("residual", "attention", "mlp"):
            for group in ("cls", "patches", "foreground", "background"):
                for quantity, values in (("norm", found.norms), ("cosine", cosines)):
                    got = [row[f"{quantity}.{stream}.{group}.{block}"] for block in range(trace.depth)]
                    np.testing.assert_allclose(got, values.mean(stream, group)[:, 0], atol=1e-4)
        for block in range(trace.depth):
            for head in range(2):
                got = row[f"entropy.background.{block}.h{head}"]
                assert got == pytest.approx(found.entropy.mean("background")[block, 0, head], abs=1e-5)
                for number, kind in enumerate(("qk", "vv")):
                    got = [row[f"mass.{kind}.{side}.{block}.h{head}"] for side in ("foreground", "background")]
                    np.testing.assert_allclose(got, found.mass.mass[number, block, 0, head], atol=1e-5)


def test_lens(toy, cases, opened):
    table = opened.table("lens")
    for index, _, trace, thing, region in cases:
        row = row_of(table, index, thing.text)
        expected = logit_lens(trace, toy.encode_text([thing.text])).contrast(region)[0, :, 0]
        np.testing.assert_allclose([row[f"depth_{d}"] for d in range(len(expected))], expected, atol=1e-5)
        turn = turning_layer(expected)
        assert np.isnan(row["turning_depth"]) if turn is None else row["turning_depth"] == turn


def test_blame(toy, cases, opened):
    table = opened.table("blame")
    assert set(table["of"]) == {"contrast"}
    for index, _, trace, thing, region in cases[:6]:
        for method in METHOD_NAMES:
            blame = decompose(trace, toy.encode_text([thing.text]), METHODS[method])
            row = row_of(table, index, thing.text, method)
            expected = blame.contrast(region)[0, :, 0]
            np.testing.assert_allclose([row[label] for label in blame.labels], expected, atol=1e-6)
            assert row["sum"] == pytest.approx(contrast(blame.similarity[0, ..., 0], region), abs=1e-4)
            absent = {name for name in table.columns[5:] if name not in blame.labels}
            assert all(np.isnan(row[name]) for name in absent)
