"""What a study says of every pair, class and picture, against its own rows."""

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation.confusion import LabelCounts
from analysis.studies import Study, StudyFolder, open_study, run_study, summarise_study
from analysis.studies.classes import class_ious, image_figures, images_with, segmentation_rows
from analysis.studies.curves import method_figures, read_figure
from analysis.studies.groups import split_flipped, worst_components
from analysis.studies.label_maps import LabelDrawer
from analysis.studies.pairs import read_columns, read_pairs, sample_images
from analysis.studies.reproduce import rows_frame


def test_a_sample_is_of_evenly_spaced_parts_and_says_what_was_read(opened: StudyFolder) -> None:
    pairs = read_pairs(opened)
    every = np.ones(len(pairs), bool)
    whole = read_columns(opened, pairs, "blame", "clip")
    assert whole.read.all()
    opened.request["part length"] = 4  # as if it had three parts
    assert sample_images(opened, pairs.index, len(pairs)).tolist() == np.unique(pairs.index).tolist()
    assert {int(n) // 4 for n in sample_images(opened, pairs.index, len(pairs) - 1)} == {0, 2}
    found = read_columns(opened, pairs, "blame", "clip", wanted=every, most=len(pairs) - 1)
    assert found.read.tolist() == [int(n) // 4 != 1 for n in pairs.index]
    assert np.array_equal(found.values[found.read], whole.values[found.read])
    assert np.isnan(found.values[~found.read]).all()


def test_the_worst_component_is_that_of_most_negative_blame(opened: StudyFolder) -> None:
    found = worst_components(opened, resamples=100).set_index("component")
    maps = opened.table("maps", ["index", "text", "flip_auc"], {"method": "clip"})
    blame = opened.table("blame", where={"method": "clip"}).drop(columns=["method", "of", "sum"])
    rows = blame.merge(maps[maps["flip_auc"] < 0.5].drop(columns="flip_auc"), on=["index", "text"])
    terms = rows.drop(columns=["index", "text"])
    worst = terms.idxmin(axis=1).value_counts(normalize=True)
    assert found.loc[worst.index, "worst"].to_numpy() == pytest.approx(worst.to_numpy())
    assert found["worst"].sum() == pytest.approx(1)
    assert ((found["worst low"] <= found["worst"]) & (found["worst"] <= found["worst high"])).all()
    assert found.loc[terms.columns, "blame"].to_numpy() == pytest.approx(terms.mean().to_numpy(), abs=1e-6)
    with pytest.raises(ValueError, match="Expected method to be one of clip, clip_surgery, but got 'gem'"):
        worst_components(opened, "gem")


def test_figures_of_every_method_are_in_the_groups_of_one(opened: StudyFolder) -> None:
    pairs = read_pairs(opened)
    kept = pairs.chosen("clip")
    table = method_figures(read_figure(opened, pairs, "maps", "pixel_auc"), pairs, kept, "clip")
    table = table.set_index(["method", "group"])
    rows = opened.table("maps", ["index", "text", "pixel_auc"], {"method": "clip_surgery"})
    own = rows["pixel_auc"].to_numpy()[pairs.flipped("clip")[pairs.find(rows["index"], rows["text"])]]
    assert table.loc[("clip_surgery", "flipped"), "mean"] == pytest.approx(own.mean(), abs=1e-6)
    assert table["maps"].groupby("method").sum().tolist() == [len(pairs)] * 2
    split = split_flipped(read_columns(opened, pairs, "lens", "clip", "depth_"), pairs, kept, "clip")
    assert split.rows == len(pairs)
    with pytest.raises(ValueError, match="Expected measure and quantity to be among maps contrast"):
        read_figure(opened, pairs, "maps", "weight")


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    folder = tmp_path_factory.mktemp("segmented") / "study"
    run_study(Study(data="toy:4", measures=("segmentation",)), folder, device="cpu")
    return open_study(folder)


def test_classes_and_pictures_add_up_to_the_summary(segmented: StudyFolder) -> None:
    summary = summarise_study(segmented.path)["segmentation"].set_index(["method", "quantity"])["mean"]
    classes = class_ious(segmented, "clip_surgery", resamples=50)
    assert classes["iou"].mean() == pytest.approx(summary["clip_surgery", "miou"])
    assert classes["iou"].is_monotonic_increasing
    pixels = segmented.table("segmentation", where={"method": "clip_surgery"})
    for _, row in classes[classes["truth"] > 0].iterrows():
        own = pixels[pixels["truth"] == row["class"]]
        wrong = own[own["predicted"] != row["class"]].groupby("predicted", observed=True)["pixels"].sum()
        assert row["truth"] == own["pixels"].sum()
        assert row["images"] == own["index"].nunique()
        assert row["confused"] == (wrong.idxmax() if len(wrong) else "")
        assert set(own["index"]) <= set(images_with(segmented, row["class"]))
    pictures = image_figures(segmented, "clip_surgery")
    assert pictures["index"].nunique() == len(pictures) == pixels["index"].nunique()
    rows = rows_frame(segmentation_rows(segmented)).set_index("method")
    assert rows.loc["clip", "miou"] == pytest.approx(100 * summary["clip", "miou"])
    assert rows["published"].isna().all()
    assert rows["protocol"].str.contains("one pass at 112 x 112").all()
    assert not len(read_pairs(segmented))


def test_label_maps_made_again_are_those_that_were_counted(segmented: StudyFolder) -> None:
    drawer = LabelDrawer(segmented, "clip_surgery", device="cpu")
    found = drawer.label_map(1)
    counts = LabelCounts.of(found.labels, found.truth, len(drawer.names))
    pixels = segmented.table("segmentation", where={"method": "clip_surgery", "index": 1})
    hits = pixels[pixels["truth"].astype(str) == pixels["predicted"].astype(str)]["pixels"].sum()
    assert counts.intersection.sum() == hits
    assert counts.truth.sum() == pixels["pixels"].sum()
    assert found.wrong.sum() == pixels["pixels"].sum() - hits
    assert isinstance(found.name, str)
    assert found.rgb.shape == (*found.labels.shape, 3)
    with pytest.raises(ValueError, match="Expected method to be one of clip, clip_surgery, but got 'gem'"):
        LabelDrawer(segmented, "gem")


def test_a_published_number_stands_beside_its_own_protocol_only(segmented: StudyFolder) -> None:
    request = segmented.request | {"data set": "voc20"}
    study = {**request["study"], "protocol": "clearclip:voc20", "model": "ViT-B-16", "pretrained": "openai"}
    other = StudyFolder(segmented.path)
    other.request, other.study = request, Study.from_json(study | {"methods": ["clip", "clip_surgery"]})
    found = rows_frame(segmentation_rows(other)).set_index("method")
    assert found.loc["clip", "published"] == 41.8
    assert pd.isna(found.loc["clip_surgery", "published"])
    assert found.loc["clip", "difference"] == pytest.approx(found.loc["clip", "miou"] - 41.8)
    assert found.loc["clip", "protocol"].startswith("CLIP; short side 448")
