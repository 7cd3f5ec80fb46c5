import dataclasses
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images import LoadedImage, decode_mask, load_image
from tests.data.pictures import chunk, encode, gradient, raw_png

GRADIENT = np.asarray(gradient())


def test_lossless_formats_give_the_same_pixels_and_identity() -> None:
    png = load_image(encode(gradient()))
    webp = load_image(encode(gradient(), "WEBP", lossless=True))
    np.testing.assert_array_equal(png.rgb, GRADIENT)
    np.testing.assert_array_equal(webp.rgb, GRADIENT)
    assert png.sha256 == webp.sha256
    assert png.size_px == (24, 40)


def test_jpeg_is_close() -> None:
    assert np.abs(load_image(encode(gradient(), "JPEG", quality=95)).rgb - GRADIENT.astype(int)).max() <= 6


def test_identity_is_of_shape_and_pixels() -> None:
    flat = np.zeros((4, 6, 3), np.uint8)
    changed = flat.copy()
    changed[3, 5, 2] = 1
    hashes = [LoadedImage.from_rgb(rgb, "x").sha256 for rgb in (flat, changed, flat.reshape(6, 4, 3))]
    assert len(set(hashes)) == 3
    assert LoadedImage.from_rgb(flat, "x") == LoadedImage.from_rgb(flat.copy(), "x") != LoadedImage.from_rgb(flat, "y")


def test_loaded_image_cannot_be_changed() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    image = LoadedImage.from_rgb(pixels, "x")
    pixels[:] = 9
    image.to_pil().putpixel((0, 0), (9, 9, 9))
    assert image.rgb.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        image.rgb[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        image.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize("rgb", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3)), np.zeros((0, 6, 3), np.uint8)])
