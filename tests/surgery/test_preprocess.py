"""One way in: what PIL images of any kind become before the network sees them."""

from pathlib import Path

import numpy as np
import open_clip.transform
import pytest
import torch
from PIL import Image

from data.images import load_image
from surgery import METHODS, Model, encode_dense
from tests.data.pictures import encode, gradient
from tests.tiny import picture, tiny_model


def model() -> Model:
    return tiny_model("tiny-vit")


def test_preprocess_stretches_and_normalises() -> None:
    image = picture()
    pixels = model().preprocess([image, image.convert("L")], size=(24, 64))
    resized = np.asarray(image.resize((64, 24), Image.Resampling.BICUBIC)) / 255
    mean, std = (np.array(model().clip.visual.preprocess_cfg[key]) for key in ("mean", "std"))
    assert pixels.shape == (2, 3, 24, 64)
    np.testing.assert_allclose(pixels[0].movedim(0, -1).numpy(), (resized - mean) / std, atol=1e-6)
    assert model().preprocess([image]).shape[-2:] == model().native_size == (48, 48)


@pytest.mark.parametrize("shape", [(60, 90), (90, 61), (48, 48), (20, 200)])
@pytest.mark.parametrize(("fit", "resize_mode"), [("crop", "shortest"), ("stretch", "squash")])
def test_both_ways_of_open_clip_to_the_last_bit(shape: tuple[int, int], fit: str, resize_mode: str) -> None:
    image = gradient(*shape)
    cfg = open_clip.transform.PreprocessCfg(size=48, resize_mode=resize_mode)
    expected = open_clip.transform.image_transform_v2(cfg, is_train=False)(image)
    assert torch.equal(model().preprocess([image], fit=fit)[0], expected)


def test_a_letterbox_keeps_the_shape_and_fills_with_the_mean() -> None:
    image = Image.new("RGB", (100, 40), (255, 255, 255))
    pixels = model().preprocess([image], fit="letterbox")
    assert pixels.shape == (1, 3, 24, 48)  # 19 rows of picture: three rows of patches
    framing = model().framing((40, 100), fit="letterbox")
    assert framing.scaled_px == (19, 48) and framing.shift_px == (2, 0)
    white = pixels[0, 0].max()
    assert (pixels[0, 0, 2:21] == white).all() and pixels[0, :, :2].abs().max() < 0.02 > pixels[0, :, 21:].abs().max()
    assert model().preprocess([image], size=(48, 48), fit="letterbox").shape == (1, 3, 48, 48)
    assert model().preprocess([Image.new("RGB", (2000, 40))], fit="letterbox").shape == (1, 3, 8, 48)


def test_letterboxes_of_one_batch_have_one_size() -> None:
    with pytest.raises(ValueError, match="Expected images of one shape for a batch of letterboxes, but got inputs"):
        model().preprocess([gradient(40, 80), gradient(80, 40)], fit="letterbox")
    with pytest.raises(ValueError, match="Expected fit to be one of stretch, crop, letterbox, but got 'pad'"):
        model().preprocess([picture()], fit="pad")


def oddities() -> dict[str, Image.Image]:
    """Pictures as files hold them that are not upright 8-bit RGB."""
    upright = gradient()
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "EXIF": Image.open(_stream(encode(upright.transpose(Image.Transpose.ROTATE_90), exif=exif))),
        "16-bit": Image.fromarray(np.asarray(upright)[..., 0].astype(np.uint16) * 200),
        "transparent": Image.merge("RGBA", [*upright.split(), upright.getchannel(0)]),
        "grey with alpha": Image.merge("LA", [upright.getchannel(0), upright.getchannel(1)]),
        "CMYK": upright.convert("CMYK"),
        "palette": upright.quantize(16),
        "one bit": upright.convert("1"),
    }


def _stream(content: bytes):
    import io

    return io.BytesIO(content)


