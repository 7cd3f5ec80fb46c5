"""Measures of a whole data set against independent loops: recognition, retrieval, segmentation, alpha."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

from analysis.metrics import best_threshold_iou, contrast, flip_auc, score_contrast
from analysis.regions import Region
from analysis.studies import Study, open_study, run_study, summarise_study
from analysis.sweep import SweepGrid
from data.datasets import ToyScenes
from surgery import Method, dense_features, feature_surgery, load_model, similarity, similarity_maps

SCENES = 66
GRID = SweepGrid(kinds=("vv",), blocks=(2,), alpha=(0.5, 2.0))


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture(scope="module")
def samples():
    return list(ToyScenes(SCENES, 20_000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "study"
    measures = ("recognition", "retrieval", "segmentation", "alpha")
    run_study(Study(data=f"toy:{SCENES}", methods=("clip_surgery",), measures=measures, grid=GRID), path, device="cpu")
    return path


@pytest.fixture(scope="module")
def found(folder):
    return {name: table.set_index("quantity") for name, table in summarise_study(folder).items()}


@pytest.fixture(scope="module")
def traces(toy, samples):
    return [toy.trace(toy.preprocess([sample.image.to_pil()])) for sample in samples]


def test_recognition_against_scikit_learn(toy, samples, traces, found):
    names = [name for id, name in samples[0].names.items() if id]
    text = toy.encode_text(names)
    features = [dense_features(trace, "clip") for trace in traces]
    cosines = torch.cat([similarity(f, text).cls for f in features]).numpy()
    scores = {
        "cosine": cosines,
        "feature_surgery": torch.cat([feature_surgery(f, text).cls for f in features]).numpy(),
        "softmax": (torch.from_numpy(cosines) * toy.logit_scale).softmax(dim=-1).numpy(),
    }
    classes = [set(sample.classes.values()) for sample in samples]  # each of which is read off a mask
    present = np.array([[name in own for name in names] for own in classes])
    shown = np.flatnonzero(present.any(axis=0))
    for name, values in scores.items():
        expected = np.mean([average_precision_score(present[:, t], values[:, t]) for t in shown])
        row = found["recognition"].loc[f"map_{name}"]
        assert row["mean"] == pytest.approx(expected, abs=1e-4) and row["low"] < row["mean"] < row["high"]


def test_retrieval_against_a_plain_loop(toy, samples, traces, found):
    captions = np.array([sample.captions[0] for sample in samples])
    images = F.normalize(torch.cat([dense_features(trace, "clip").cls for trace in traces]), dim=-1)
    cosines = (images @ toy.encode_text(captions.tolist()).mT).numpy()
    for name, matrix in (("image_to_text", cosines), ("text_to_image", cosines.T)):
        for k in (1, 5):
            hits = [captions[i] in captions[np.argsort(-row)[:k]] for i, row in enumerate(matrix)]
            assert found["retrieval"].loc[f"{name}_r{k}", "mean"] == pytest.approx(np.mean(hits))
        first = captions[matrix[:64, :64].argmax(axis=1)] == captions[:64]
        assert found["retrieval"].loc[f"{name}_of_64", "mean"] == pytest.approx(first.mean())


def test_segmentation_against_a_plain_loop(toy, samples, traces, found):
    ids = [id for id in samples[0].names if id]
    text = toy.encode_text([samples[0].names[id] for id in ids])
    hits, union, right, counted = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0), 0, 0
    for sample, trace in zip(samples, traces, strict=True):
        mask = sample.mask
        maps = similarity_maps(similarity(dense_features(trace, "clip_surgery"), text), mask.shape)[0]
        predicted, known = np.array(ids)[maps.argmax(dim=0).numpy()], mask != 0
        right, counted = right + (predicted == mask)[known].sum(), counted + known.sum()
        for id in ids:
            truth, guess = (mask == id) & known, (predicted == id) & known
            hits[id] += (truth & guess).sum()
            union[id] += (truth | guess).sum()
    figures = found["segmentation"]["mean"]
    ious = {id: hits[id] / union[id] for id in ids if union[id]}
    assert figures["miou"] == pytest.approx(np.mean(list(ious.values())), abs=1e-5)
    present = {id for sample in samples for id in sample.classes if id}
    assert figures["miou_present"] == pytest.approx(np.mean([ious[id] for id in present]), abs=1e-5)
    assert figures["pixel_accuracy"] == pytest.approx(right / counted, abs=1e-5)


def test_alpha_against_the_metrics(toy, samples, traces, folder):
    table = open_study(folder).table("alpha")
    assert len(set(zip(table["residual"], table["alpha"], strict=True))) == 3  # 0.5, 2 and no residual
    for index in range(3):
        for thing in samples[index].regions():
            region = Region.from_mask(thing.mask, traces[index].grid)
            features = dense_features(traces[index], Method("vv", 2, 1.0, 2.0, False))
            values = similarity(features, toy.encode_text([thing.text])).patches[0, :, :, 0].numpy()
            at = (table["index"] == index) & (table["text"] == thing.text) & (table["alpha"] == 2)
            (row,) = table[at].to_dict("records")
            best = best_threshold_iou([values], [region.foreground], [region.foreground | region.background])
            assert row["contrast"] == pytest.approx(contrast(values, region), abs=1e-5)
            assert row["score_contrast"] == pytest.approx(score_contrast(values, region), abs=1e-5)
            assert row["flip_auc"] == pytest.approx(flip_auc(values, region), abs=1e-4)
            assert row["iou"] == pytest.approx(best.iou, abs=1e-2)
