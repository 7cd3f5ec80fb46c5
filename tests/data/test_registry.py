"""Every data set as it is downloaded, in miniature: what is read, and what is said where something is missing."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from data import mask_ids
from data.class_lists import CLASS_LISTS, read_class_list
from data.datasets import SegmentationFolder, ToyScenes
from data.layouts import LAYOUTS
from data.registry import KINDS, open_dataset
from tests.data import trees


def masks_of(data: str) -> list[list[int]]:
    """The labels of every image, left to right; the data set is sent to another process first."""
    dataset = pickle.loads(pickle.dumps(open_dataset(data)))
    return [list(dict.fromkeys(sample.mask[0].tolist())) for sample in dataset]


def test_voc_with_and_without_background(tmp_path: Path) -> None:
    trees.voc(tmp_path)
    assert masks_of(f"voc21:{tmp_path}") == [[0, 1, 255], [0, 20, 15]]
    assert masks_of(f"voc20:{tmp_path}") == [[255, 0], [255, 19, 14]]
    assert masks_of(f"voc20:{tmp_path / 'VOCdevkit'}") == masks_of(f"voc20:{tmp_path}")
    dataset = open_dataset(f"voc21:{tmp_path}")
    assert dataset.image_names() == ["2007_000033", "2007_000042"] == [sample.name for sample in dataset]
    assert dataset.classes[0] == "background" and dataset.classes[20] == "tvmonitor" and len(dataset.classes) == 21
    assert dataset[1].image.size_px == trees.SIZE and dataset[1].classes == {
        0: "background",
        15: "person",
        20: "tvmonitor",
    }
    trees.names(tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/tiny.txt", "2007_000042")
    assert open_dataset(f"voc21:{tmp_path}#tiny").image_names() == ["2007_000042"]


def test_context_converted_and_as_downloaded(tmp_path: Path) -> None:
    home = tmp_path / "VOCdevkit" / "VOC2010"
    trees.picture(home / "JPEGImages" / "2008_000002.jpg")
    trees.names(home / "ImageSets" / "SegmentationContext" / "val.txt", "2008_000002")
    (home / "trainval").mkdir()
    raw = np.array([[2, 458, 3, 0]], np.uint16)  # aeroplane, wood, accordion-like, nothing
    savemat(home / "trainval" / "2008_000002.mat", {"LabelMap": raw})
    assert masks_of(f"context59:{tmp_path}") == [[0, 58, 255]]
    assert masks_of(f"context60:{tmp_path}") == [[1, 59, 0]]
    trees.mask(home / "SegmentationClassContext" / "2008_000002.png", 0, 1, 59)
    assert masks_of(f"context59:{tmp_path}") == [[255, 0, 58]]
    assert masks_of(f"context60:{tmp_path}") == [[0, 1, 59]]


def test_coco_stuff_and_objects_from_raw_maps_and_from_converted_ones(tmp_path: Path) -> None:
    trees.coco_stuff(tmp_path)
    assert masks_of(f"coco_stuff:{tmp_path}") == [[0, 79, 80, 170, 255]]
    assert masks_of(f"coco_object:{tmp_path}") == [[1, 80, 0]]  # stuff and the unlabelled are background
    trees.mask(tmp_path / "annotations/val2017/000000000139_labelTrainIds.png", 5, 170, 255)
    assert masks_of(f"coco_stuff:{tmp_path}") == [[5, 170, 255]]
    assert masks_of(f"coco_object:{tmp_path}") == [[1, 80, 0]]
    trees.mask(tmp_path / "annotations/val2017/000000000139_instanceTrainIds.png", 0, 7)
    assert masks_of(f"coco_object:{tmp_path}") == [[0, 7]]
    (tmp_path / "annotations/val2017/000000000139.png").unlink()
    assert masks_of(f"coco_stuff:{tmp_path}") == [[5, 170, 255]]


def test_cityscapes_nested_by_city(tmp_path: Path) -> None:
    trees.cityscapes(tmp_path)
    dataset = open_dataset(f"cityscapes:{tmp_path}")
    assert dataset.image_names() == ["lindau_000000_000019", "munster_000001_000019"]
    assert masks_of(f"cityscapes:{tmp_path}") == [[0, 18, 255]] * 2
    for path in (tmp_path / "gtFine").rglob("*_labelIds.png"):
        trees.mask(path.with_name(path.name.replace("labelIds", "labelTrainIds")), 3, 255)
    assert masks_of(f"cityscapes:{tmp_path}") == [[3, 255]] * 2


def test_ade20k(tmp_path: Path) -> None:
    home = tmp_path / "ADEChallengeData2016"
    trees.picture(home / "images/validation/ADE_val_00000001.jpg")
    trees.mask(home / "annotations/validation/ADE_val_00000001.png", 0, 1, 150)
    assert masks_of(f"ade20k:{tmp_path}") == [[255, 0, 149]]


def test_coco_stuff_10k(tmp_path: Path) -> None:
    home = tmp_path / "coco_stuff10k"
    trees.picture(home / "images/test2014/COCO_train2014_000000000077.jpg")
    trees.mask(home / "annotations/test2014/COCO_train2014_000000000077_labelTrainIds.png", 0, 1, 171, 255)
    assert masks_of(f"coco_stuff10k:{tmp_path}") == [[255, 0, 170]]


def test_coco_annotations(tmp_path: Path) -> None:
    trees.coco(tmp_path)
    first, second = open_dataset(f"coco_instances:{tmp_path}")
    assert first.classes == {1: "person", 90: "toothbrush"}  # without a look at the mask
    assert first.mask[2, 2] == 1 and first.mask[7, 7] == 90 and first.mask[18, 28] == 0  # the smaller lies on top
    assert (second.mask == 1).all()
    (panoptic,) = pickle.loads(pickle.dumps(open_dataset(f"coco_panoptic:{tmp_path}")))
    np.testing.assert_array_equal(panoptic.mask, trees.stripes(255, 1, 200))
    captions = open_dataset(f"coco_captions:{tmp_path}")
    assert captions[0].captions == ("A room.", "Chairs.") and not captions[0].has_mask
    assert captions[1].image.size_px == trees.SIZE


def test_flickr30k_in_its_three_forms(tmp_path: Path) -> None:
    trees.picture(tmp_path / "flickr30k-images" / "1000.jpg")
    trees.names(tmp_path / "results_20130124.token", "1000.jpg#0\tTwo dogs .", "1000.jpg#1\tDogs | play .")
    assert open_dataset(f"flickr30k:{tmp_path}")[0].captions == ("Two dogs .", "Dogs | play .")
    (tmp_path / "results_20130124.token").unlink()
    trees.names(tmp_path / "results.csv", "image_name| comment_number| comment", "1000.jpg| 0| Two dogs .")
    sample = open_dataset(f"flickr30k:{tmp_path}")[0]
    assert sample.captions == ("Two dogs .",) and sample.image.size_px == trees.SIZE
    with pytest.raises(ValueError, match="Expected dataset_flickr30k"):
        open_dataset(f"flickr30k:{tmp_path}#test")
    rows = [{"filename": "1000.jpg", "split": s, "sentences": [{"raw": s}]} for s in ("train", "test")]
    trees.write_json(tmp_path / "dataset_flickr30k.json", {"images": rows})
    assert open_dataset(f"flickr30k:{tmp_path}#train")[0].captions == ("train",)


def test_lists_of_labels(tmp_path: Path) -> None:
    trees.picture(tmp_path / "images" / "a.jpg")
    trees.names(tmp_path / "named.csv", "image,labels", "a.jpg,dog; cat", "b.jpg,")
    trees.names(tmp_path / "flags.csv", "image,cat,dog", "a.jpg,1,1", "b.jpg,0,0")
    trees.write_json(tmp_path / "listed.json", {"a.jpg": ["dog", "cat"], "b.jpg": []})
    trees.write_json(tmp_path / "ordered.json", {"classes": ["dog", "cat"], "images": {"a.jpg": ["cat"], "b.jpg": []}})
    for name in ("named.csv", "flags.csv", "listed.json"):
        a, b = open_dataset(f"labels:{tmp_path / name}")
        assert (a.names, a.image_labels, b.image_labels) == ({0: "cat", 1: "dog"}, (0, 1), ())
        assert a.image.size_px == trees.SIZE
    assert open_dataset(tmp_path / "ordered.json")[0].classes == {1: "cat"}
    trees.write_json(tmp_path / "wrong.json", {"classes": ["dog"], "images": {"a.jpg": ["cat"]}})
    trees.names(tmp_path / "flags.csv", "image,cat", "a.jpg,yes")
    for name, match in (
        ("wrong.json", r"among its classes, but got \['cat'\]"),
        ("flags.csv", "0 or 1, but got 'yes'"),
    ):
        with pytest.raises(ValueError, match=match):
            open_dataset(tmp_path / name)


def test_voc07_and_nus_wide(tmp_path: Path) -> None:
    home = tmp_path / "VOCdevkit" / "VOC2007"
    trees.names(home / "ImageSets/Main/cat_test.txt", "000001 -1", "000002  1")
    trees.names(home / "ImageSets/Main/dog_test.txt", "000001  1", "000002  0")
    trees.picture(home / "JPEGImages/000001.jpg")
    first, second = open_dataset(f"voc07:{tmp_path}")
    assert (first.classes, second.classes) == ({1: "dog"}, {0: "cat"}) and first.image.size_px == trees.SIZE
    trees.names(tmp_path / "ImageList/TestImagelist.txt", "actor\\0001_1.jpg", "zebra\\0002_2.jpg")
    trees.names(tmp_path / "Groundtruth/TrainTestLabels/Labels_animal_Test.txt", "0", "1")
    trees.names(tmp_path / "Groundtruth/TrainTestLabels/Labels_zebra_Test.txt", "0", "1")
    trees.picture(tmp_path / "Flickr/zebra/0002_2.jpg")
    (only,) = open_dataset(f"nus_wide:{tmp_path}")
    assert only.classes == {0: "animal", 1: "zebra"}
    trees.names(tmp_path / "Groundtruth/TrainTestLabels/Labels_zebra_Test.txt", "0")
    with pytest.raises(ValueError, match=r"Labels_zebra_Test\.txt to have 2 lines as TestImagelist\.txt, but got 1"):
        open_dataset(f"nus_wide:{tmp_path}")


def test_hugging_face_from_a_saved_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    trees.picture(tmp_path / "a.png")
    trees.mask(tmp_path / "m.png", 0, 3)
    features = datasets.Features({
        "image": datasets.Image(), "annotation": datasets.Image(), "captions": datasets.List(datasets.Value("string")),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
    })  # fmt: skip
    row = {"image": str(tmp_path / "a.png"), "annotation": str(tmp_path / "m.png"), "captions": ["A dog."], "label": 1}
    rows = datasets.Dataset.from_list([row], features=features)
    datasets.DatasetDict({"train": rows, "validation": rows}).save_to_disk(tmp_path / "saved")
    (sample,) = pickle.loads(pickle.dumps(open_dataset(tmp_path / "saved")))
    assert sample.captions == ("A dog.",) and sample.classes == {1: "dog"}
    np.testing.assert_array_equal(sample.mask, trees.stripes(0, 3))
    assert sample.image.size_px == trees.SIZE
    assert len(open_dataset(f"hf:{tmp_path / 'saved'}#train")) == 1
    with pytest.raises(ValueError, match="to be one of train, validation, but got 'test'"):
        open_dataset(f"hf:{tmp_path / 'saved'}#test")


def test_toy_scenes_folders_and_images(tmp_path: Path, shared: Path) -> None:
    toy = open_dataset("toy:3", seed=9)
    assert isinstance(toy, ToyScenes) and toy.image_names() == ["toy-0", "toy-1", "toy-2"] and toy.seed == 9
    trees.picture(tmp_path / "deep" / "b.png")
    trees.picture(tmp_path / "a.jpg")
    assert open_dataset(tmp_path).image_names() == ["a", "b"]
    for name, images in (("coco_pan200", 200), ("camvid30", 30), ("davis60", 60), ("voc_real", 6)):
        dataset = open_dataset(shared / "data" / name)
        assert isinstance(dataset, SegmentationFolder) and len(dataset) == images
    voc = open_dataset(f"{shared / 'data' / 'coco_pan200'}:masks_voc20")
    assert len(voc.classes) == 21 and len(voc[0].captions) in (0, 5)
    assert open_dataset(f"folder:{shared / 'data' / 'coco_pan200'}#masks_voc20").classes == voc.classes


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("toy:0", "toy:N with N scenes of at least 1, but got 'toy:0'"),
        ("nothing-here", "a folder, or KIND:ROOT with a kind of voc20, voc21"),
    ],
)
def test_names_of_nothing(data: str, match: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        open_dataset(data)


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("images", "hf")])
def test_what_is_missing_is_named_with_what_makes_it(tmp_path: Path, kind: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError)) as caught:
        open_dataset(f"{kind}:{tmp_path}")
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) in message
    if kind not in ("labels", "folder"):
        assert "is missing; to make it: " in message or "to make it: tar" in message
    assert next(KINDS[kind].missing(tmp_path))


def test_a_missing_list_and_missing_masks_of_voc(tmp_path: Path) -> None:
    trees.voc(tmp_path)
    kind = KINDS["voc21"]
    assert list(kind.missing(tmp_path)) == []
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").unlink()
    shutil.rmtree(tmp_path / "VOCdevkit/VOC2012/SegmentationClass")
    lists, masks = kind.missing(tmp_path)
    assert "val.txt (the list of images) is missing; to make it: tar -xf VOCtrainval_11-May-2012.tar" in lists
    assert "SegmentationClass/*.png (the masks) is missing" in masks


def test_unknown_ids_are_named(tmp_path: Path) -> None:
    trees.voc(tmp_path)
    trees.mask(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png", 0, 77)
    with pytest.raises(ValueError, match=r"2007_000033.png to hold ids of its data set, but got \[77\]"):
        _ = open_dataset(f"voc21:{tmp_path}")[0].mask


def test_tables_of_ids() -> None:
    assert len(mask_ids.CONTEXT_IDS) == len(set(mask_ids.CONTEXT_IDS)) == 59
    stuff, things = mask_ids.stuff_of_raw(), mask_ids.object_of_raw()
    assert sorted(stuff[:182][stuff[:182] >= 0].tolist()) == list(range(171))
    assert sorted(set(things[:182].tolist()) - {-1}) == list(range(81)) and things[255] == 0
    assert (stuff[[0, 10, 12, 91, 181]] == [0, 10, 11, 80, 170]).all()
    for layout in LAYOUTS.values():
        classes = len(read_class_list(layout.class_list))
        for form in layout.masks:
            labels = set(form.table().tolist()) - {-1, 255}
            assert labels == set(range(classes)), layout.name


@pytest.mark.parametrize("content", ["", "\n\n", "cat\n\ndog\n"])
def test_class_files_without_a_class(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.txt").write_text(content)
    with pytest.raises(ValueError, match=r"an empty file|an empty line 2"):
        read_class_list(tmp_path / "mine.txt")
    with pytest.raises(FileNotFoundError, match="one of ade20k, cityscapes"):
        read_class_list("mine")
    assert len(CLASS_LISTS) == 11
