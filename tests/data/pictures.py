"""Files for the tests: encoded images, and PNGs put together by hand where Pillow would not write them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def encode(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def gradient(height: int = 24, width: int = 40) -> Image.Image:
    """A smooth RGB image in which no mirror image or rotation is the same, and that JPEG hardly changes."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (20 + 200 * y / height, 20 + 200 * x / width, 60 + 100 * (x / width) * (y / height))
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(size: tuple[int, int], bits: int, colour_type: int, rows: list[bytes], extra: bytes = b"") -> bytes:
    """A PNG of any header; `rows` hold the packed samples, `extra` chunks before the pixels."""
    header = struct.pack(">IIBBBBB", size[1], size[0], bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
