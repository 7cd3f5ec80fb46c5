"""The authors' own segmentors on stand-in weights: network inputs, cosines, labels, counts and both mIoU."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from analysis.evaluation import ClassTexts, LabelCounts, Protocol, Segmenter, class_texts, query_logits
from analysis.evaluation.windows import network_size, resize_bilinear
from tests.stand_ins import stand_in_model

CASES = (
    "sclip_voc21", "sclip_stuff", "clearclip_voc21", "clearclip_voc21_w224", "clearclip_stuff", "clearclip_stuff_w224",
    "naclip_voc21", "naclip_voc21_pamr", "naclip_stuff",
)  # fmt: skip
LOGITS = (("sclip_voc21", "2011_000025"), ("clearclip_voc21", "2011_000003"), ("naclip_voc21_pamr", "val_1"),
          ("clearclip_stuff", "000000000142_strip"), ("naclip_stuff", "000000000136"))  # fmt: skip


@pytest.fixture(scope="module")
def folder(shared):
    path = shared / "reference" / "segmentation"
    if not path.is_dir():
        pytest.skip("the reference outputs of the segmentors are not beside this checkout")
    return path


@pytest.fixture(scope="module")
def stand_in(folder, tmp_path_factory):
    return stand_in_model(folder.parents[1], "conformance-vit", tmp_path_factory.mktemp("conformance"))


@cache
def read_texts(path: Path) -> ClassTexts:
    arrays = np.load(path)
    pairs = list(zip(arrays["queries"].tolist(), arrays["class_of_query"].tolist(), strict=True))
    return ClassTexts(tuple(tuple(q for q, c in pairs if c == k) for k in range(pairs[-1][1] + 1)))


def read_case(folder: Path, case: str):
    result = json.loads((folder / f"result_{case}.json").read_text())
    protocol = Protocol(
        method=result["method"],
        short_side=result["short_side"],
        window=result["slide_crop"],
        stride=result["slide_stride"],
        remainder="pad" if result["method"] == "clearclip" else "floor",
        scale=result["logit_scale"],
        threshold=result["prob_thd"],
        area=result["settings"].get("area_thd", 0.0),
        pamr_steps=result["settings"].get("pamr_steps", 0),
    )
    return result, protocol, read_texts(folder / result["texts"])


def read_image(folder: Path, name: str, protocol: Protocol):
    arrays = np.load(folder / f"image_{name}.npz")
    return arrays["rgb"], arrays["mask"], arrays[f"resized_{protocol.short_side}"]


@pytest.mark.parametrize("case", CASES)
def test_labels_counts_and_miou(folder, stand_in, case):
    result, protocol, texts = read_case(folder, case)
    total = LabelCounts.none(len(texts))
    images = [read_image(folder, name, protocol) for name in result["images"]]
    found = Segmenter(stand_in, {case: (protocol, texts)}).segment(
        [rgb for rgb, _, _ in images], [resized for _, _, resized in images]
    )
    for name, (_, mask, _), maps in zip(result["images"], images, found, strict=True):
        reference, ours = np.load(folder / f"{case}_{name}.npz"), maps[case]
        assert ours.labels.dtype == np.uint8 and ours.confidence.dtype == np.float32
        safe = np.unpackbits(reference["safe"])[: mask.size].reshape(mask.shape).astype(bool)
        np.testing.assert_array_equal(ours.labels[safe], reference["pred"][safe])
        np.testing.assert_allclose(ours.confidence[::4, ::4], reference["confidence_4"], atol=1e-5)
        counts = LabelCounts.of(reference["pred"], mask, len(texts))
        for key, values in (("intersect", counts.intersection), ("union", counts.union),
                            ("pred_area", counts.predicted), ("label_area", counts.truth)):  # fmt: skip
            np.testing.assert_array_equal(values, reference[key])
        assert counts.miou == pytest.approx(result["images"][name]["miou"], abs=1e-12)
        assert counts.miou_present == pytest.approx(result["images"][name]["miou_present"], abs=1e-12)
        total += counts
    assert total.miou == pytest.approx(result["miou"], abs=1e-12)
    assert total.miou_present == pytest.approx(result["miou_present"], abs=1e-12)
    assert total.pixel_accuracy == pytest.approx(result["pixel_accuracy"], abs=1e-12)


@pytest.mark.parametrize(("case", "name"), LOGITS)
def test_cosines(folder, stand_in, case, name):
    _, protocol, texts = read_case(folder, case)
    rgb, _, resized = read_image(folder, name, protocol)
    ours = query_logits(stand_in, rgb, protocol, texts, resized)
    assert ours.dtype == np.float32 and ours.shape == (len(texts.queries), *rgb.shape[:2])
    np.testing.assert_allclose(ours[:, ::8, ::8], np.load(folder / f"{case}_{name}.npz")["logits_8"], atol=1e-5)


@pytest.mark.parametrize("short_side", [336, 448])
def test_the_resize_rule_is_opencvs_to_the_bit(folder, short_side):
    for path in sorted(folder.glob("image_*.npz")):
        arrays = np.load(path)
        expected = arrays[f"resized_{short_side}"]
        size = network_size(arrays["rgb"].shape[:2], short_side, 2048)
        assert size == expected.shape[:2]
        np.testing.assert_array_equal(resize_bilinear(arrays["rgb"], size), expected)


def test_class_files(folder):
    assert class_texts("sclip", "voc21") == read_texts(folder / "texts_voc56.npz")
    assert class_texts("clearclip", "voc21") == read_texts(folder / "texts_voc21.npz")
    assert ClassTexts.read(folder / "classes_stuff.txt") == read_texts(folder / "texts_stuff.npz")