@pytest.mark.parametrize("name", list(oddities()))
def test_a_pil_image_gives_the_numbers_of_its_file(name: str, tmp_path: Path) -> None:
    image, path = oddities()[name], tmp_path / ("a.tif" if name == "CMYK" else "a.png")
    options = {"exif": image.getexif()} if name == "EXIF" else {}
    image.save(path, **options)
    expected = model().preprocess([load_image(path).to_pil()])
    assert torch.equal(model().preprocess([image]), expected)
    assert torch.equal(model().preprocess([Image.open(path)]), expected)


def test_right_values_of_oddities() -> None:
    found = {name: np.asarray(load_image(encode_any(image)).rgb).astype(int) for name, image in oddities().items()}
    upright = np.asarray(gradient()).astype(int)
    np.testing.assert_array_equal(found["EXIF"], upright)
    np.testing.assert_allclose(found["16-bit"][..., 0], upright[..., 0] * 200 / 257, atol=0.51)
    alpha = upright[..., :1] / 255
    np.testing.assert_allclose(found["transparent"], upright * alpha + 255 * (1 - alpha), atol=1)
    alpha = upright[..., 1] / 255
    np.testing.assert_allclose(found["grey with alpha"][..., 2], upright[..., 0] * alpha + 255 * (1 - alpha), atol=1)
    np.testing.assert_allclose(found["CMYK"], upright, atol=2)


def encode_any(image: Image.Image) -> bytes:
    return encode(image, "TIFF" if image.mode == "CMYK" else "PNG", exif=image.getexif())


def test_upright_rgb_is_not_copied() -> None:
    from data.images import to_rgb

    image = gradient()
    assert to_rgb(image) is image
    with pytest.raises(ValueError, match="Expected image to have whole numbers of 8 or 16 bits, but got floating"):
        to_rgb(Image.fromarray(np.zeros((2, 2), np.float32)))
    with pytest.raises(ValueError, match="Expected image to have greys from 0 to 65535, but got -1 to 70000"):
        to_rgb(Image.fromarray(np.array([[70000, -1]], np.int32)))


def test_preprocess_takes_a_picture_of_one_pixel() -> None:
    assert model().preprocess([Image.new("RGB", (1, 1))]).shape == (1, 3, 48, 48)


@pytest.mark.parametrize("size", [50, 0, -8, (48, 50), (8, 8, 8), "48", 48.0])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_sizes_that_are_no_multiple_of_the_patch(size: object, fit: str) -> None:
    with pytest.raises(ValueError, match="Expected size to be"):
        model().preprocess([picture()], size=size, fit=fit)


def test_preprocess_refuses_what_is_no_image() -> None:
    with pytest.raises(ValueError, match="at least one image, but got none"):
        model().preprocess([])
    with pytest.raises(TypeError, match="PIL images, but got ndarray"):
        model().preprocess([np.zeros((4, 4, 3), np.uint8)])


@pytest.mark.parametrize("wrapped", ["data parallel", "compiled"])
def test_wrapped_modules_are_taken(wrapped: str) -> None:
    import copy

    plain = model()
    clip = copy.deepcopy(plain.clip)
    if wrapped == "data parallel":
        clip = torch.nn.DataParallel(clip)
    else:
        blocks = clip.visual.transformer.resblocks
        for index, block in enumerate(blocks):
            blocks[index] = torch.compile(block)
        clip.visual = torch.compile(clip.visual)
        clip = torch.compile(clip)
    pixels = plain.preprocess([picture()])
    taken = Model("mine", None, clip, torch.device("cpu"))
    assert torch.equal(taken.preprocess([picture()]), pixels)
    found, expected = (encode_dense(one, pixels, METHODS["sclip"]) for one in (taken, plain))
    assert torch.equal(found.patches, expected.patches)
    assert torch.equal(taken.encode_text(["a cat"]), plain.encode_text(["a cat"]))
