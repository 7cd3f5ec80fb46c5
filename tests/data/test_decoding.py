"""What files may cost: caps on sides, pixels, bytes and memory, and every format that is taken."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import decoding
from data.images import load_image
from tests.data.hostile import COSTLY, as_stream, bombs, broken_files
from tests.data.pictures import encode, gradient, raw_png

MEASURE = r"""
import re, sys
from data.images import load_image
from tests.data.pictures import encode, gradient
for name in ("PNG", "JPEG", "WEBP"):
    load_image(encode(gradient(), name))  # imports the decoders
def peak():
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1])
before = peak()
image = load_image(sys.argv[1])
print(image.rgb.shape[0], peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory where Linux tells it")
@pytest.mark.parametrize("name", list(COSTLY))
def test_no_file_raises_the_process_by_more_than_300_mb(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(COSTLY[name]())
    assert path.stat().st_size < 1_000_000
    said = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    side, grown = map(int, said.stdout.split())
    assert side >= 4000 and 50e6 < grown < 300e6, f"{grown / 1e6:.0f} MB"


@pytest.mark.parametrize("name", list(bombs()))
def test_bombs_are_refused_before_they_are_decoded(name: str) -> None:
    with pytest.raises(ValueError, match=r"^Expected image to (have|be)") as refused:
        load_image(bombs()[name])
    assert "damaged" not in str(refused.value)


def test_every_cap_says_what_it_is() -> None:
    with pytest.raises(ValueError, match="have sides of at most 20,000 pixels, but got 1 x 20001"):
        load_image(raw_png((20_001, 1), 8, 0, [b""]))
    with pytest.raises(ValueError, match="have at most 40,000,000 pixels, but got: 8000 x 8000 pixels"):
        load_image(raw_png((8000, 8000), 8, 2, [b""]))
    webp = encode(Image.new("RGB", (10, 10)), "WEBP")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "MAX_DECODING_BYTES", 1000)
        with pytest.raises(ValueError, match=r"decoded in 0 MB \(58 pixels of WebP, RGB\), but got 10 x 10 pixels"):
            load_image(webp)
        patch.setattr(decoding, "MAX_FILE_BYTES", 20)
        with pytest.raises(ValueError, match=r"Expected upload\.png to be a file of at most 0 MB"):
            load_image(as_stream(webp))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_reduced_while_it_is_decoded(progressive: bool) -> None:
    content = encode(gradient(400, 600), "JPEG", progressive=progressive, quality=95)
    whole, half = load_image(content), load_image(content, max_pixels=60_000)
    assert whole.reduced == 1 and half.reduced == 2 and half.size_px == (200, 300)
    smaller = np.asarray(whole.to_pil().resize((300, 200), Image.Resampling.BOX)).astype(int)
    assert np.abs(half.rgb - smaller).mean() < 2
    with pytest.raises(ValueError, match="to be decoded in 280 MB"):
        load_image(content, max_pixels=100)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_what_a_progressive_jpeg_keeps_is_counted(subsampling: int) -> None:
    def bytes_a_pixel(**options: object) -> float:
        with Image.open(as_stream(encode(gradient(64, 64), "JPEG", subsampling=subsampling, **options))) as image:
            return decoding.decoding_bytes(image) / 64**2

    assert bytes_a_pixel() == 7
    assert bytes_a_pixel(progressive=True) == {0: 13, 2: 10}[subsampling]


@pytest.mark.parametrize("file_format", decoding.IMAGE_FORMATS)
def test_every_format_is_read(file_format: str) -> None:
    options = {"quality": 95} if file_format in ("JPEG", "WEBP", "AVIF") else {}
    loaded = load_image(encode(gradient(), file_format, **options))
    assert loaded.size_px == (24, 40)
    tolerance = {"JPEG": 3, "WEBP": 8, "AVIF": 3, "GIF": 8}.get(file_format, 0)
    assert np.abs(loaded.rgb - np.asarray(gradient()).astype(int)).mean() <= tolerance


def test_suffixes_follow_the_formats() -> None:
    assert {".png", ".jpg", ".tiff", ".gif", ".bmp"} < set(decoding.IMAGE_SUFFIXES)
    assert (".avif" in decoding.IMAGE_SUFFIXES) == ("AVIF" in decoding.IMAGE_FORMATS)


def test_tiffs_of_other_depths() -> None:
    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert load_image(encode(grey, "TIFF")).rgb[0, :, 0].tolist() == [0, 100, 255]
    with pytest.raises(ValueError, match="Expected image to have whole numbers of 8 or 16 bits, but got floating"):
        load_image(encode(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))
    with pytest.raises(ValueError, match="Expected image to have greys from 0 to 65535"):
        load_image(encode(Image.fromarray(np.full((2, 2), 1 << 20, np.int32)), "TIFF"))


def test_an_upright_tiff_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = gradient().transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(load_image(encode(stored, "TIFF", exif=exif)).rgb, np.asarray(gradient()))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_files_only_ever_give_value_errors() -> None:
    refused = 0
    for content in broken_files(600):
        try:
            load_image(content)
        except ValueError as error:
            refused += str(error).startswith("Expected image to ")
    assert refused > 200


def test_one_file_is_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, load = [], [], decoding._load

    def watched(*arguments: object) -> decoding.Decoded:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        found = load(*arguments)
        inside.pop()
        return found

    monkeypatch.setattr(decoding, "_load", watched)
    content = encode(gradient())
    threads = [threading.Thread(target=load_image, args=(content,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6
