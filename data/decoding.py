"""Opening picture files that nobody vouches for: what they are and what they cost is known before a pixel is decoded.

A file may be small and its picture huge, so there are three caps: on each side, on the pixels, and on the memory that
decoding takes, estimated from the header. One file is decoded at a time, so that many visitors cost no more than one.
"""

import io
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, features

from data.texts import printable

Source = str | Path | bytes | BinaryIO

MAX_PIXELS = 40_000_000  # above the photographs of most cameras; larger JPEGs are reduced while they are decoded
MAX_SIDE_PX = 20_000
MAX_DECODING_BYTES = 280_000_000  # of the decoder and the 8-bit RGB that is made of it, together
MAX_FILE_BYTES = 100_000_000
RGB_BYTES = 3

SUFFIXES_OF = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
}
IMAGE_FORMATS = tuple(name for name in SUFFIXES_OF if name != "AVIF" or features.check("avif"))
IMAGE_SUFFIXES = tuple(suffix for name in IMAGE_FORMATS for suffix in SUFFIXES_OF[name])
SPOKEN = {"WEBP": "WebP"}

DECODING_ERRORS = (
    OSError,
    RuntimeError,
    AssertionError,
    MemoryError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
)

PLANES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes of a pixel in Pillow's memory; 4 for every other mode."""
BESIDE_IMAGE = {"WEBP": 10, "AVIF": 12, "TIFF": 8, "GIF": 4}
"""Bytes of a pixel that the decoder of a format holds beside the image, at most; measured by the tests of memory."""

_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Decoded:
    """What Pillow made of a file.

    Attributes:
        image: loaded.
        raw_mode: Pillow's word for the layout of samples in the file; "" where it is of no use.
        name: of the file, or what stands for it.
        reduced: by how much a large JPEG was reduced while it was decoded; 1 for not at all.
    """

    image: Image.Image
    raw_mode: str
    name: str
    reduced: int = 1


@contextmanager
def decoded(source: Source, formats: tuple[str, ...], max_pixels: int) -> Iterator[Decoded]:
    """Decodes the first picture of a file; what is made of it in the block is made while no other file is decoded.

    Args:
        source: path, the bytes of a file, or a binary stream, read from its start.
        formats: names of Pillow that are accepted.
        max_pixels: larger pictures are refused, or reduced where the format can.

    Raises:
        FileNotFoundError: no file at this path.
        ValueError: not such a file, damaged, or too large; also where the block says what `DECODING_ERRORS` lists.
    """
    stream, name = _open_stream(source)
    with stream, _one_at_a_time:
        try:
            with Image.open(stream, formats=formats) as image:
                yield _load(image, name, max_pixels)
        except Image.DecompressionBombError as error:
            raise ValueError(f"Expected {name} to have at most {max_pixels:,} pixels, but got: {error}") from error
        except Image.UnidentifiedImageError as error:
            wanted = " or ".join(filter(None, [", ".join(map(spoken, formats[:-1])), spoken(formats[-1])]))
            raise ValueError(f"Expected {name} to be a {wanted} file, but got {_describe(stream)}") from error
        except Refused as error:
            raise ValueError(f"Expected {name} to {error}") from None
        except DECODING_ERRORS as error:
            raise ValueError(f"Expected {name} to be a complete image, but got a damaged one: {error}") from error


class Refused(Exception):
    """A picture that is whole but is not taken; says what it was expected to do: "have ..., but got ..."."""


def spoken(file_format: str) -> str:
    """How a format is written."""
    return SPOKEN.get(file_format, file_format)