def test_from_rgb_refuses_other_arrays(rgb: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected rgb to be uint8 of shape"):
        LoadedImage.from_rgb(rgb, "x")


def test_sources_are_paths_bytes_and_streams(tmp_path: Path) -> None:
    content = encode(gradient())
    path = tmp_path / "a picture.png"
    path.write_bytes(content)
    stream = io.BytesIO(content)
    stream.name = "upload.png"
    stream.read()  # a stream that was read before is read again from its start
    images = [load_image(source) for source in (path, str(path), content, stream)]
    assert [image.name for image in images] == ["a picture.png", "a picture.png", "image", "upload.png"]
    assert len({image.sha256 for image in images}) == 1
    assert not stream.closed


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_undone(orientation: int, file_format: str) -> None:
    stored = {  # how a camera stores an upright image under each orientation
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](GRADIENT)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = load_image(encode(Image.fromarray(np.ascontiguousarray(stored)), file_format, exif=exif, quality=95)).rgb
    assert upright.shape == GRADIENT.shape
    assert np.abs(upright - GRADIENT.astype(int)).mean() < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_unreadable_exif_leaves_the_pixels() -> None:
    content = encode(gradient(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    np.testing.assert_array_equal(load_image(content).rgb, GRADIENT)


def test_palette_grey_and_one_bit() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert load_image(encode(palette)).rgb.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    grey = Image.fromarray(np.array([[0, 130, 255]], np.uint8))
    assert load_image(encode(grey)).rgb[0, :, 0].tolist() == [0, 130, 255]
    one_bit = Image.fromarray(np.array([[True, False]]))
    assert load_image(encode(one_bit)).rgb[0, :, 1].tolist() == [255, 0]


def test_transparency_is_laid_on_white() -> None:
    rgba = Image.fromarray(np.array([[[200, 0, 0, 0], [200, 0, 0, 255], [200, 0, 0, 51]]], np.uint8), "RGBA")
    assert load_image(encode(rgba)).rgb.tolist() == [[[255, 255, 255], [200, 0, 0], [244, 204, 204]]]
    grey = Image.fromarray(np.array([[[10, 0], [10, 255]]], np.uint8), "LA")
    assert load_image(encode(grey)).rgb[0, :, 0].tolist() == [255, 10]
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert load_image(encode(palette, transparency=0)).rgb.tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_16_bits_are_scaled() -> None:
    grey = Image.fromarray(np.array([[0, 257 * 100, 32768, 65535]], np.uint16))
    assert load_image(encode(grey)).rgb[0, :, 0].tolist() == [0, 100, 128, 255]
    row = struct.pack(">6H", 0, 32768, 65535, 65535, 257 * 100, 0)
    assert load_image(raw_png((1, 2), 16, 2, [row])).rgb.tolist() == [[[0, 128, 255], [255, 100, 0]]]
    transparent = raw_png((1, 2), 16, 0, [struct.pack(">2H", 40000, 0)], chunk(b"tRNS", struct.pack(">H", 40000)))
    assert load_image(transparent).rgb[0, :, 0].tolist() == [255, 0]


def test_cmyk_jpeg() -> None:
    inks = {"white": (0, 0, 0, 0), "black": (0, 0, 0, 255), "red": (0, 255, 255, 0)}
    colours = {"white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0)}
    for name, ink in inks.items():
        rgb = load_image(encode(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95)).rgb
        assert np.abs(rgb - np.int64(colours[name])).max() <= 3, name


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_first_frame_of_an_animation(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    content = encode(frames[0], file_format, save_all=True, append_images=frames[1:], lossless=True)
    assert (load_image(content).rgb == (255, 0, 0)).all()


def test_one_pixel_is_legal() -> None:
    assert load_image(encode(Image.new("RGB", (1, 1), (1, 2, 3)))).rgb.tolist() == [[[1, 2, 3]]]


def test_the_cap_can_be_chosen() -> None:
    content = encode(gradient())
    assert load_image(content, max_pixels=960).size_px == (24, 40)
    with pytest.raises(ValueError, match="at most 959 pixels, but got: 40 x 24 pixels"):
        load_image(content, max_pixels=959)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_truncated_files(file_format: str, keep: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8))
    content = encode(noise, file_format)
    with pytest.raises(ValueError, match="Expected image to be"):
        load_image(content[: int(keep * len(content))])


def test_indices_without_a_palette_are_damaged() -> None:
    with pytest.raises(ValueError, match="damaged one: indices without a palette"):
        load_image(raw_png((1, 2), 8, 3, [b"\0\1"]))


def test_files_that_are_no_images(tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("dear diary, this is no image")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(ValueError, match=r"notes\.png to be a PNG, .* or BMP file, but got a file that starts with"):
        load_image(text)
    with pytest.raises(ValueError, match=r"empty\.jpg to be a PNG, JPEG, WebP, .*, but got an empty file"):
        load_image(empty)
    with pytest.raises(ValueError, match="Expected path to be a file, but got"):
        load_image(tmp_path)
    with pytest.raises(FileNotFoundError, match="Expected path to be an existing file, but got"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="to be a PNG, JPEG, WebP"):
        load_image(encode(gradient(), "ICO"))
    with pytest.raises(TypeError, match="Expected source to be a path, bytes or a binary stream, but got int"):
        load_image(3)  # type: ignore[arg-type]


def test_mask_of_indices_ignores_the_colours() -> None:
    ids = np.array([[0, 1, 20], [255, 5, 0]], np.uint8)
    indexed = Image.fromarray(ids)
    indexed.putpalette([i * 7 % 256 for i in range(768)])
    assert indexed.mode == "P"
    for content in (encode(indexed), encode(indexed, transparency=0), encode(Image.fromarray(ids))):
        mask = decode_mask(content)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, ids)
        mask[0] = 9  # the caller's own


@pytest.mark.parametrize(
    ("bits", "colour_type", "row", "ids"),
    [
        (1, 0, b"\xa0", [1, 0, 1, 0]),
        (2, 0, b"\x1b", [0, 1, 2, 3]),
        (4, 0, b"\x01\x2f", [0, 1, 2, 15]),
        (16, 0, struct.pack(">4H", 0, 1, 300, 65535), [0, 1, 300, 65535]),
        (2, 3, b"\x1b", [0, 1, 2, 3]),
    ],
)
def test_mask_of_any_depth_gives_the_stored_values(bits: int, colour_type: int, row: bytes, ids: list[int]) -> None:
    palette = chunk(b"PLTE", bytes(range(12))) if colour_type == 3 else b""
    assert decode_mask(raw_png((1, 4), bits, colour_type, [row], palette)).tolist() == [ids]


def test_mask_saved_as_rgb() -> None:
    ids = np.array([[0, 1], [255, 7]], np.uint8)
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(ids).convert("RGB"))), ids)
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(ids).convert("RGBA"))), ids)
    with pytest.raises(ValueError, match="indexed or grey PNG, but got colours"):
        decode_mask(encode(gradient()))
    half = Image.fromarray(ids).convert("RGBA")
    half.putalpha(128)
    with pytest.raises(ValueError, match="indexed or grey PNG, but got colours"):
        decode_mask(encode(half))


def test_mask_errors() -> None:
    with pytest.raises(ValueError, match="Expected image to be a PNG file, but got a file that starts with"):
        decode_mask(encode(gradient(), "JPEG"))
    with pytest.raises(ValueError, match="at most 10 pixels"):
        decode_mask(encode(Image.new("L", (4, 4))), max_pixels=10)
    with pytest.raises(FileNotFoundError, match="existing file"):
        decode_mask("no-such-mask.png")
