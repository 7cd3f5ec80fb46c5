"""What loading a file says and keeps: activation, own sizes, towers on their own, precision, and no code that runs."""

import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from surgery import METHODS, CheckpointWarning, encode_dense, load_model
from surgery.checkpoints import CheckpointError
from surgery.checkpoints.torchscript import read_torchscript
from surgery.weights import recipe_of
from tests.checkpoints.forms import hf_folder, image_tower, lightning, openai_archive, safe_file, state_of
from tests.checkpoints.sources import PLAIN, QUICK, TEXTS, WIDE, clip_model, pixels, register, source


@pytest.fixture(autouse=True)
def registered():
    register()


def plain_file(folder: Path) -> str:
    return safe_file(folder, state_of())[1]


def warned(*arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = load_model(*arguments, device="cpu", **options)
    return model, [str(one.message) for one in caught if issubclass(one.category, CheckpointWarning)]


def test_the_two_activations_differ():
    assert (source(PLAIN).text - source(QUICK).text).abs().max() > 1e-3
    assert (source(PLAIN).image - source(QUICK).image).abs().max() > 1e-3


@pytest.mark.parametrize(("name", "chosen"), [(PLAIN, "gelu"), (QUICK, "quick_gelu")])
def test_a_file_that_cannot_say_its_activation_warns_once(tmp_path, name, chosen):
    model, said = warned(name, plain_file(tmp_path))
    assert len(said) == 1
    assert f"{chosen} was taken, as {name} has it" in said[0] and "activation='quick_gelu'" in said[0]
    torch.testing.assert_close(model.encode_text(list(TEXTS)), source(name).text, atol=1e-5, rtol=0)


def test_a_named_activation_is_taken_and_silent(tmp_path):
    model, said = warned(PLAIN, plain_file(tmp_path), activation="quick_gelu")
    assert said == []
    torch.testing.assert_close(model.encode_text(list(TEXTS)), source(QUICK).text, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "activation", "message"),
    [
        ((PLAIN, "file"), "relu", "activation to be None or one of gelu, quick_gelu, but got 'relu'"),
        ((QUICK, "file"), "gelu", "to be 'quick_gelu' for form-vit-quickgelu, but got 'gelu'; use form-vit"),
        (("ViT-B-16", "openai"), "gelu", "activation to be None or 'quick_gelu' for 'openai' weights, but got 'gelu'"),
        (("toy", None), "quick_gelu", "activation to be None or 'gelu', as the configuration of toy says"),
    ],
)
def test_an_activation_that_contradicts_is_refused(tmp_path, arguments, activation, message):
    name, pretrained = arguments
    pretrained = plain_file(tmp_path) if pretrained == "file" else pretrained
    with pytest.raises(ValueError, match=message):
        load_model(name, pretrained, device="cpu", activation=activation)


def test_a_file_beside_a_configuration_of_hugging_face_takes_its_activation_and_mean(tmp_path):
    hf_folder(clip_model)(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}')
    model, said = warned(WIDE, str(tmp_path / "model.safetensors"))
    assert said == []
    torch.testing.assert_close(model.encode_text(list(TEXTS)), clip_model().text, atol=1e-5, rtol=0)
    assert tuple(model.clip.visual.preprocess_cfg["mean"]) == (0.1, 0.2, 0.3)


def test_what_is_no_part_of_the_clip_is_left_out_with_a_warning(tmp_path):
    _, said = warned(*lightning(tmp_path), activation="gelu")
    assert said == ["epoch=1.ckpt holds 1 tensors that are no part of the CLIP and were left out: loss.weight"]


