"""Protocols, their presets, class files and published figures."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.evaluation import (
    PROTOCOLS,
    ClassTexts,
    Protocol,
    Segmenter,
    assumptions,
    class_texts,
    evaluate_segmentation,
)
from analysis.evaluation.presets import DATA_SETS, METHOD_NAMES, class_list_of
from analysis.evaluation.published import PUBLISHED, published
from analysis.studies.reproduce import reproduce, table_of, title_of
from data.class_lists import read_class_list
from data.registry import open_dataset
from surgery import METHODS, Method, load_model
from tests.benchmarks.harness import MIB, peak_bytes
from tests.data import trees
from tests.tiny import tiny_model

QUERIES = {  # names of each class file: SCLIP and NACLIP, ClearCLIP
    "voc20": (30, 20), "voc21": (56, 21), "context59": (59, 59), "context60": (60, 60),
    "coco_object": (113, 81), "coco_stuff": (171, 171), "cityscapes": (19, 19), "ade20k": (150, 150),
    "coco_stuff10k": (171, 171),
}  # fmt: skip


def test_presets_are_the_published_numbers():
    def numbers(method, data_set):
        p = PROTOCOLS[method, data_set]
        return p.short_side, p.window, p.stride, p.remainder, p.scale, p.threshold, p.area, p.pamr_steps

    assert numbers("sclip", "voc21") == (336, 224, 112, "floor", 65, 0.1, 0.1, 0)
    assert numbers("sclip", "context60") == numbers("sclip", "coco_object") == (336, 224, 112, "floor", 50, 0.1, 0, 0)
    assert numbers("sclip", "coco_stuff") == (448, 224, 112, "floor", 40, 0, 0, 0)
    assert numbers("sclip", "cityscapes")[0] == numbers("naclip", "cityscapes")[0] == 560
    assert numbers("naclip", "voc20") == (336, 0, 112, "floor", 40, 0, 0, 0)
    assert numbers("naclip_pamr", "ade20k") == (336, 224, 112, "floor", 40, 0, 0, 10)
    assert [numbers("clearclip", name)[5] for name in DATA_SETS[:4]] == [0.5, 0.15, 0.4, 0]
    assert numbers("clearclip", "voc20") == (448, 448, 224, "pad", 50, 0, 0, 0)
    assert numbers("clearclip", "cityscapes")[1:3] == (224, 224)
    assert PROTOCOLS["clip", "voc21"] == replace(PROTOCOLS["common", "voc21"], method="clip", threshold=0.2)
    assert PROTOCOLS["gem", "voc20"] == replace(PROTOCOLS["common", "voc20"], method="gem")
    assert PROTOCOLS["clip_surgery", "context59"].templates == "clip_surgery"
    assert {method for method, _ in PROTOCOLS} == set(METHOD_NAMES) and len(PROTOCOLS) == 11 * 9
    assert all(p.method in METHODS for (name, _), p in PROTOCOLS.items() if name != "resclip")
    assert numbers("itaclip", "voc21") == (336, 224, 28, "floor", 60, 0.1, 0.1, 10)
    assert numbers("sclip", "coco_stuff10k")[0] == 336 and numbers("resclip", "voc21")[1] == 0


def test_class_files_have_the_published_names():
    for data_set, (several, single) in QUERIES.items():
        texts = [class_texts(method, data_set) for method in ("sclip", "naclip_pamr", "clearclip", "gem")]
        assert [len(t.queries) for t in texts] == [several, several, single, single]
        assert len({len(t) for t in texts}) == 1
    assert class_texts("sclip", "voc20").classes == class_texts("sclip", "voc21").classes[1:]
    assert class_texts("clearclip", "context60").classes == (("background",), *class_texts("clip", "context59").classes)
    assert class_texts("sclip", "coco_object").classes[1][-1] == "body"
    assert class_list_of("sclip", "context60") == "context60"
    stuff = [names[0] for names in read_class_list("coco_stuff")]
    things = [names[0].replace(" ", "") for names in read_class_list("coco_object")[1:]]
    assert stuff[:80] == things and stuff[80:] == sorted(stuff[80:]) and stuff[-1] == "wood"
    assert all(len(set(t.queries)) == len(t.queries) for t in map(ClassTexts.read, ("voc21_synonyms", "ade20k")))


def test_published_figures():
    assert published("sclip", "ViT-B-16-quickgelu", "voc21").miou == 59.63
    assert "paper prints 59.1" in published("sclip", "ViT-B-16", "voc21").note
    assert published("sclip", "ViT-B-16", "voc20", common=True).miou == 78.2
    assert published("naclip_pamr", "ViT-B-16", "ade20k").miou == 19.05
    assert published("naclip", "ViT-L/14", "ade20k").miou == 17.3
    assert published("clip_surgery", "ViT-B-16", "voc21") is None
    assert len(PUBLISHED) == 7 * 8 + 7 + 3 + 5 + 4 * 8 + 3 * 5 + 1
    assert all(0 < figure.miou < 100 and figure.source in "abcd" for figure in PUBLISHED.values())


def test_what_is_not_public_is_named():
    assert assumptions("sclip", "voc21") == assumptions("naclip", "cityscapes") == ()
    assert "never released" in assumptions("clip_surgery", "context59")[0]
    assert "threshold 0.4" in assumptions("gem", "coco_object")[0]
    assert "window 224 with stride 224" in assumptions("clearclip", "cityscapes")[0]
    with pytest.raises(ValueError, match=r"Expected method to be one of clip, .*common, but got 'sc_clip'"):
        assumptions("sc_clip", "voc21")
    with pytest.raises(ValueError, match=r"Expected data_set to be one of voc21, .*, but got 'voc'"):
        class_texts("sclip", "voc")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"method": "foo"}, "Expected method to be one of clip, "),
        ({"short_side": 0}, "Expected short_side to be a whole number of at least 1, but got 0"),
        ({"window": -1}, "Expected window to be a whole number of at least 0"),
        ({"stride": 1.5}, "Expected stride to be a whole number"),
        ({"window": 112, "stride": 224}, r"Expected stride to be at most window \(112\), but got 224"),
        ({"remainder": "crop"}, "Expected remainder to be floor or pad, but got 'crop'"),
        ({"scale": 0}, "Expected scale to be above 0"),
        ({"threshold": 1.5}, "Expected threshold to be from 0 to 1, but got 1.5"),
        ({"area": -0.1}, "Expected area to be from 0 to 1"),
        ({"pamr_steps": 2, "pamr_dilations": ()}, "at least 1 dilation, but got none"),
        ({"pamr_dilations": (0,)}, "Expected every dilation in pamr_dilations"),
        ({"templates": "mine"}, "Expected templates to be one of"),
    ],
)
def test_wrong_protocols(values, match):
    with pytest.raises(ValueError, match=match):
        Protocol(**values)


def test_a_protocol_is_one_line():
    assert str(PROTOCOLS["naclip_pamr", "voc21"]) == (
        "NACLIP; short side 336 (long <= 2048); whole image, remainder floor; scale 40, threshold 0.1, area 0; "
        "PAMR 10 steps (8, 16); templates imagenet"
    )
    assert str(Protocol(Method("vv", blocks=2), templates=("a {}", "the {}"))).startswith(
        "vv over 2 blocks, residual 1"
    )


@pytest.mark.parametrize(
    ("classes", "match"),
    [((), "from 1 to 255, but got 0"), ((("cat",), ()), "to have a name, but got none for class 1")],
)
def test_wrong_class_texts(classes, match):
    with pytest.raises(ValueError, match=match):
        ClassTexts(classes)
    with pytest.raises(TypeError, match="to be text, but got 3"):
        ClassTexts(((3,),))


def test_many_names_stay_within_their_memory():
    """152 names of 133 classes at 426 x 640; weights, the passes of a real network, and libraries apart."""
    texts = ClassTexts(tuple((f"thing {i}", f"other {i}") if i < 19 else (f"thing {i}",) for i in range(133)))
    rgb = np.random.default_rng(0).integers(0, 256, (426, 640, 3), dtype=np.uint8)
    protocol = Protocol("clearclip", short_side=48, window=48, stride=24, pamr_steps=1, templates="none")
    segmenter = Segmenter(tiny_model("tiny-vit"), {"": (protocol, texts)})
    assert peak_bytes(lambda: segmenter.segment([rgb])) / MIB < 200


def test_a_row_measured_again_goes_on_after_a_stop(tmp_path, monkeypatch):
    trees.voc(tmp_path / "data")
    ask = {"data_sets": ("voc21", "ade20k"), "model": "toy", "pretrained": None, "limit": 1}
    row, missing = reproduce("sclip", tmp_path / "data", tmp_path / "out", **ask)
    protocol, texts = PROTOCOLS["sclip", "voc21"], class_texts("sclip", "voc21")
    sample = open_dataset(f"voc21:{tmp_path / 'data'}")[0]
    expected = evaluate_segmentation(load_model("toy", device="cpu"), [sample], {"": (protocol, texts)})[""]
    assert row.measured.miou == pytest.approx(100 * expected.miou, abs=1e-9) and row.measured.miou > 0
    assert row.measured.miou_present == pytest.approx(100 * expected.miou_present, abs=1e-9)
    assert row.measured.protocol == str(protocol) and row.published is None and row.difference is None
    assert row.notes == ("the first 1 images only: not comparable with the published figure",)
    assert missing.measured is None and "to make it: unzip ADEChallengeData2016.zip" in missing.notes[0]
    monkeypatch.setattr(Segmenter, "segment", lambda *_: pytest.fail("computed again"))
    assert str(next(reproduce("sclip", tmp_path / "data", tmp_path / "out", **ask))) == str(row)
    lines = table_of([row, missing]).splitlines()
    assert lines[2].startswith("| SCLIP | voc21 | – | ") and lines[3].endswith("| – | – | – | – | – |")
    assert lines[5].startswith("- SCLIP, voc21: SCLIP; short side 336") and title_of("clip") == "CLIP"


def test_a_difference_is_measured_minus_published():
    from analysis.studies.reproduce import Measured, Row

    measured = Measured(60.0, 59.0, 61.0, 60.0, 1449, "SCLIP; ...")
    row = Row("sclip", "voc21", measured, published("sclip", "ViT-B-16", "voc21"), ())
    assert row.difference == pytest.approx(0.37)
    assert "| 59.63 | 60.00 (59.0 to 61.0) | +0.37 | 60.00 | 1449 |" in table_of([row])
