"""Scores over a data set against independent loops, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

import analysis.evaluation.toy
import surgery.models
from analysis.evaluation import (
    MapSettings,
    evaluate_maps,
    evaluate_recognition,
    evaluate_retrieval,
)
from analysis.evaluation.__main__ import main
from analysis.evaluation.toy import toy_methods
from analysis.metrics import best_threshold_iou
from analysis.regions import Region
from data.datasets import Sample, SegmentationFolder, ToyScenes
from surgery import METHODS, encode_dense, feature_surgery, load_model, similarity, similarity_maps
from tests.tiny import tiny_model

CHOSEN = {name: METHODS[name] for name in ("clip", "clip_surgery", "clearclip")}


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture(scope="module")
def scenes():
    """Six scenes, two of which share a class."""
    found = [sample for sample in ToyScenes(60, seed=2) if "a red circle" in sample.classes.values()][:2]
    return [*found, *(sample for sample in ToyScenes(4, seed=3))]


def pixels_of(model, sample, size=None):
    return model.preprocess([sample.image.to_pil()], size)


@pytest.mark.parametrize("with_surgery", [False, True])
def test_map_scores_against_a_plain_loop(toy, scenes, with_surgery):
    scores = evaluate_maps(toy, scenes, CHOSEN, MapSettings(templates="photo", feature_surgery=with_surgery))
    names = [name for id, name in scenes[0].names.items() if id]
    text = toy.encode_text(names, "photo")
    for method_name, method in CHOSEN.items():
        contrasts, aucs, maps, masks = [], [], {}, {}
        for sample in scenes:
            features = encode_dense(toy, pixels_of(toy, sample), method)
            sim = feature_surgery(features, text) if with_surgery else similarity(features, text)
            enlarged = similarity_maps(sim, sample.mask.shape, normalize="minmax")[0]
            for region in sample.regions():
                column = names.index(region.text)
                values = sim.patches[0, :, :, column].numpy()
                patches = Region.from_mask(region.mask, (14, 14))
                front, back = values[patches.foreground], values[patches.background]
                contrasts.append((front.mean() - back.mean()) / (values.max() - values.min()))
                aucs.append((front[:, None] > back).mean() + (front[:, None] == back).mean() / 2)
                maps.setdefault(region.text, []).append(enlarged[column])
                masks.setdefault(region.text, []).append(region.mask)
        got = scores[method_name]
        assert got.msc == pytest.approx(100 * np.mean(contrasts), abs=1e-3)
        assert got.flip_auc == pytest.approx(np.mean(aucs), abs=1e-4)
        grid = np.linspace(0, 1, 101)
        best = {name: best_threshold_iou(maps[name], masks[name], thresholds=grid) for name in maps}
        assert got.iou == pytest.approx({name: b.iou for name, b in best.items()}, abs=1e-3)
        assert got.mean_iou == pytest.approx(np.mean([b.iou for b in best.values()]), abs=1e-3)
        assert got.thresholds == pytest.approx({name: b.threshold for name, b in best.items()}, abs=0.0101)
        assert (got.images, got.maps, got.model, got.method) == (6, len(contrasts), "toy", method)


def test_one_pass_an_image_serves_all_methods(toy, scenes, monkeypatch):
    passes = []
    record = surgery.models.record
    monkeypatch.setattr(surgery.models, "record", lambda *args, **kwargs: passes.append(1) or record(*args, **kwargs))
    evaluate_maps(toy, scenes[:2])
    assert len(passes) == 2
    scores = evaluate_maps(toy, scenes[:1], CHOSEN, MapSettings(size=128))
    assert len(passes) == 2 + 2  # bicubic and bilinear position embeddings
    sample = scenes[0]
    region = sample.regions()[0]
    features = encode_dense(toy, pixels_of(toy, sample, 128), METHODS["clip_surgery"])
    values = similarity(features, toy.encode_text([region.text])).patches[0, :, :, 0].numpy()
    patches = Region.from_mask(region.mask, (16, 16))
    if len(sample.regions()) == 1:
        difference = values[patches.foreground].mean() - values[patches.background].mean()
        assert scores["clip_surgery"].msc == pytest.approx(100 * difference / np.ptp(values), abs=1e-3)


def test_a_single_class_is_freed_of_the_empty_text(toy, shared):
    folder = SegmentationFolder(shared / "data" / "davis60")
    scores = evaluate_maps(toy, [folder[0]], CHOSEN, MapSettings(feature_surgery=True))
    sample = folder[0]
    features = encode_dense(toy, pixels_of(toy, sample), METHODS["clearclip"])
    text = toy.encode_text([sample.prompt])
    values = feature_surgery(features, text, toy.encode_text([""])).patches[0, :, :, 0].numpy()
    patches = Region.from_mask(sample.mask, (14, 14))
    expected = (values[patches.foreground].mean() - values[patches.background].mean()) / np.ptp(values)
    assert scores["clearclip"].msc == pytest.approx(100 * expected, abs=1e-3)


def test_maps_of_nothing_are_refused(toy, scenes):
    empty = Sample("empty", scenes[0].names, lambda: scenes[0].image, lambda: np.zeros((224, 224), np.uint8))
    with pytest.raises(ValueError, match="Expected samples to hold at least 1 usable object"):
        evaluate_maps(toy, [empty])
    with pytest.raises(ValueError, match="attention pool of a ResNet"):
        evaluate_maps(tiny_model("tiny-rn"), scenes, {"qq": METHODS["clearclip"]})


def test_recognition_against_scikit_learn(toy, scenes):
    result = evaluate_recognition(toy, scenes, templates="photo")
    names = [name for id, name in scenes[0].names.items() if id]
    text = toy.encode_text(names, "photo")
    rows, rows_surgery = [], []
    for sample in scenes:
        features = encode_dense(toy, pixels_of(toy, sample), METHODS["clip"])
        rows.append(similarity(features, text).cls[0].numpy())
        rows_surgery.append(feature_surgery(features, text).cls[0].numpy())
    present = np.array([[name in sample.classes.values() for name in names] for sample in scenes])
    for got, scores in ((result.cosine, np.array(rows)), (result.feature_surgery, np.array(rows_surgery))):
        precision = [
            average_precision_score(present[:, t], scores[:, t]) for t in range(len(names)) if present[:, t].any()
        ]
        assert got.mean == pytest.approx(np.mean(precision), abs=1e-6)
    assert result.classes == tuple(names) and result.images == 6


def test_recognition_refuses_other_classes(toy, scenes):
    with pytest.raises(ValueError, match="share one set of classes"):
        evaluate_recognition(toy, [scenes[0], replace(scenes[1], names={1: "a cat", 2: "a dog"})])
    with pytest.raises(ValueError, match="Expected samples to hold at least 1 image, but got none"):
        evaluate_recognition(toy, [])


def test_retrieval_against_a_plain_loop(toy):
    samples = list(ToyScenes(10, seed=1))
    result = evaluate_retrieval(toy, samples, batch=4)
    image_right = text_right = 0
    for start in (0, 4):
        batch = samples[start : start + 4]
        with torch.inference_mode():
            pixels = toy.preprocess([s.image.to_pil() for s in batch])
            images = F.normalize(toy.clip.encode_image(pixels), dim=-1)
            texts = F.normalize(toy.clip.encode_text(toy.tokenizer([s.captions[0] for s in batch])), dim=-1)
        for i in range(4):
            image_right += int((images[i] @ texts.T).argmax()) == i
            text_right += int((images @ texts[i]).argmax()) == i
    assert (result.image_to_text, result.text_to_image) == (image_right / 8, text_right / 8)
    assert (result.images, result.batch, result.model) == (8, 4, "toy")


def test_an_equal_caption_is_right(toy, scenes):
    twins = [replace(scenes[0], captions=("a red circle",)) for _ in range(4)]
    assert evaluate_retrieval(toy, twins, batch=4).image_to_text == 1.0


def test_retrieval_refuses_what_it_cannot_rank(toy, scenes):
    with pytest.raises(ValueError, match="Expected batch to be at least 2, but got 1"):
        evaluate_retrieval(toy, scenes, batch=1)
    with pytest.raises(ValueError, match="Expected samples to fill a batch of 64, but got 6"):
        evaluate_retrieval(toy, scenes)
    with pytest.raises(ValueError, match="to have a caption, but got toy-"):
        evaluate_retrieval(toy, [replace(scenes[0], captions=()), scenes[1]], batch=2)


def test_the_command_writes_the_table_between_the_markers(tmp_path, capsys, monkeypatch):
    few = {"CLIP": METHODS["clip"], "CLIP Surgery": METHODS["clip_surgery"]}
    monkeypatch.setattr(analysis.evaluation.toy, "toy_methods", lambda model: few)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- toy-table:start -->\nold\n<!-- toy-table:end -->\nafter\n")
    assert main(["toy", "--n", "64", "--seed", "4", "--write", str(readme)]) == 0
    table = capsys.readouterr().out.strip()
    assert readme.read_text() == f"before\n<!-- toy-table:start -->\n{table}\n<!-- toy-table:end -->\nafter\n"
    scores = evaluate_maps(load_model("toy", device="cpu"), ToyScenes(64, seed=4), few)
    for title in few:
        assert f"| {title} | {scores[title].msc:+.1f} % | {scores[title].flip_auc:.2f} |" in table


def test_the_table_has_the_presets_and_fewer_blocks_of_clip_surgery(toy):
    methods = toy_methods(toy)
    assert list(methods.values())[: len(METHODS)] == list(METHODS.values())
    depths = [replace(METHODS["clip_surgery"], blocks=n) for n in (5, 4, 3, 2, 1)]
    assert list(methods.values())[len(METHODS) :] == depths


def test_the_command_reports_its_errors(capsys):
    assert main(["toy", "--n", "3"]) == 1
    assert "Expected samples to fill a batch of 64, but got 3" in capsys.readouterr().err


def test_real_images_with_masks(toy, shared):
    folder = SegmentationFolder(shared / "data" / "coco_pan200", masks_dir="masks_voc20")
    samples = [folder[i] for i in range(0, 200, 50)]
    maps = evaluate_maps(toy, samples, CHOSEN, MapSettings(feature_surgery=True))
    assert all(-100 <= s.msc <= 100 and 0 <= s.mean_iou <= 1 for s in maps.values())
    assert 0 < evaluate_recognition(toy, samples).cosine.mean <= 1
