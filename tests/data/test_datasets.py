import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets import SegmentationFolder, ToyScenes
from data.toy import make_scenes
from tests.data.pictures import encode, gradient

LABELS = np.zeros((24, 40), np.uint8)
LABELS[:10, :20] = 1
LABELS[12:, 30:] = 2
LABELS[:, 25] = 255


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good images with masks."""
    root = tmp_path / "scenes"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "classes.txt").write_text("0\tbackground\n1\tcat\tthing\n\n2\tdining table\n")
    for name in ("a", "b"):
        add_image(root, name)
        add_mask(root, name, LABELS)
    return root


def add_image(root: Path, name: str, content: bytes | None = None) -> None:
    (root / "images" / f"{name}.png").write_bytes(encode(gradient()) if content is None else content)


def add_mask(root: Path, name: str, labels: np.ndarray) -> None:
    (root / "masks" / f"{name}.png").write_bytes(encode(Image.fromarray(labels)))


def test_samples_of_a_folder(folder: Path) -> None:
    dataset = SegmentationFolder(folder)
    assert dataset.name == "scenes"
    assert dataset.classes == {0: "background", 1: "cat", 2: "dining table"}
    assert [sample.name for sample in dataset] == ["a", "b"]
    assert dataset[-1].name == "b"
    sample = dataset[0]
    np.testing.assert_array_equal(sample.image.rgb, np.asarray(gradient()))
    np.testing.assert_array_equal(sample.mask, LABELS)
    assert sample.classes == {0: "background", 1: "cat", 2: "dining table"}
    assert (sample.captions, sample.label, sample.prompt) == ((), None, None)


def test_regions_are_the_classes_but_the_background(folder: Path) -> None:
    cat, table = SegmentationFolder(folder)[0].regions()
    assert (cat.id, cat.text, table.id, table.text) == (1, "cat", 2, "dining table")
    np.testing.assert_array_equal(cat.mask, LABELS == 1)
    np.testing.assert_array_equal(table.mask, LABELS == 2)
    np.testing.assert_array_equal(cat.valid, LABELS != 255)


def test_id_0_of_another_name_is_a_prompt(folder: Path) -> None:
    (folder / "classes.txt").write_text("0\tsky\n1\tcat\n2\tbackground\n")
    assert [region.text for region in SegmentationFolder(folder)[0].regions()] == ["sky", "cat", "background"]


def test_a_folder_is_read_lazily(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("data.datasets.load_image", lambda path: opened.append(path.name))
    sample = SegmentationFolder(folder)[1]
    assert opened == []
    _ = (sample.image, sample.image)
    assert opened == ["b.png", "b.png"]  # nothing decoded is kept


def test_a_decoded_sample_holds_what_it_read_and_can_be_sent(folder: Path) -> None:
    sample = pickle.loads(pickle.dumps(SegmentationFolder(folder)))[0].decode()
    for path in folder.rglob("a.png"):
        path.unlink()
    sent = pickle.loads(pickle.dumps(sample))
    np.testing.assert_array_equal(sent.mask, LABELS)
    np.testing.assert_array_equal(sent.image.rgb, np.asarray(gradient()))
    toy = pickle.loads(pickle.dumps(ToyScenes(3, seed=5)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(toy[2])).image.rgb, ToyScenes(3, seed=5)[2].image.rgb)


def test_captions_and_prompts_of_meta(folder: Path) -> None:
    meta = {"a": {"captions": ["A cat.", "Cats!"], "label": "cat", "prompt": "a black cat", "width": 40}}
    (folder / "meta.json").write_text(json.dumps(meta))
    a, b = SegmentationFolder(folder)
    assert (a.captions, a.label, a.prompt) == (("A cat.", "Cats!"), "cat", "a black cat")
    assert b.captions == ()
    assert a.classes[1] == "cat"  # two classes: the prompt cannot tell which is meant


@pytest.mark.parametrize(
    ("meta", "text"),
    [({"label": "cat", "prompt": "a black cat"}, "a black cat"), ({"label": "cat"}, "cat"), ({}, "the object")],
)
def test_the_only_class_takes_the_images_own_name(folder: Path, meta: dict[str, str], text: str) -> None:
    (folder / "classes.txt").write_text("0\tbackground\n1\tthe object\n")
    (folder / "meta.json").write_text(json.dumps({"a": meta}))
    dataset = SegmentationFolder(folder)
    assert [region.text for region in dataset[0].regions()] == [text]
    assert dataset.classes[1] == "the object"


def test_another_set_of_masks(folder: Path) -> None:
    (folder / "masks_two").mkdir()
    (folder / "classes_two.txt").write_text("7\tdog\n")
    for name in ("a", "b"):
        (folder / "masks_two" / f"{name}.png").write_bytes(encode(Image.fromarray(LABELS // 255 * 255 + 7)))
    dataset = SegmentationFolder(folder, masks_dir="masks_two")
    assert dataset.classes == {7: "dog"}
    assert [region.text for region in dataset[0].regions()] == ["dog"]
    with pytest.raises(ValueError, match="Expected masks_dir to start with 'masks', but got 'labels'"):
        SegmentationFolder(folder, masks_dir="labels")


def test_indices_outside(folder: Path) -> None:
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"inside scenes of 2 samples, but got {index}"):
            SegmentationFolder(folder)[index]


@pytest.mark.parametrize("missing", ["images", "masks", "classes.txt", ""])
def test_missing_parts_are_named(folder: Path, missing: str) -> None:
    (folder / missing).rename(folder.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match=rf"images/, masks/ and classes\.txt, but .*{missing} is missing"):
        SegmentationFolder(folder)


def test_a_folder_needs_images_and_classes(folder: Path) -> None:
    (folder / "classes.txt").write_text("cat\n")
    with pytest.raises(ValueError, match="to hold lines id<TAB>name, but got no such line"):
        SegmentationFolder(folder)
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="to hold PNG, JPEG or WebP files, but got none"):
        SegmentationFolder(folder)


def test_a_good_folder_has_no_problems(folder: Path) -> None:
    (folder / "images" / ".DS_Store").touch()
    report = SegmentationFolder(folder).check()
    assert report.ok
    assert (report.images, report.usable) == (2, (0, 1))
    assert str(report) == "2 of 2 images are usable; 0 problems"


def spoil_size(root: Path) -> None:
    add_mask(root, "b", LABELS[:20])


def spoil_ids(root: Path) -> None:
    add_mask(root, "b", LABELS + np.uint8(40) * (LABELS == 2))


def spoil_mask(root: Path) -> None:
    (root / "masks" / "b.png").unlink()


def spoil_image(root: Path) -> None:
    add_image(root, "b", encode(gradient())[:-60])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_size, r"b\.png: the image is \(24, 40\) and its mask \(20, 40\)"),
        (spoil_ids, r"b\.png: the mask has ids that classes\.txt does not name: \[42\]"),
        (spoil_mask, r"b\.png: the mask cannot be read: Expected path to be an existing file"),
        (spoil_image, r"b\.png: the image cannot be read: Expected b\.png to be a complete image"),
    ],
)
def test_problems_of_one_image(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    report = SegmentationFolder(folder).check()
    assert not report.ok
    assert report.usable == (0,)
    assert len(report.problems) == 1
    assert re.search(message, str(report))


@pytest.mark.parametrize(
    ("file", "content", "where", "what"),
    [
        ("classes.txt", "1\tcat\n2\ttable\nthree\tdog\n0\tx\n", "classes.txt, line 3", "expected id<TAB>name"),
        ("classes.txt", "1\tcat\n2\ttable\n0\tx\n3\t\n", "classes.txt, line 4", "expected id<TAB>name"),
        ("classes.txt", "1\tcat\n2\ttable\n0\tx\n1\tdog\n", "classes.txt, line 4", "id 1 is already 'cat'"),
        ("classes.txt", "1\tcat\n2\ttable\n0\tx\n255\tdog\n", "classes.txt, line 4", "255 stands for unknown"),
        ("meta.json", "{oops", "meta.json", "not JSON"),
        ("meta.json", b"\xff\xfe{", "meta.json", "not JSON"),
        ("meta.json", "[]", "meta.json", "expected an object of image names, but got list"),
        ("meta.json", '{"a": {"captions": "A cat."}}', "meta.json, 'a'", "captions: list of texts"),
        ("meta.json", '{"a": {"prompt": 3}}', "meta.json, 'a'", "prompt: text"),
        ("meta.json", '{"zebra": {}}', "meta.json", "describes 'zebra', which is not in images/"),
        ("images/list.txt", "", "list.txt", "not a PNG, JPEG or WebP file"),
        ("masks/z.png", "", "masks/z.png", "a mask without an image"),
    ],
)
def test_problems_of_the_lists(folder: Path, file: str, content: str | bytes, where: str, what: str) -> None:
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    report = SegmentationFolder(folder).check()
    (problem,) = report.problems
    assert problem.where == where
    assert what in problem.what
    assert report.usable == (0, 1)


def test_images_that_share_a_mask(folder: Path) -> None:
    (folder / "images" / "a.webp").write_bytes(encode(gradient(), "WEBP"))
    report = SegmentationFolder(folder).check()
    assert [problem.where for problem in report.problems] == ["a.png", "a.webp"]


def test_progress_sees_every_image(folder: Path) -> None:
    seen = []
    SegmentationFolder(folder).check(progress=lambda indices: (seen.append(i) or i for i in indices))
    assert seen == [0, 1]


def test_toy_scenes_are_those_of_make_scenes() -> None:
    dataset, scenes = ToyScenes(5, seed=3), make_scenes(5, 3)
    assert [sample.name for sample in dataset] == [f"toy-{i}" for i in range(5)]
    for sample, scene in zip(dataset, scenes, strict=True):
        np.testing.assert_array_equal(sample.image.rgb, np.asarray(scene.image))
        assert sample.captions == (scene.caption,)
        masks = {region.text: region.mask for region in sample.regions()}
        assert masks.keys() == {item.phrase for item in scene.objects}
        for item in scene.objects:
            np.testing.assert_array_equal(masks[item.phrase], item.mask)
        assert all(region.valid.all() for region in sample.regions())


def test_ids_of_toy_classes_mean_the_same_everywhere() -> None:
    dataset = ToyScenes(12)
    assert len(dataset.classes) == len(set(dataset.classes.values())) == 91
    for sample in dataset:
        assert sample.classes.items() <= dataset.classes.items()
        assert sample.classes[0] == "background"


def test_toy_numbers() -> None:
    with pytest.raises(ValueError, match="Expected n and seed to be >= 0"):
        ToyScenes(-1)
    with pytest.raises(IndexError, match="inside toy of 0 samples"):
        ToyScenes(0)[0]


@pytest.mark.parametrize(
    ("name", "masks_dir", "images"),
    [
        ("camvid30", "masks", 30),
        ("coco_pan200", "masks", 200),
        ("coco_pan200", "masks_voc20", 200),
        ("davis60", "masks", 60),
        ("voc_real", "masks", 6),
    ],
)
def test_real_folders(shared: Path, name: str, masks_dir: str, images: int) -> None:
    report = SegmentationFolder(shared / "data" / name, masks_dir).check()
    assert str(report) == f"{images} of {images} images are usable; 0 problems"


def test_real_samples(shared: Path) -> None:
    swan = SegmentationFolder(shared / "data" / "davis60")[0]
    assert [region.text for region in swan.regions()] == ["a black swan"]
    assert swan.regions()[0].mask.mean() == pytest.approx(0.1003, abs=1e-4)  # `fg` of its meta.json
    coco = SegmentationFolder(shared / "data" / "coco_pan200")
    areas = json.loads((coco.path / "meta.json").read_text())
    for sample in (coco[0], coco[150]):
        assert {region.text for region in sample.regions()} == areas[sample.name]["area"].keys()
        for region in sample.regions():
            assert region.mask.mean() == pytest.approx(areas[sample.name]["area"][region.text], abs=1e-4)
    assert len(coco[150].captions) == 5
