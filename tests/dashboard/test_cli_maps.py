"""`clip-theatre maps`: what it refuses and how it says so, and that its files hold what the API computes."""

import json
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from dashboard.cli import map_files
from data.samples import load_sample
from surgery import CLASSIC, METHODS, Method, class_probabilities, encode_dense, feature_surgery, load_model, similarity
from surgery.method_names import parse_method
from tests.conftest import ROOT
from tests.dashboard.command import error_of, run_maps, visible
from tests.tiny import picture, register

PROMPTS = ["a green ring", "snow"]

UNSUPPORTED = "vit_relpos_medium_patch16_cls_224"


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    picture().save(path)
    return path


# ---- the files of `maps`


@pytest.mark.parametrize("size", [None, 168])
def test_numbers_are_those_of_the_api(toy, tmp_path, size):
    extra = [] if size is None else ["--size", size]
    run_maps("toy-3", "--text", "a green ring, snow", *extra, out=tmp_path)
    arrays = np.load(tmp_path / "toy-3_maps.npz")
    pixels = toy.preprocess([load_sample("toy-3").image.to_pil()], size=size)
    text = toy.encode_text(PROMPTS)
    assert arrays["maps"].shape == (7, 2, 14 if size is None else 21, 14 if size is None else 21)
    assert arrays["maps"].dtype == np.float32
    assert arrays["prompts"].tolist() == PROMPTS
    for index, method in enumerate(METHODS[name] for name in CLASSIC):
        expected = similarity(encode_dense(toy, pixels, method), text)
        np.testing.assert_allclose(arrays["maps"][index], expected.patches[0].movedim(-1, 0), atol=2e-6)
        np.testing.assert_allclose(arrays["cls"][index], expected.cls[0], atol=2e-6)
    plain = similarity(encode_dense(toy, pixels, METHODS["clip"]), text)
    np.testing.assert_allclose(arrays["probabilities"], class_probabilities(plain.cls, toy.logit_scale)[0], atol=1e-5)


def test_feature_surgery_of_several_and_of_one_prompt(toy, tmp_path):
    method = ["--method", "clip_surgery:blocks=5"]
    run_maps("toy-3", "--text", "a green ring, snow", *method, "--feature-surgery", out=tmp_path / "two")
    photo = ["--templates", "photo"]
    run_maps("toy-3", "--text", "snow", *method, *photo, "--feature-surgery", out=tmp_path / "one")
    pixels = toy.preprocess([load_sample("toy-3").image.to_pil()])
    features = encode_dense(toy, pixels, Method(attention="vv", blocks=5, mlp=False, position_interpolation="bilinear"))
    two = feature_surgery(features, toy.encode_text(PROMPTS)).patches[0].movedim(-1, 0)
    snow, empty = (toy.encode_text([words], "photo") for words in ("snow", ""))
    one = feature_surgery(features, snow, redundant=empty).patches[0, :, :, 0]
    np.testing.assert_allclose(np.load(tmp_path / "two" / "toy-3_maps.npz")["maps"][0], two, atol=2e-6)
    np.testing.assert_allclose(np.load(tmp_path / "one" / "toy-3_maps.npz")["maps"][0, 0], one, atol=2e-6)


def test_json_holds_every_setting_and_measure(toy, tmp_path, photo):
    run_maps(photo, "--text", "snow", "--method", "gem", "--templates", "photo", "--size", "112x56", out=tmp_path / "o")
    written = json.loads((tmp_path / "o" / "photo_maps.json").read_text())
    arrays = np.load(tmp_path / "o" / written["arrays"])
    assert written["model"]["name"] == "toy" and written["model"]["weights"] == "embedded"
    assert written["model"]["input_px"] == [112, 56] and written["model"]["grid"] == [14, 7]
    assert written["model"]["precision"] == "float32"
    assert written["templates"] == "photo" and written["unit"] == "cosine"
    assert written["methods"]["gem"]["attention"] == "gem" and written["methods"]["gem"]["blocks"] == 6
    assert written["image"]["sha256"] == str(arrays["image_sha256"])
    assert (written["image"]["height_px"], written["image"]["width_px"]) == (60, 90)
    assert set(written["versions"]) >= {"torch", "open_clip_torch", "clip-theatre"}
    (measure,) = written["measures"]
    values = arrays["maps"][0, 0]
    assert measure["max"] == pytest.approx(float(values.max()))
    assert set(measure["strongest_patch"]) == {"row", "column"}
    assert values[measure["strongest_patch"]["row"], measure["strongest_patch"]["column"]] == values.max()
    assert measure["cls_cosine"] == pytest.approx(float(arrays["cls"][0, 0]))
    assert "image" not in measure