def _load(image: Image.Image, name: str, max_pixels: int) -> Decoded:
    if max(image.size) > MAX_SIDE_PX:
        raise Refused(f"have sides of at most {MAX_SIDE_PX:,} pixels, but got {image.width} x {image.height}")
    reduced = _reduction(image, max_pixels)
    if reduced > 1:
        image.draft(None, (image.width // reduced, image.height // reduced))
    raw_mode = image.tile[0].args if image.tile else ""
    image.load()
    if image.mode == "P" and image.palette is None:
        raise OSError("indices without a palette")
    return Decoded(image, raw_mode if isinstance(raw_mode, str) else "", name, reduced)


def _reduction(image: Image.Image, max_pixels: int) -> int:
    """The factor by which the picture must be reduced while it is decoded to stay within the caps.

    Raises:
        Refused: it cannot be.
    """
    pixels = image.width * image.height
    for factor in (1, 2, 4, 8) if image.format in ("JPEG", "MPO") else (1,):
        bytes_ = decoding_bytes(image, factor)
        if pixels <= max_pixels * factor**2 and bytes_ <= MAX_DECODING_BYTES:
            return factor
    size = f"{image.width} x {image.height} pixels"
    if pixels > max_pixels and image.format not in ("JPEG", "MPO"):
        raise Refused(f"have at most {max_pixels:,} pixels, but got: {size}")
    fitting = int(pixels * MAX_DECODING_BYTES / bytes_)
    kind = f"{spoken(image.format or '')}, {image.mode}"
    raise Refused(f"be decoded in {MAX_DECODING_BYTES // 10**6} MB ({fitting:,} pixels of {kind}), but got {size}")


def decoding_bytes(image: Image.Image, factor: int = 1) -> int:
    """Memory that decoding takes at most: the decoder's own, Pillow's image, and the RGB that is made of it."""
    own = BESIDE_IMAGE.get(image.format or "", 0) + _coefficient_bytes(image)
    return int(image.width * image.height * (own + (PLANES.get(image.mode, 4) + RGB_BYTES) / factor**2))


def _coefficient_bytes(image: Image.Image) -> float:
    """Bytes of a pixel that libjpeg keeps until the last scan of a JPEG of several scans; 0 for a single one."""
    layers = getattr(image, "layer", None)
    if not layers or not _has_several_scans(image):
        return 0.0
    across, down = max(layer[1] for layer in layers), max(layer[2] for layer in layers)
    return sum(2.0 * layer[1] * layer[2] / (across * down) for layer in layers if across * down)


def _has_several_scans(image: Image.Image) -> bool:
    """Whether the first scan, whose header is the next to be read, is not the only one."""
    if image.info.get("progressive"):
        return True
    place = image.fp.tell()
    header = image.fp.read(3)  # length of the header, number of its components
    image.fp.seek(place)
    return len(header) == 3 and header[2] < len(image.layer)


def _open_stream(source: Source) -> tuple[BinaryIO, str]:
    """A stream of our own to read and close, and the name of what is read."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source), "image"
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"Expected path to be an existing file, but got {str(path)!r}")
        if not path.is_file():
            raise ValueError(f"Expected path to be a file, but got {str(path)!r}, which is a folder or a device")
        _check_bytes(printable(path.name), path.stat().st_size)
        return path.open("rb"), printable(path.name)
    if not hasattr(source, "read"):
        raise TypeError(f"Expected source to be a path, bytes or a binary stream, but got {type(source).__name__}")
    if source.seekable():
        source.seek(0)
    content, name = source.read(MAX_FILE_BYTES + 1), printable(Path(str(getattr(source, "name", "image"))).name)
    _check_bytes(name, len(content))
    return io.BytesIO(content), name


def _check_bytes(name: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ValueError(f"Expected {name} to be a file of at most {MAX_FILE_BYTES // 10**6} MB, but got more")


def _describe(stream: BinaryIO) -> str:
    stream.seek(0)
    start = stream.read(16)
    if not start:
        return "an empty file"
    shown = start.decode("latin-1")
    readable = "".join(character if character.isascii() and character.isprintable() else " " for character in shown)
    return f"a file that starts with {readable.strip()!r}" if readable.strip() else "a file of another kind"
