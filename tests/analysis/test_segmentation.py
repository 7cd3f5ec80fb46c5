from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchmetrics.classification import MulticlassJaccardIndex

from analysis.evaluation import (
    ClassTexts,
    LabelCounts,
    Protocol,
    Segmenter,
    evaluate_segmentation,
    query_logits,
    segment,
)
from analysis.evaluation.segmenter import normalize
from analysis.evaluation.windows import bilinear_matrix, network_size, plan_axis, resize_bilinear
from data.datasets import SegmentationFolder, ToyScenes
from surgery import encode_dense, load_model, similarity
from tests.tiny import tiny_model

SMALL = Protocol("clearclip", short_side=56, window=48, stride=24, templates="none")
TEXTS = ClassTexts((("sky", "grass", "a wall"), ("a red circle",), ("a blue ring", "a ring"), ("a cat",)))


@pytest.fixture(scope="module")
def model():
    return tiny_model("tiny-vit")


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(0).integers(0, 256, (60, 91, 3), dtype=np.uint8)


def reference_maps(model, rgb, protocol, texts):
    """Windows one by one, each enlarged, summed, divided, and resized: the published loop."""
    resized = resize_bilinear(rgb, network_size(rgb.shape[:2], protocol.short_side, protocol.long_side))
    pixels = normalize(resized, model)
    text = model.encode_text(texts.queries, protocol.templates)
    height, width = pixels.shape[-2:]
    side = protocol.window or max(height, width)
    total, seen = torch.zeros(len(text), height, width), torch.zeros(height, width)
    patch = model.tower.patch_px[0]
    rows = range(max(height - side + protocol.stride - 1, 0) // protocol.stride + 1)
    columns = range(max(width - side + protocol.stride - 1, 0) // protocol.stride + 1)
    for row in rows:
        for column in columns:
            bottom = min(row * protocol.stride + side, height)
            right = min(column * protocol.stride + side, width)
            top, left = max(bottom - side, 0), max(right - side, 0)
            crop = pixels[:, top:bottom, left:right]
            size = crop.shape[-2:]
            before = [0, 0]
            if protocol.remainder == "pad":
                missing = [-length % patch for length in size]
                before = [each // 2 for each in missing]
                crop = F.pad(crop, (before[1], missing[1] - before[1], before[0], missing[0] - before[0]))
                full = crop.shape[-2:]
            else:
                crop, full = crop[:, : size[0] // patch * patch, : size[1] // patch * patch], size
            sim = similarity(encode_dense(model, crop[None], protocol.method), text).patches.movedim(-1, 1)
            maps = F.interpolate(sim, size=tuple(full), mode="bilinear")[0]
            total[:, top:bottom, left:right] += maps[
                :, before[0] : before[0] + size[0], before[1] : before[1] + size[1]
            ]
            seen[top:bottom, left:right] += 1
    return F.interpolate((total / seen)[None], size=rgb.shape[:2], mode="bilinear")[0]


@pytest.mark.parametrize("remainder", ["floor", "pad"])
@pytest.mark.parametrize(("window", "stride", "short"), [(48, 24, 56), (45, 31, 61), (0, 1, 51), (100, 50, 50)])
def test_windows_against_the_published_loop(model, rgb, remainder, window, stride, short):
    protocol = replace(SMALL, window=window, stride=stride, short_side=short, remainder=remainder)
    ours = query_logits(model, rgb, protocol, TEXTS)
    np.testing.assert_allclose(ours, reference_maps(model, rgb, protocol, TEXTS), atol=2e-6)


def test_labels_against_softmax_maximum_area_and_threshold(model, rgb):
    protocol = replace(SMALL, scale=30.0, area=0.3)
    probability = (30 * torch.from_numpy(query_logits(model, rgb, protocol, TEXTS))).softmax(dim=0)
    classes = torch.stack(
        [probability[[q for q, c in enumerate(TEXTS.class_of_query) if c == k]].amax(dim=0) for k in range(4)]
    )
    labels, removed = classes.argmax(dim=0), []
    others = (labels != 0).sum()
    for index in range(1, 4):
        if (labels == index).sum() <= 0.3 * others:
            removed.append(index)
    assert removed and others  # the rule takes effect in this case
    kept = classes.clone()
    kept[removed] = 0
    protocol = replace(protocol, threshold=float(kept.amax(dim=0).median()))
    expected = torch.where(kept.amax(dim=0) < protocol.threshold, 0, kept.argmax(dim=0))
    assert (expected != kept.argmax(dim=0)).sum() > 0  # and so does the threshold
    found = segment(model, rgb, protocol, TEXTS)
    assert (found.labels == expected.numpy()).mean() > 0.999  # the threshold is a value of the map itself
    np.testing.assert_allclose(found.confidence, classes.amax(dim=0), atol=1e-6)


def test_pamr_keeps_constants_and_follows_edges(model):
    from analysis.pamr import Pamr

    image = torch.zeros(3, 20, 30)
    image[:, :, 15:] = 1
    refinement = Pamr(image + 0.01 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0)), (1, 2))
    np.testing.assert_allclose(refinement.affinity.sum(dim=0), 1, atol=1e-5)
    np.testing.assert_allclose(refinement.refine(torch.full((2, 20, 30), 0.3), 5), 0.3, atol=1e-5)
    spot = torch.zeros(1, 20, 30)
    spot[0, 10, 13] = 1
    spread = refinement.refine(spot, 10)[0]
    assert spread[:, :15].sum() > 50 * spread[:, 15:].sum()


def test_requests_share_passes_and_images_share_batches(model, rgb, monkeypatch):
    passes = []
    trace = type(model).trace
    monkeypatch.setattr(type(model), "trace", lambda *a, **k: passes.append(len(a[1])) or trace(*a, **k))
    requests = {name: (replace(SMALL, method=name), TEXTS) for name in ("clip", "maskclip", "clearclip")}
    images = [rgb, rgb[:50]]
    together = Segmenter(model, requests).segment(images)
    assert len(passes) == 1 and passes[0] > 6  # all windows are of 48 px
    for image, maps in zip(images, together, strict=True):
        for name, (protocol, texts) in requests.items():
            alone = segment(model, image, protocol, texts)
            assert (alone.labels != maps[name].labels).mean() < 1e-3
            np.testing.assert_allclose(alone.confidence, maps[name].confidence, atol=1e-5)


def test_few_names_at_a_time_give_the_same(model, rgb, monkeypatch):
    plain = segment(model, rgb, SMALL, TEXTS)
    monkeypatch.setattr("analysis.evaluation.segmenter.CHUNK_BYTES", 1)
    single = segment(model, rgb, SMALL, TEXTS)
    np.testing.assert_array_equal(single.labels, plain.labels)
    np.testing.assert_allclose(single.confidence, plain.confidence, atol=1e-6)


def test_bilinear_matrices_are_torchs_interpolation():
    for source, target in ((1, 5), (7, 7), (5, 23), (40, 13)):
        values = torch.rand(1, 1, source)
        expected = F.interpolate(values, target, mode="linear")[0, 0]
        np.testing.assert_allclose(bilinear_matrix(source, target) @ values[0, 0].numpy(), expected, atol=1e-5)


def test_windows_end_at_the_border():
    assert plan_axis(500, 16, Protocol()).starts == (0, 112, 224, 276)
    assert plan_axis(224, 16, Protocol()).starts == (0,)
    assert plan_axis(200, 16, Protocol()).starts == (0,)
    with pytest.raises(ValueError, match='at least one patch of 16 px, but got a side of 9 px; remainder "pad"'):
        plan_axis(9, 16, Protocol())


def test_both_rules_of_miou_against_torchmetrics():
    generator = np.random.default_rng(1)
    labels, mask = (generator.integers(0, high, (40, 50)) for high in (5, 4))
    mask[:5] = 255
    mask[6] = 9  # beyond the classes: counts in the predicted area only
    counts = LabelCounts.of(labels, mask, 6)  # class 4 only predicted, class 5 nowhere
    known = (mask != 255) & (mask != 9)
    metric = MulticlassJaccardIndex(6, average="none")
    expected = metric(torch.from_numpy(labels[known]), torch.from_numpy(mask[known])).numpy()
    inside = LabelCounts.of(labels[known], mask[known], 6)
    np.testing.assert_allclose(np.nan_to_num(inside.iou), expected, atol=1e-6)
    assert np.isnan(inside.iou[5]) and inside.iou[4] == 0
    assert inside.miou == pytest.approx(expected[:5].mean()) and inside.miou_present == pytest.approx(
        expected[:4].mean()
    )
    assert counts.predicted.sum() == inside.predicted.sum() + (mask == 9).sum()
    assert counts.truth.sum() == inside.truth.sum()
    both = counts + counts
    assert both.miou == pytest.approx(counts.miou) and both.union.sum() == 2 * counts.union.sum()
    assert np.isnan(LabelCounts.none(3).miou) and np.isnan(LabelCounts.none(3).pixel_accuracy)


def test_a_data_set_with_and_without_its_background(toy):
    scenes = ToyScenes(3, seed=3)
    names = list(scenes.classes.values())
    quick = Protocol("clip_surgery", short_side=112, window=0, templates="none")
    requests = {
        "with": (replace(quick, threshold=1.0), ClassTexts((("grass", "sand"), *((n,) for n in names[1:])))),
        "without": (quick, ClassTexts(tuple((n,) for n in names[1:]))),
    }
    found = evaluate_segmentation(toy, scenes, requests, batch=2)
    truth = np.bincount(np.concatenate([s.mask.ravel() for s in scenes]), minlength=91)
    np.testing.assert_array_equal(found["with"].counts.truth, truth)
    np.testing.assert_array_equal(found["without"].counts.truth, truth[1:])
    total = LabelCounts.none(91)
    for scene in scenes:
        total += LabelCounts.of(segment(toy, scene.image.rgb, *requests["with"]).labels, scene.mask, 91)
    np.testing.assert_array_equal(total.intersection, found["with"].counts.intersection)
    assert found["with"].images == 3 and found["with"].iou == pytest.approx(
        {names[id] if id else "grass": 0 if id else truth[0] / truth.sum() for id in np.flatnonzero(truth)}
    )  # nothing is certain, so all is class 0
    assert found["without"].counts.predicted.sum() == truth[1:].sum()
    line = str(found["without"])
    assert line.startswith("mIoU ") and "CLIP Surgery; short side 112" in line and "\n" not in line


def test_what_cannot_be_counted_is_named(toy):
    scenes = list(ToyScenes(2, seed=3))
    quick = Protocol("clip", short_side=112, window=0, templates="none")
    requests = {"clip": (quick, ClassTexts(tuple((name,) for name in scenes[0].names.values())))}

    def refuse(samples, match, wanted=requests):
        with pytest.raises(ValueError, match=match):
            evaluate_segmentation(toy, samples, wanted)

    refuse([], "at least 1 image, but got none")
    refuse(scenes, "at least 1 protocol", {})
    refuse([scenes[0], replace(scenes[1], names={1: "a cat", 2: "a dog"})], "share one set of classes, but toy-1")
    refuse(scenes, "91 classes of the data set or, without its background, 90, but got 4", {"x": (quick, TEXTS)})
    small = replace(scenes[0], open_mask=lambda: np.ones((10, 10), np.uint8))
    refuse([small], r"toy-0: Expected the mask to be of the image's size \(224, 224\), but got \(10, 10\)")
    for value, text in ((200, r"but got \[200\]; the masks belong to another"), (-1, "0 to 65535"), (0.5, "float64")):
        refuse([replace(scenes[0], open_mask=lambda v=value: np.full((224, 224), v))], text)
    refuse([replace(scenes[0], open_mask=None)], "toy-0 to have a label mask, but its data set has none")


def test_images_of_another_kind_are_refused(model, rgb):
    for wrong in (rgb[..., 0], rgb / 255, np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"Expected rgb to be uint8 of shape \(H, W, 3\)"):
            segment(model, wrong, SMALL, TEXTS)
    with pytest.raises(ValueError, match="Expected resized to be uint8"):
        segment(model, rgb, SMALL, TEXTS, resized=rgb[None])


def test_real_masks_of_voc(toy, shared):
    folder = SegmentationFolder(shared / "data" / "coco_pan200", masks_dir="masks_voc20")
    protocol = Protocol("clearclip", short_side=128, window=112, stride=56, threshold=0.1, templates="none")
    found = evaluate_segmentation(toy, [folder[i] for i in (0, 50)], {"": (protocol, ClassTexts.read("voc21"))})[""]
    expected = sum(np.bincount(folder[i].mask.ravel(), minlength=256)[:21] for i in (0, 50))
    np.testing.assert_array_equal(found.counts.truth, expected)


def test_opencvs_bilinear_rule_on_a_ramp():
    ramp = np.repeat(np.arange(0, 250, 25, dtype=np.uint8)[None, :, None], 3, axis=2)
    expected = np.asarray(Image.fromarray(ramp).resize((20, 1), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(resize_bilinear(ramp, (1, 20)).astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(resize_bilinear(ramp, (1, 5))[0, :, 0], [13, 63, 113, 163, 213])  # no antialiasing