def test_a_long_text_context_reads_long_texts(tmp_path):
    path = safe_file(tmp_path, state_of(lambda: source(context=248)))[1]
    long = " ".join(["a small red circle"] * 40)
    model = load_model(PLAIN, path, device="cpu", activation="gelu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = model.encode_text([long, f"{long} beside a dog"])
    assert (features[0] - features[1]).abs().max() > 1e-4


def test_a_larger_grid_is_the_native_one(tmp_path):
    path = safe_file(tmp_path, state_of(lambda: source(size_px=48)))[1]
    model = load_model(PLAIN, path, device="cpu", activation="gelu")
    assert model.native_size == (48, 48) and tuple(model.tower.native_grid) == (6, 6)


@pytest.mark.parametrize("prefix", ["visual.", ""])
def test_an_image_tower_gives_maps_and_says_that_it_has_no_text(tmp_path, prefix):
    name, path = image_tower(prefix)(tmp_path)
    model = load_model(name, path, device="cpu", activation="gelu")
    assert encode_dense(model, pixels(), METHODS["maskclip"]).patches.shape == (2, 4, 4, 24)
    for ask in (model.encode_text, model.token_features):
        with pytest.raises(
            ValueError, match=r"holds an image tower only; give the model whose space .*text=load_model"
        ):
            ask(["a dog"])
    with pytest.raises(ValueError, match="holds an image tower only"):
        _ = model.logit_scale


def test_an_image_tower_takes_the_text_of_another_model(tmp_path):
    name, path = image_tower("visual.")(tmp_path)
    (tmp_path / "whole").mkdir()
    whole = load_model(PLAIN, plain_file(tmp_path / "whole"), device="cpu", activation="gelu")
    model = load_model(name, path, device="cpu", activation="gelu", text=whole)
    torch.testing.assert_close(model.encode_text(list(TEXTS)), source().text, atol=1e-5, rtol=0)
    assert model.logit_scale == pytest.approx(whole.logit_scale) and model.clip.visual is not whole.clip.visual
    with pytest.raises(ValueError, match="of the image tower's space, 24 dimensions, but got one of 256"):
        load_model(name, path, device="cpu", activation="gelu", text=load_model("ViT-S-32-alt", "random", device="cpu"))
    with pytest.raises(ValueError, match="text to be None for form-vit, which has a text tower of its own"):
        load_model(PLAIN, plain_file(tmp_path / "whole"), device="cpu", activation="gelu", text=whole)


def test_numbers_that_half_precision_cannot_hold_are_refused(tmp_path):
    state = state_of()
    path = safe_file(tmp_path, state | {"ln_final.weight": state["ln_final.weight"] * 1e6})[1]
    load_model(PLAIN, path, device="cpu", activation="gelu", precision="bf16")
    with pytest.raises(
        ValueError, match=r"got fp16, which ends at 65504, below a number in ln_final\.weight; use bf16"
    ):
        load_model(PLAIN, path, device="cpu", activation="gelu", precision="fp16")


def test_a_file_of_a_siglip_gets_the_mean_of_its_published_weights():
    assert recipe_of("ViT-B-16-SigLIP").preprocess_cfg["mean"] == (0.5, 0.5, 0.5)
    assert recipe_of("ViT-B-16").preprocess_cfg["mean"] == pytest.approx((0.48145466, 0.4578275, 0.40821073))


def test_a_suffix_says_nothing(tmp_path):
    path = Path(plain_file(tmp_path)).rename(tmp_path / "weights.ckpt")
    load_model(PLAIN, path, device="cpu", activation="gelu")


class Runs:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_no_file_runs_code(tmp_path):
    mark = tmp_path / "ran"
    (tmp_path / "code.pt").write_bytes(pickle.dumps({"a": Runs(mark)}))
    torch.save({"state_dict": state_of(), "extra": Runs(mark)}, tmp_path / "zip.pt")
    for name in ("code.pt", "zip.pt"):
        with pytest.raises(CheckpointError, match="needs pickle"):
            load_model(PLAIN, tmp_path / name, device="cpu")
    archive = tmp_path / "script.pt"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("script/data.pkl", pickle.dumps({"a": Runs(mark)}, protocol=2))
        file.writestr("script/constants.pkl", b"")
    with pytest.raises(
        CheckpointError, match=r"TorchScript archive of tensors and numbers, but got: .*getattr, which is neither"
    ):
        load_model(PLAIN, archive, device="cpu")
    assert not mark.exists()


def test_torchscript_gives_the_tensors_of_its_state_dict(tmp_path):
    path = Path(openai_archive(tmp_path)[1])
    tensors, activation = read_torchscript(path)
    expected = torch.jit.load(path).state_dict()
    assert activation == "quick_gelu" and set(expected) <= set(tensors)
    assert all(torch.equal(tensors[key], tensor) for key, tensor in expected.items())


def test_a_traced_model_is_read_too(tmp_path):
    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = source().module

        def forward(self, image):
            return self.clip.encode_image(image)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Wrapped(), pixels(), check_trace=False), tmp_path / "traced.pt")
    model, said = warned(PLAIN, tmp_path / "traced.pt")
    assert said == []  # the program says which activation it has
    torch.testing.assert_close(model.encode_text(list(TEXTS)), source().text, atol=1e-5, rtol=0)