def test_picture_is_a_png_and_normalize_changes_only_it(tmp_path):
    for name, extra in (("signed", []), ("minmax", ["--normalize"])):
        run_maps("toy-0", "--text", "snow", "--method", "clip", *extra, out=tmp_path / name)
    pictures = [Image.open(tmp_path / name / "toy-0_maps.png") for name in ("signed", "minmax")]
    assert all(picture.format == "PNG" for picture in pictures)
    assert pictures[0].tobytes() != pictures[1].tobytes()
    maps = [np.load(tmp_path / name / "toy-0_maps.npz")["maps"] for name in ("signed", "minmax")]
    np.testing.assert_array_equal(*maps)


def test_same_names_and_inputs_are_not_overwritten(tmp_path):
    (tmp_path / "a").mkdir()
    for path in ("a/x.png", "x.jpg", "x_maps.png"):
        picture(len(path)).save(tmp_path / path)
    before = (tmp_path / "x_maps.png").read_bytes()
    given = [tmp_path / path for path in ("a/x.png", "x.jpg", "x_maps.png")]
    run_maps(*given, "--text", "snow", "--method", "clip", out=tmp_path)
    assert (tmp_path / "x_maps.png").read_bytes() == before
    stems = ("x-2", "x-3", "x_maps")
    hashes = {str(np.load(tmp_path / f"{stem}_maps.npz")["image_sha256"]) for stem in stems}
    assert len(hashes) == 3


def test_a_bad_image_does_not_stop_the_others(tmp_path, photo):
    text_file = tmp_path / "notes.png"
    text_file.write_text("not a picture")
    given = [tmp_path / "missing.png", text_file, photo]
    result = run_maps(*given, "--text", "snow", "--method", "clip", out=tmp_path / "o", code=1)
    assert visible(tmp_path / "o") == ["photo_maps.json", "photo_maps.npz", "photo_maps.png"]
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 2
    assert "missing.png" in errors[0] and "Expected an image file, a folder or a sample" in errors[0]
    assert "notes.png: Expected notes.png to be a PNG, JPEG, WebP" in errors[1]
    assert "1 image done" in result.stderr and "2 failed" in result.stderr


def test_folders_give_their_images_and_an_empty_one_is_an_error(tmp_path):
    for name in ("b.png", "A.JPG", "c.txt"):
        picture().save(tmp_path / name, "JPEG" if name == "A.JPG" else "PNG")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "o"
    result = run_maps(tmp_path, tmp_path / "empty", "--text", "snow", "--method", "clip", out=out, code=1)
    assert [name for name in visible(out) if name.endswith("png")] == ["A_maps.png", "b_maps.png"]
    assert "empty to hold images" in result.stderr


