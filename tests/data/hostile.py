"""Small files that cost much, lie about themselves or are cut short: a corpus that is made, not kept."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.data.pictures import chunk, encode, gradient, raw_png


def deflated_png(size: tuple[int, int], bits: int, colour_type: int, samples: int) -> bytes:
    """A PNG of nothing but zeros, made row by row."""
    height, width = size
    pack, row = zlib.compressobj(9), b"\0" * (1 + (width * bits * samples + 7) // 8)
    content = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def costly_png() -> bytes:
    return deflated_png((6320, 6320), 16, 6, 4)


def costly_webp() -> bytes:
    return encode(Image.new("RGBA", (4000, 4000), (9, 9, 9, 9)), "WEBP", method=0)


def costly_jpeg() -> bytes:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (46, 46, 3), dtype=np.uint8))
    large = noise.resize((4600, 4600), Image.Resampling.NEAREST)
    return encode(large, "JPEG", progressive=True, subsampling=0, quality=30)


COSTLY = {"PNG of 16-bit RGBA": costly_png, "WebP with alpha": costly_webp, "progressive JPEG": costly_jpeg}
"""The largest that are taken of kinds that cost much to decode, each of less than a megabyte."""


def bombs() -> dict[str, bytes]:
    """Files that are refused by their headers: what they would decode to is too much."""
    return {
        "narrow PNG": raw_png((50_000_000, 1), 8, 0, [b""]),
        "square PNG": raw_png((30_000, 30_000), 8, 2, [b""]),
        "PNG of 16-bit RGBA": raw_png((7071, 7071), 16, 6, [b""]),
        "wide GIF": gif_header(65_535, 65_535),
        "tall BMP": bmp_header(1, 2_000_000_000),
        "TIFF": tiff_header(100_000, 100_000),
    }


def gif_header(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0" * 6 + b"\x2c" + b"\0" * 20


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def tiff_header(width: int, height: int) -> bytes:
    """One strip of 8-bit grey, the pixels missing."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, height)]
    tags.append((279, 4, width * height & 0xFFFFFFFF))
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def broken_files(count: int, seed: int = 0) -> Iterator[bytes]:
    """Files of every format with some bytes changed or the end cut off."""
    rng, formats = np.random.default_rng(seed), ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP")
    whole = [encode(gradient(), name) for name in formats if name in _writable()]
    whole.append(encode(gradient(), "JPEG", progressive=True))
    whole.append(encode(gradient(), "TIFF", compression="tiff_adobe_deflate"))
    for index in range(count):
        content = bytearray(whole[index % len(whole)])
        for place in rng.integers(0, len(content), 4):
            content[place] = rng.integers(256)
        yield bytes(content[: rng.integers(1, len(content))] if index % 5 == 0 else content)


def _writable() -> set[str]:
    Image.init()
    return set(Image.SAVE)


def as_stream(content: bytes, name: str = "upload.png") -> io.BytesIO:
    stream = io.BytesIO(content)
    stream.name = name
    return stream
