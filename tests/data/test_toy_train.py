"""The training script on a handful of scenes."""

import math
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from data.toy import make_scenes
from data.toy import train as toy


def one_training(folder: Path) -> dict[str, torch.Tensor]:
    toy.write_model_folder(folder)
    scenes = toy.render_scenes(count=6, seed=3, processes=1)
    model = toy.train(scenes, folder, steps=2, batch=4, seed=3, rate=1e-3)
    toy.save_weights(model, folder / toy.WEIGHTS_FILE)
    return load_file(folder / toy.WEIGHTS_FILE)


def test_training_is_repeatable_and_leaves_a_loadable_folder(tmp_path: Path) -> None:
    first, second = one_training(tmp_path / "a"), one_training(tmp_path / "b")
    assert all(torch.equal(first[name], second[name]) for name in first)
    model = open_clip.create_model(f"local-dir:{tmp_path / 'a'}")
    assert torch.equal(model.visual.proj, first["visual.proj"].float())
    files = {path.name for path in (tmp_path / "a").iterdir()}
    assert files == {toy.CONFIG_FILE, toy.WEIGHTS_FILE, toy.MERGES_FILE}


def test_training_scenes_are_the_scenes_of_their_seed_at_the_size_of_the_model() -> None:
    rendered = toy.render_scenes(count=2, seed=5, processes=1)
    scenes = make_scenes(2, toy.FIRST_TRAINING_SEED + 5)
    for pixels, phrases, background, scene in zip(
        rendered.pixels, rendered.phrases, rendered.backgrounds, scenes, strict=True
    ):
        small = scene.image.resize((toy.IMAGE_SIZE, toy.IMAGE_SIZE), 3)
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(small))
        assert phrases == tuple(item.phrase for item in scene.objects)
        assert background == scene.background


def test_loss_is_the_mean_cross_entropy_of_both_directions_without_true_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 3, 5, generator=generator)
    also_true = torch.tensor([[True, False, True], [False, True, False], [False, False, True]])
    logits = (0.7 * images @ texts.T).tolist()
    total = 0.0
    for i in range(3):
        row = [logits[i][j] for j in range(3) if i == j or not also_true[i, j]]
        column = [logits[j][i] for j in range(3) if i == j or not also_true[j, i]]
        total -= logits[i][i] - math.log(sum(map(math.exp, row)))
        total -= logits[i][i] - math.log(sum(map(math.exp, column)))
    loss = toy.contrastive_loss(images, texts, also_true, torch.tensor(0.7))
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_pixels_are_normalised_as_open_clip_does() -> None:
    scene = make_scenes(1, 0)[0]
    size = scene.image.size
    raw = torch.from_numpy(np.array(scene.image)).permute(2, 0, 1)[None]
    expected = open_clip.image_transform(size, is_train=False, resize_mode="squash")(scene.image)
    assert torch.allclose(toy.normalise_pixels(raw)[0], expected, atol=1e-6)


@pytest.mark.parametrize("option", ["--steps", "--batch", "--scenes", "--threads"])
def test_numbers_below_one_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        toy.main([option, "0"])
    assert f"argument {option}: Expected a whole number >= 1, but got '0'" in capsys.readouterr().err


def test_more_scenes_a_step_than_there_are_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        toy.main(["--batch", "65", "--scenes", "64"])
    assert "Expected --batch to be <= --scenes (64), but got 65" in capsys.readouterr().err