def test_one_pixel_is_a_picture(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    run_maps(tmp_path / "dot.png", "--text", "snow", out=tmp_path / "o")
    assert np.isfinite(np.load(tmp_path / "o" / "dot_maps.npz")["maps"]).all()


def test_decompression_bomb_is_refused(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    file = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(file)
    result = run_maps(tmp_path / "bomb.png", "--text", "snow", out=tmp_path / "o", code=1)
    assert "bomb.png to have at most" in result.stderr and "900000000 pixels" in result.stderr
    assert visible(tmp_path / "o") == []


def test_real_photographs(tmp_path, shared):
    photos = sorted((shared / "data" / "coco_pan200" / "images").iterdir())[:3]
    run_maps(*photos, "--text", "a person, grass", "--feature-surgery", out=tmp_path)
    assert len(visible(tmp_path)) == 9


def test_the_toy_says_once_what_it_has_not_seen(tmp_path, photo):
    result = run_maps("toy-0", photo, "--text", "snow, a dog", "--method", "clip", out=tmp_path / "o")
    (note,) = [line for line in result.stderr.splitlines() if line.startswith("Note: ")]
    assert note.endswith(f"its maps mean nothing for the image {photo} and the word dog")
    assert "snow" in note.split("mean nothing")[0]
    assert "Note: " not in run_maps("toy-0", "--text", "snow", "--method", "clip", out=tmp_path / "o").stderr


def test_missing_weights_are_told_in_the_words_of_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for tag, architecture in (("openai", "ViT-B-16-quickgelu"), ("laion2b_s34b_b88k", "ViT-B-16")):
        options = ["--model", "ViT-B-16", "--pretrained", tag]
        *_, error = run_maps("toy-0", "--text", "snow", *options, out=tmp_path, code=1).stderr.strip().splitlines()
        assert error.endswith(f"With a copy of the weights on this machine: --model {architecture} --pretrained FILE")
        assert "load_model" not in error and "...." not in error


def test_random_is_a_word_for_weights_too(tmp_path):
    register("tiny-vit")
    for name, weights in (("a", ["--random-weights"]), ("b", ["--pretrained", "random"])):
        options = ["--model", "tiny-vit", *weights, "--method", "clip"]
        run_maps("toy-0", "--text", "snow", *options, out=tmp_path / name)
    written = [json.loads((tmp_path / name / "toy-0_maps.json").read_text()) for name in ("a", "b")]
    assert written[0]["model"] == written[1]["model"] and written[0]["measures"] == written[1]["measures"]


def test_long_prompts_are_cut_with_a_note(tmp_path):
    result = run_maps("toy-0", "--text", "snow " * 500, "--method", "clip", out=tmp_path)
    (note,) = [line for line in result.stderr.splitlines() if line.startswith("Note: ")]
    assert "500" in note or "502" in note
    assert "it was cut" in note
    (cut,) = json.loads((tmp_path / "toy-0_maps.json").read_text())["prompts_cut"]
    assert cut["n_tokens"] > cut["context_length"]


# ---- models and methods


def test_resnet_leaves_out_what_has_no_meaning_and_refuses_it_when_named(tmp_path):
    register("tiny-rn")
    model = ["--model", "tiny-rn", "--random-weights"]
    result = run_maps("toy-0", "--text", "snow", *model, out=tmp_path)
    assert "Note: without a meaning for this tower, so left out: SCLIP, GEM, NACLIP, ClearCLIP" in result.stderr
    assert np.load(tmp_path / "toy-0_maps.npz")["methods"].tolist() == ["clip", "maskclip", "clip_surgery"]
    larger = ["--method", "clip_surgery", "--size", 256]  # no method of CLIP's own interpolation is asked for
    run_maps("toy-0", "--text", "snow", *model, *larger, out=tmp_path / "larger")
    line = error_of("maps", "toy-0", "--text", "snow", *model, "--method", "gem", "--device", "cpu", code=2)
    assert "for the attention pool of a ResNet, but got 'gem'" in line


def test_random_weights_are_the_same_each_time(tmp_path):
    register("tiny-vit")
    for name in ("a", "b"):
        model = ["--model", "tiny-vit", "--random-weights", "--method", "clip"]
        run_maps("toy-0", "--text", "snow", *model, out=tmp_path / name)
        torch.rand(1)
    maps = [np.load(tmp_path / name / "toy-0_maps.npz")["maps"] for name in ("a", "b")]
    np.testing.assert_array_equal(*maps)
    assert json.loads((tmp_path / "a" / "toy-0_maps.json").read_text())["model"]["weights"] == "random, seed 0"


def test_variants_of_methods(tmp_path):
    assert parse_method("clip:attention=kk+vv,mlp=no,blocks=3") == Method(attention="kk+vv", blocks=3, mlp=False)
    names = ["clearclip:alpha=2,residual=0.5", "clearclip"]
    run_maps("toy-0", "--text", "snow", "--method", names[0], "--method", names[1], out=tmp_path)
    written = json.loads((tmp_path / "toy-0_maps.json").read_text())
    assert np.load(tmp_path / "toy-0_maps.npz")["methods"].tolist() == names
    assert written["methods"][names[0]]["alpha"] == 2 and written["methods"][names[1]]["residual"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", ""], "Expected every prompt to be non-empty text"),
        (["--text", "snow,,grass"], "Expected every prompt to be non-empty text"),
        (["--text", '"a cat'], "Expected a quoted prompt to end with a quote"),
        ([], "Missing option '--text'"),
        (["--text", "snow", "--method", "grad_cam"], "Expected method to be one of clip, maskclip"),
        (["--text", "snow", "--method", "clip:beta=2"], "a field of attention, blocks"),
        (["--text", "snow", "--method", "clip:alpha=much"], "Expected alpha to be a number, but got 'much'"),
        (["--text", "snow", "--method", "clip:mlp=maybe"], "Expected mlp to be yes or no"),
        (["--text", "snow", "--method", "clip:blocks=0"], "Expected blocks to be a whole number of at least 1"),
        (["--text", "snow", "--method", "clip:blocks=99"], "Expected blocks to be from 1 to 6"),
        (["--text", "snow", "--method", "clip:alpha=nan"], "Expected alpha to be a finite number"),
        (["--text", "snow", "--size", "100"], "Expected size to be a multiple of the patch"),
        (["--text", "snow", "--size", "0"], "Expected size to be a multiple of the patch"),
        (["--text", "snow", "--size", "8192"], "8192 x 8192: its 1,048,576 patches take about"),
        (["--text", "snow", "--size", "big"], "Expected --size to be a side in pixels or HEIGHTxWIDTH"),
        (["--text", "snow", "--templates", "imagnet"], "nearest: imagenet"),
        (["--text", "snow", "--model", "ViT-B-17"], "nearest: ViT-B-1"),
        (["--text", "snow", "--model", "ViT-B-16"], "Expected --pretrained TAG (openai, "),
        (
            ["--text", "snow", "--model", "vit_relpos_medium_patch16_cls_224"],
            "Expected a model that can be operated on",
        ),
        (
            ["--text", "snow", "--model", "ViT-B-16", "--pretrained", "nobody"],
            "Expected pretrained to be a tag of ViT-B-16",
        ),
        (["--text", "snow", "--random-weights"], "Expected --random-weights without other weights, but got toy"),
        (["--text", "snow", "--pretrained", "openai"], "Expected pretrained to be None for 'toy'"),
        (["--text", "snow", "--device", "abacus"], "Expected device to be auto, cpu"),
        (["--text", "snow", "--precision", "fp4"], "Expected precision to be one of auto"),
        (["--text", "snow", "--unknown"], "No such option: --unknown (see clip-theatre maps --help)"),
    ],
)
def test_wrong_commands_are_one_line_and_exit_2(options, message):
    assert message in error_of("maps", "toy-0", *options, code=2)


def test_a_missing_checkpoint_is_a_failure_not_a_wrong_command(tmp_path):
    options = ["--model", "ViT-B-16", "--pretrained", tmp_path / "none.safetensors"]
    assert "Expected pretrained to be a file" in error_of("maps", "toy-0", "--text", "snow", *options, code=1)


def test_output_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["maps", "toy-0", "--text", "snow", "--method", "clip", "--device", "cpu"]
    assert "Error: " in error_of(*arguments, "--out", tmp_path / "file" / "folder", code=1)
    assert "is a file" in error_of(*arguments, "--out", tmp_path / "file", code=2)


# ---- Ctrl-C


def test_interrupt_leaves_no_half_written_file(tmp_path, monkeypatch):
    calls = []

    def interrupted(path, content):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(path, content)

    original = map_files.write_bytes
    monkeypatch.setattr(map_files, "write_bytes", interrupted)
    samples = ["toy-0", "toy-1", "toy-2"]
    result = run_maps(*samples, "--text", "snow", "--method", "clip", out=tmp_path, code=130)
    assert f"Interrupted: 1 image done: {tmp_path}/toy-0_maps.png" in result.stderr
    assert visible(tmp_path) == ["toy-0_maps.json", "toy-0_maps.npz", "toy-0_maps.png"]
    np.load(tmp_path / "toy-0_maps.npz")["maps"]


def test_a_real_ctrl_c(tmp_path):
    source, out = tmp_path / "images", tmp_path / "o"
    source.mkdir()
    for index in range(200):
        picture(index).save(source / f"{index:03}.png")
    command = [sys.executable, "-m", "dashboard.cli", "maps", source, "--text", "snow,grass,sand", "--out", out]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not list(out.glob("*.json")):
        assert process.poll() is None and time.monotonic() < deadline, "ended before the first image"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=150)[1]
    assert process.returncode == 130
    assert "Interrupted: " in stderr and "Traceback" not in stderr
    for path in out.iterdir():
        assert not path.name.startswith(".")
        if path.suffix == ".npz":
            assert np.load(path)["maps"].shape == (7, 3, 14, 14)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            Image.open(path).load()
