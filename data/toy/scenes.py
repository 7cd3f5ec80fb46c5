"""Scenes of coloured shapes on textured backgrounds, with captions and exact masks.

A scene is a function of (seed, index) alone: scene i is the same however many scenes are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from PIL import Image

from data.toy.shapes import SHAPES, draw_shape
from data.toy.textures import TEXTURES, value_noise

SCENE_SIZE = 224  # pixels; twice the input of the toy model, 16 pixels a patch of its 14 x 14 grid

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.83, 0.08, 0.09),
    "orange": (0.98, 0.50, 0.04),
    "yellow": (0.97, 0.86, 0.10),
    "green": (0.10, 0.66, 0.22),
    "blue": (0.10, 0.22, 0.85),
    "purple": (0.50, 0.14, 0.70),
    "pink": (0.98, 0.52, 0.72),
    "white": (0.93, 0.93, 0.93),
    "black": (0.08, 0.08, 0.09),
}

OBJECT_COUNTS = (1, 2, 3)
OBJECT_COUNT_SHARES = (0.25, 0.4, 0.35)
RADII_PX = {1: (40, 62), 2: (36, 52), 3: (32, 44)}  # by number of objects
PLACEMENT_TRIES = 200


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        phrase: colour and shape with an article, such as "a red circle".
        mask: bool (H, W), the visible pixels of the object, exactly.
    """

    phrase: str
    mask: np.ndarray


@dataclass(frozen=True, slots=True)
class Scene:
    """A rendered scene.

    Attributes:
        image: RGB, 224 x 224.
        caption: all objects, then the background: "a red circle and a blue ring on grass".
        background: the word for the texture, such as "grass".
        objects: one to three, from the back to the front.
    """

    image: Image.Image
    caption: str
    background: str
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """What is drawn for one object: names, pose in pixels and radians, and the colour with its variation, (3,)."""

    colour: str
    shape: str
    rgb: np.ndarray
    centre_px: tuple[float, float]
    radius_px: float
    angle: float

    @property
    def phrase(self) -> str:
        return name_object(self.colour, self.shape)


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """Everything that determines the pixels of a scene; `render_plan` draws it."""

    background: str
    texture_seed: int
    light: float
    objects: tuple[ObjectPlan, ...]


def make_scenes(n: int, seed: int) -> list[Scene]:
    """Make n scenes; the first scenes of a seed are the same for every n.

    Args:
        n: number of scenes, >= 0.
        seed: >= 0; different seeds give different scenes.

    Returns:
        n scenes of 224 x 224 pixels.

    Raises:
        TypeError: if n or seed is not an integer.
        ValueError: if n or seed is negative.
    """
    n, seed = _natural_number("n", n), _natural_number("seed", seed)
    return [render_plan(plan_scene(seed, index)) for index in range(n)]


def plan_scene(seed: int, index: int) -> ScenePlan:
    """Choose background, light and objects of scene `index` of a seed."""
    rng = np.random.default_rng([seed, index])
    count = int(rng.choice(OBJECT_COUNTS, p=OBJECT_COUNT_SHARES))
    names = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    chosen = [names[i] for i in rng.choice(len(names), size=count, replace=False)]
    poses = _place(rng, count)
    objects = tuple(_plan_object(rng, *name, *pose) for name, pose in zip(chosen, poses, strict=True))
    return ScenePlan(
        background=str(rng.choice(list(TEXTURES))),
        texture_seed=int(rng.integers(2**32)),
        light=float(rng.uniform(-0.9, -0.4) * np.pi),  # from above
        objects=objects,
    )


def render_plan(plan: ScenePlan) -> Scene:
    """Draw a plan: background, then each object with its shadow, then the light over the whole scene."""
    rng = np.random.default_rng(plan.texture_seed)
    canvas = np.array(TEXTURES[plan.background](rng, SCENE_SIZE), dtype=np.float32)
    canvas *= rng.uniform(0.88, 1.08, 3).astype(np.float32)
    illumination = 1 + 0.06 * value_noise(rng, SCENE_SIZE, (1, 1), octaves=2)[..., None]

    masks: list[np.ndarray] = []
    for item in plan.objects:
        drawn = draw_shape(canvas, item.shape, item.rgb, item.centre_px, item.radius_px, item.angle, plan.light)
        masks = [mask & ~drawn for mask in masks] + [drawn]

    pixels = (np.clip(canvas * illumination, 0, 1) * 255).round().astype(np.uint8)
    objects = tuple(SceneObject(item.phrase, mask) for item, mask in zip(plan.objects, masks, strict=True))
    caption = make_caption([item.phrase for item in objects], plan.background)
    return Scene(Image.fromarray(pixels), caption, plan.background, objects)


def name_object(colour: str, shape: str) -> str:
    """The phrase for an object.

    >>> name_object("orange", "star")
    'an orange star'
    """
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}"


def make_caption(phrases: Sequence[str], background: str | None) -> str:
    """Join phrases and background into a caption; either may be absent.

    >>> make_caption(["a red circle", "a blue ring", "a white star"], "grass")
    'a red circle, a blue ring and a white star on grass'
    """
    listed = " and ".join(filter(None, [", ".join(phrases[:-1]), *phrases[-1:]]))
    return " on ".join(filter(None, [listed, background]))


def _plan_object(rng: np.random.Generator, colour: str, shape: str, centre: np.ndarray, radius: float) -> ObjectPlan:
    rgb = np.clip(np.float32(COLOURS[colour]) + rng.normal(0, 0.025, 3).astype(np.float32), 0, 1)
    # Less than a turn that would make a square a diamond.
    return ObjectPlan(colour, shape, rgb, (float(centre[0]), float(centre[1])), radius, float(rng.uniform(-0.3, 0.3)))


def _place(rng: np.random.Generator, count: int) -> list[tuple[np.ndarray, float]]:
    """Centres (x, y) and radii in pixels, redrawn until the objects overlap little and lie inside the image."""
    low, high = RADII_PX[count]
    for attempt in range(PLACEMENT_TRIES):
        radii = rng.uniform(low, low + (high - low) * (1 - attempt / PLACEMENT_TRIES), count)
        centres = rng.uniform(0.9 * radii[:, None], SCENE_SIZE - 0.9 * radii[:, None], (count, 2))
        gaps = np.linalg.norm(centres[:, None] - centres, axis=-1) - 0.95 * (radii[:, None] + radii)  # (count, count)
        if np.all(gaps[~np.eye(count, dtype=bool)] > 0):
            break
    return [(centre, float(radius)) for centre, radius in zip(centres, radii, strict=True)]


def _natural_number(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"Expected {name} to be an integer, but got {value!r}")
    if value < 0:
        raise ValueError(f"Expected {name} to be >= 0, but got {value}")
    return int(value)
