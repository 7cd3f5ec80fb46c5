"""The toy scenes: determinism, exact masks, captions."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from data.toy import Scene, make_scenes
from data.toy.scenes import COLOURS, OBJECT_COUNTS, SCENE_SIZE, make_caption, plan_scene, render_plan
from data.toy.shapes import SHADOW_OFFSET, SHADOW_SOFTNESS, SHAPES
from data.toy.textures import TEXTURES, value_noise

SEED = 11


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return make_scenes(60, SEED)


def pixels_of(scene: Scene) -> np.ndarray:
    return np.asarray(scene.image).astype(int)


def test_a_scene_does_not_depend_on_how_many_are_made(scenes: list[Scene]) -> None:
    for first, again in zip(scenes, make_scenes(3, SEED), strict=False):
        assert first.caption == again.caption
        assert np.array_equal(pixels_of(first), pixels_of(again))
        for a, b in zip(first.objects, again.objects, strict=True):
            assert np.array_equal(a.mask, b.mask)


def test_seeds_give_different_scenes(scenes: list[Scene]) -> None:
    others = make_scenes(3, SEED + 1)
    assert all(not np.array_equal(pixels_of(a), pixels_of(b)) for a, b in zip(scenes, others, strict=False))


def test_scenes_have_the_promised_form(scenes: list[Scene]) -> None:
    assert {len(scene.objects) for scene in scenes} == set(OBJECT_COUNTS)
    for scene in scenes:
        assert scene.image.mode == "RGB"
        assert scene.image.size == (SCENE_SIZE, SCENE_SIZE)
        assert all(item.mask.dtype == bool and item.mask.shape == (SCENE_SIZE, SCENE_SIZE) for item in scene.objects)


def test_scenes_are_varied() -> None:
    assert len(SHAPES) >= 8
    assert len(COLOURS) >= 8
    assert len(TEXTURES) >= 8
    plans = [plan_scene(SEED, index) for index in range(400)]
    assert {plan.background for plan in plans} == set(TEXTURES)
    assert {item.shape for plan in plans for item in plan.objects} == set(SHAPES)
    assert {item.colour for plan in plans for item in plan.objects} == set(COLOURS)


def test_phrases_and_background_make_the_caption(scenes: list[Scene]) -> None:
    for scene in scenes:
        phrases = [item.phrase for item in scene.objects]
        assert scene.caption == make_caption(phrases, scene.background)
        assert all(phrase in scene.caption for phrase in phrases)
        assert scene.caption.endswith(f" on {scene.background}")
        assert len(set(phrases)) == len(phrases)


def test_articles_follow_the_colour() -> None:
    phrases = {item.phrase for index in range(200) for item in plan_scene(SEED, index).objects}
    assert any(phrase.startswith("an orange ") for phrase in phrases)
    assert not any(phrase.startswith("a orange ") for phrase in phrases)


def test_captions_are_mostly_unique_in_a_batch_of_64() -> None:
    captions = [scene.caption for scene in make_scenes(64, SEED)]
    assert len(set(captions)) >= 62


def test_removing_an_object_changes_its_mask_and_its_shadow_only() -> None:
    for index in range(30):
        plan = plan_scene(SEED, index)
        front = plan.objects[-1]
        scene = render_plan(plan)
        without = render_plan(dataclasses.replace(plan, objects=plan.objects[:-1]))
        changed = np.any(pixels_of(scene) != pixels_of(without), axis=-1)
        mask = scene.objects[-1].mask
        # The part of the mask that stays the same is where object and background happen to have one colour.
        assert changed[mask].mean() > 0.9
        y, x = np.nonzero(changed & ~mask)
        shadow_px = (SHADOW_OFFSET * np.array([np.cos(plan.light), np.sin(plan.light)])) * front.radius_px
        reach_px = 1.6 * SHADOW_SOFTNESS * front.radius_px + 1.5  # half the softness, farther at sharp tips
        rows, columns = np.nonzero(mask)
        for px, py in list(zip(x, y, strict=True))[::41]:
            nearest = np.hypot(columns - (px + shadow_px[0]), rows - (py + shadow_px[1])).min()
            assert nearest <= reach_px


def test_the_shadow_only_darkens() -> None:
    plan = plan_scene(SEED, 2)
    bare = dataclasses.replace(plan, objects=())
    scene, empty = render_plan(plan), render_plan(bare)
    outside = ~np.logical_or.reduce([item.mask for item in scene.objects])
    assert np.all(pixels_of(scene)[outside] <= pixels_of(empty)[outside])
    assert np.any(pixels_of(scene)[outside] < pixels_of(empty)[outside] - 20)


def test_a_front_object_hides_the_one_behind_it() -> None:
    plan = next(p for p in (plan_scene(SEED, i) for i in range(50)) if len(p.objects) == 2)
    back, front = plan.objects
    front = dataclasses.replace(front, centre_px=(back.centre_px[0] + 0.4 * back.radius_px, back.centre_px[1]))
    alone = render_plan(dataclasses.replace(plan, objects=(back,))).objects[0].mask
    behind, before = (item.mask for item in render_plan(dataclasses.replace(plan, objects=(back, front))).objects)
    assert not np.any(behind & before)
    assert np.array_equal(behind, alone & ~before)
    assert behind.sum() < alone.sum()


def test_every_object_covers_several_patches() -> None:
    for scene in make_scenes(100, SEED + 2):
        for item in scene.objects:
            share = item.mask.reshape(14, 16, 14, 16).mean((1, 3))  # (14, 16, 14, 16) -> (14, 14)
            assert (share > 0.5).sum() >= 3, item.phrase


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_of_unit_size_and_their_distances_grow_no_faster_than_space(shape: str) -> None:
    axis = np.linspace(-1.6, 1.6, 321)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    distance = SHAPES[shape](u, v)
    assert 0.7 < np.hypot(u, v)[distance < 0].max() < 1.3
    assert 0.8 < (distance < 0).sum() * (axis[1] - axis[0]) ** 2 < np.pi
    slope = np.hypot(*np.gradient(distance, axis[1] - axis[0]))
    assert np.median(slope) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("background", TEXTURES)
def test_textures_are_pictures_of_their_generator(background: str) -> None:
    texture = TEXTURES[background]
    image = texture(np.random.default_rng(1), 64)
    assert image.shape == (64, 64, 3)
    assert image.std() > 0.02
    assert np.array_equal(image, texture(np.random.default_rng(1), 64))
    assert not np.array_equal(image, texture(np.random.default_rng(2), 64))


def test_value_noise_is_standardised() -> None:
    noise = value_noise(np.random.default_rng(0), 96, (3, 7))
    assert noise.shape == (96, 96)
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(1, abs=1e-4)


def test_no_scenes_are_an_empty_list() -> None:
    assert make_scenes(0, 0) == []


@pytest.mark.parametrize(("n", "seed", "name"), [(-1, 0, "n"), (1, -3, "seed")])
def test_negative_numbers_are_refused(n: int, seed: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected {name} to be >= 0, but got -"):
        make_scenes(n, seed)


@pytest.mark.parametrize(("n", "seed", "name"), [(1.5, 0, "n"), ("3", 0, "n"), (True, 0, "n"), (1, None, "seed")])
def test_other_types_are_refused(n: object, seed: object, name: str) -> None:
    with pytest.raises(TypeError, match=f"Expected {name} to be an integer, but got"):
        make_scenes(n, seed)


def test_scenes_are_made_without_torch() -> None:
    code = "import sys, data.toy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
