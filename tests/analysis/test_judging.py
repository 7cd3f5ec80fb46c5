"""Every explanation of one image by the same figures, against the functions that each figure comes from."""

import numpy as np
import pytest
import torch

from analysis import Region, flip_auc, insertion_deletion, judge_explanations, pointing_game, score_contrast
from analysis.explainers import explain
from analysis.judging import Judge, baseline_maps, iterate_best
from analysis.studies import Study, open_study, run_study, summarise_study
from data.datasets import ToyScenes
from surgery import METHODS, dense_features, load_model, similarity
from tests.tiny import picture, tiny_model

METHODS_SHOWN = {name: METHODS[name] for name in ("clip", "maskclip", "tagclip")}


@pytest.fixture(scope="module")
def case():
    model = tiny_model("tiny-vit")
    pixels = model.preprocess([picture()], size=(48, 64))
    text = torch.randn(1, 24, generator=torch.Generator().manual_seed(1))
    return model, pixels, text, Region.from_patches([(0, 1), (2, 3), (2, 4)], (6, 8))


@pytest.fixture(scope="module")
def judged(case):
    model, pixels, text, region = case
    return judge_explanations(
        model, pixels, text, region, methods=METHODS_SHOWN, explainers=("gradcam", "grad_eclip"), steps=6
    )


def test_every_figure_is_that_of_its_function(case, judged):
    model, pixels, text, region = case
    names = [*METHODS_SHOWN, "gradcam", "grad_eclip", "random", "centre"]
    table = judged.table().set_index("name")
    assert list(table.index) == names and [m.map.group for m in judged.maps].count("baseline") == 2
    own = dense_features(model.trace(pixels), "maskclip")
    maps = {
        "maskclip": similarity(own, text).patches[0, ..., 0].numpy(),
        "grad_eclip": explain(model, pixels, text, "grad_eclip").patches[0, ..., 0],
        "centre": baseline_maps((6, 8), 1)["centre"][..., 0],
    }
    judge = Judge(model, pixels, text)
    for name, values in maps.items():
        row = table.loc[name]
        assert row["score_contrast"] == pytest.approx(score_contrast(values, region))
        assert row["flip_auc"] == flip_auc(values, region) and row["pointing"] == pointing_game(values, region)
        expected = insertion_deletion(lambda x: judge.cosines(x)[:, 0], pixels[0], values, steps=6)
        assert (row["insertion"], row["deletion"]) == pytest.approx(
            (expected.insertion_auc, expected.deletion_auc), abs=1e-6
        )
    clip = similarity(dense_features(model.trace(pixels), "clip"), text)
    assert judged.cosine == pytest.approx(float(clip.cls[0, 0]), abs=1e-5)
    assert judged.maps[0].curves.insertion[-1] == pytest.approx(judged.cosine, abs=1e-5)


def test_the_best_by_each_figure(judged):
    table, best = judged.table().set_index("name"), dict(iterate_best(judged.table()))
    assert table.loc[best["insertion"], "insertion"] == table["insertion"].max()
    assert table.loc[best["deletion"], "deletion"] == table["deletion"].min()


def test_without_region_or_curves(case):
    model, pixels, text, _ = case
    found = judge_explanations(model, pixels[0], text[0], methods={}, explainers=(), steps=0).table()
    assert list(found["name"]) == ["random", "centre"] and found["flip_auc"].isna().all()
    assert found["insertion"].isna().all() and not dict(iterate_best(found))
    with pytest.raises(ValueError, match="Expected one image and one text, but got 1 and 2"):
        judge_explanations(model, pixels, torch.cat([text, text]))


def test_a_constant_map_is_said_and_orders_nothing(case):
    model, pixels, _text, region = case
    opposite = -model.tower.pool(model.trace(pixels).output)
    found = judge_explanations(model, pixels, opposite, region, methods={}, explainers=("gradcam",), steps=4)
    (zero,) = (judged for judged in found.maps if judged.name == "gradcam")
    assert zero.constant == (not zero.map.values.any())
    if zero.constant:
        assert zero.flip_auc == 0.5 and zero.score_contrast == 0 and len(zero.curves.fractions) == 2


def test_centre_is_in_the_middle_and_random_follows_its_seed():
    centre = baseline_maps((5, 7), 1)["centre"][..., 0]
    assert np.unravel_index(centre.argmax(), centre.shape) == (2, 3) and centre[0, 0] == centre.min()
    one, same, other = (baseline_maps((5, 7), 2, seed)["random"] for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any() and (one[..., 0] != one[..., 1]).any()


def test_a_study_has_a_row_an_image_text_and_explanation(tmp_path):
    study = Study(data="toy:1", methods=("clip",), measures=("explanations", "insertion"), seed=20_000)
    run_study(study, tmp_path / "out", device="cpu")
    opened, toy = open_study(tmp_path / "out"), load_model("toy", device="cpu")
    shown, curves = opened.table("explanations"), opened.table("insertion")
    sample = ToyScenes(1, 20_000)[0]
    (thing, *_), pixels = sample.regions(), toy.preprocess([sample.image.to_pil()])
    region = Region.from_mask(thing.mask, toy.tower.native_grid)
    values = explain(toy, pixels, toy.encode_text([thing.text]), "legrad").patches[0, ..., 0]
    row = shown[(shown["index"] == 0) & (shown["text"] == thing.text) & (shown["explanation"] == "legrad")].iloc[0]
    assert row["group"] == "explainer" and row["flip_auc"] == pytest.approx(flip_auc(values, region), abs=1e-5)
    assert len(shown) == len(curves) and set(shown["group"]) == {"method", "explainer", "baseline"}
    summary = summarise_study(tmp_path / "out")["insertion"]
    assert set(summary["quantity"]) == {"insertion", "deletion", "cosine"} and (summary["images"] == 1).all()
