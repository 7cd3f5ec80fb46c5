"""Pictures that are there without a download: toy scenes with exact masks, and two photographs of scikit-learn."""

from dataclasses import dataclass

import numpy as np

from data import datasets
from data.images import LoadedImage
from data.toy.scenes import plan_scene, render_plan

SCENE_SEED = 7  # far from the seeds of the toy's training scenes
SCENES = tuple(f"toy-{index}" for index in range(12))
PHOTOGRAPHS = {
    "china": ("a pagoda", "the sky", "trees", "a lake"),
    "flower": ("an orange flower", "dark green leaves"),
}
SAMPLES = (*SCENES, *PHOTOGRAPHS)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture with what is worth asking of it.

    Attributes:
        name: one of `SAMPLES`, or that of a picture in a data set.
        image: the picture.
        prompts: texts worth trying on it.
        caption: a sentence that says what is in it.
        masks: object phrase -> bool (H, W), exact; empty for photographs.
    """

    name: str
    image: LoadedImage
    prompts: tuple[str, ...]
    caption: str
    masks: dict[str, np.ndarray]


def load_sample(name: str) -> Sample:
    """A built-in picture.

    Args:
        name: one of `SAMPLES`.

    Raises:
        ValueError: another name.
    """
    if name not in SAMPLES:
        raise ValueError(f"Expected name to be one of {', '.join(SAMPLES)}, but got {name!r}")
    return _load_photograph(name) if name in PHOTOGRAPHS else _load_scene(name)


def sample_of(found: datasets.Sample) -> Sample:
    """A picture of a data set with the classes in it as prompts and masks.

    Args:
        found: one of `data.registry.open_dataset`.

    Raises:
        OSError, ValueError: its files cannot be read.
    """
    found = found.decode()
    masks = {region.text: region.mask for region in found.regions()} if found.has_mask else {}
    image = LoadedImage(found.image.rgb, found.image.sha256, found.name)
    return Sample(found.name, image, tuple(masks), found.captions[0] if found.captions else "", masks)


def _load_scene(name: str) -> Sample:
    scene = render_plan(plan_scene(SCENE_SEED, SCENES.index(name)))
    return Sample(
        name=name,
        image=LoadedImage.from_rgb(scene.image, name),
        prompts=(*(item.phrase for item in scene.objects), scene.background),
        caption=scene.caption,
        masks={item.phrase: item.mask for item in scene.objects},
    )


def _load_photograph(name: str) -> Sample:
    from sklearn.datasets import load_sample_image  # takes a second to import, and scenes do without

    prompts = PHOTOGRAPHS[name]
    image = LoadedImage.from_rgb(load_sample_image(f"{name}.jpg"), name)
    return Sample(name, image, prompts, f"a photo of {', '.join(prompts[:-1])} and {prompts[-1]}", {})
