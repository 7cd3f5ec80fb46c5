"""Miniature trees in the exact layouts of the public data sets."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (20, 30)


def picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    """A photograph of noise; the format follows the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(path)


def mask(path: Path, *ids: int, size: tuple[int, int] = SIZE) -> None:
    """Stripes of the ids, left to right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stripes(*ids, size=size)).save(path)


def stripes(*ids: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """What `mask` draws."""
    return np.broadcast_to(np.array(ids, np.uint8)[np.arange(size[1]) * len(ids) // size[1]], size)


def names(path: Path, *lines: str) -> None:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def voc(root: Path) -> Path:
    """VOC 2012 with two images in val and one besides."""
    home = root / "VOCdevkit" / "VOC2012"
    for index, stem in enumerate(("2007_000033", "2007_000042", "2007_000061")):
        picture(home / "JPEGImages" / f"{stem}.jpg", index)
    for stem, ids in (("2007_000033", (0, 1, 255)), ("2007_000042", (0, 20, 15))):
        mask(home / "SegmentationClass" / f"{stem}.png", *ids)
        path = home / "SegmentationClass" / f"{stem}.png"
        indexed = Image.open(path)
        indexed.load()
        indexed.putpalette(list(range(256)) * 3)
        indexed.save(path)
    names(home / "ImageSets" / "Segmentation" / "val.txt", "2007_000033", "2007_000042")
    return root


def cityscapes(root: Path) -> Path:
    """Two cities with maps of all 34 classes, as downloaded."""
    for index, (city, stem) in enumerate((("munster", "munster_000001_000019"), ("lindau", "lindau_000000_000019"))):
        picture(root / "leftImg8bit" / "val" / city / f"{stem}_leftImg8bit.png", index)
        mask(root / "gtFine" / "val" / city / f"{stem}_gtFine_labelIds.png", 7, 33, 4)
    return root


def coco_stuff(root: Path) -> Path:
    """One image with its raw stuff map."""
    picture(root / "images" / "val2017" / "000000000139.jpg")
    mask(root / "annotations" / "val2017" / "000000000139.png", 0, 89, 91, 181, 255)
    return root


def coco(root: Path) -> Path:
    """COCO's JSON files for two images: two boxes one upon the other, a crowd, segments, captions."""
    for index, stem in enumerate(("000000000139", "000000000285")):
        picture(root / "val2017" / f"{stem}.jpg", index)
    height, width = SIZE
    images = [{"id": id, "file_name": f"{id:012}.jpg", "height": height, "width": width} for id in (139, 285)]
    kinds = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
    crowd = {"size": [height, width], "counts": [0, height * width]}
    things = [
        {"image_id": 139, "category_id": 90, "area": 100, "iscrowd": 0, "segmentation": [box(5, 5, 15, 15)]},
        {"image_id": 139, "category_id": 1, "area": 200, "iscrowd": 0, "segmentation": [box(0, 0, 20, 10)]},
        {"image_id": 285, "category_id": 1, "area": 600, "iscrowd": 1, "segmentation": crowd},
    ]
    write_json(root / "annotations" / "instances_val2017.json",
               {"images": images, "annotations": things, "categories": kinds})  # fmt: skip
    captions = [
        {"image_id": id, "caption": text} for id, text in ((139, "A room. "), (285, "A bear."), (139, "Chairs."))
    ]
    write_json(root / "annotations" / "captions_val2017.json", {"images": images, "annotations": captions})
    segments = np.zeros((*SIZE, 3), np.uint8)
    segments[:, 10:20] = (7, 1, 0)  # id 263
    segments[:, 20:] = (0, 0, 2)  # id 131072
    folder = root / "annotations" / "panoptic_val2017"
    folder.mkdir(parents=True)
    Image.fromarray(segments).save(folder / "000000000139.png")
    listed = [{"id": 263, "category_id": 1}, {"id": 131072, "category_id": 200}]
    write_json(root / "annotations" / "panoptic_val2017.json", {
        "images": images,
        "annotations": [{"image_id": 139, "file_name": "000000000139.png", "segments_info": listed}],
        "categories": [{"id": 1, "name": "person"}, {"id": 200, "name": "rug-merged"}],
    })  # fmt: skip
    return root


def box(left: int, top: int, right: int, bottom: int) -> list[float]:
    """A polygon of COCO."""
    return [float(v) for v in (left, top, right, top, right, bottom, left, bottom)]


def write_json(path: Path, content: object) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
