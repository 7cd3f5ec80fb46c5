"""Safe decoding of photographs and label masks from files that nobody vouches for."""

import hashlib
import io
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

Source = str | Path | bytes | BinaryIO

MAX_PIXELS = 50_000_000  # 150 MB as RGB; above the largest photographs of common cameras
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

ORIENTATION = 0x0112  # EXIF tag
TURNS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, struct.error)
LOW_BIT_SCALE = {"L;2": 85, "L;4": 17}  # Pillow spreads greys of 2 and 4 bits over 0..255


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """A decoded photograph. Two are equal if name and pixels are.

    Attributes:
        rgb: uint8 (H, W, 3), read-only, upright.
        sha256: of height, width and pixels, as 64 hex digits. Not of the file: what the network sees is the same
            however the file was compressed or tagged, and an array that never was a file has an identity too.
        name: file name, or what stands for it.
    """

    rgb: np.ndarray = field(repr=False, compare=False)
    sha256: str
    name: str

    @classmethod
    def from_rgb(cls, rgb: np.ndarray | Image.Image, name: str) -> "LoadedImage":
        """Wraps pixels that are decoded already.

        Args:
            rgb: uint8 (H, W, 3), or a Pillow image of mode RGB.
            name: what stands for the file name.

        Raises:
            ValueError: the pixels have another shape or type.
        """
        pixels = np.array(rgb)  # a copy: nobody else may write to it
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(f"Expected rgb to be uint8 of shape (H, W, 3), but got {pixels.dtype} {pixels.shape}")
        pixels.setflags(write=False)
        digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}:".encode())
        digest.update(pixels)
        return cls(pixels, digest.hexdigest(), name)

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[:2]

    def to_pil(self) -> Image.Image:
        """A Pillow image of mode RGB, a copy."""
        return Image.fromarray(self.rgb)


def load_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> LoadedImage:
    """Decodes a PNG, JPEG or WebP file to upright 8-bit RGB.

    The EXIF orientation is applied, transparency is laid on white, 16 bits are scaled to 8, of an animation the first
    frame is taken. Colour profiles are ignored, as in the preprocessing CLIP was trained with.

    Args:
        source: path, the bytes of a file, or a binary stream, read from its start.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        The image.

    Raises:
        FileNotFoundError: no file at this path.
        ValueError: not such a file, damaged, or too large.
    """
    decoded = _decode(source, IMAGE_FORMATS, max_pixels)
    image = decoded.image
    return LoadedImage.from_rgb(_turn_upright(_to_rgb(image), _orientation(image)), decoded.name)


def decode_mask(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes a label mask from a PNG: indexed, or grey with the ids as values.

    Args:
        source: path, the bytes of a file, or a binary stream, read from its start.
        max_pixels: larger masks are refused before they are decoded.

    Returns:
        Ids (H, W): uint8, or uint16 from a file of 16 bits. Indexed files give the indices, never the colours.

    Raises:
        FileNotFoundError: no file at this path.
        ValueError: not such a file, damaged, too large, or in colour.
    """
    decoded = _decode(source, ("PNG",), max_pixels)
    image = decoded.image
    if image.mode in ("1", "L", "P"):
        return np.asarray(image).astype(np.uint8) // LOW_BIT_SCALE.get(decoded.raw_mode, 1)
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16)
    channels = np.asarray(image.convert("RGBA"))
    if (channels[..., :3] == channels[..., :1]).all() and (channels[..., 3] == 255).all():
        return channels[..., 0].copy()  # painting programs save grey as RGB
    raise ValueError(f"Expected {decoded.name} to be an indexed or grey PNG, but got colours (mode {image.mode})")


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What Pillow made of a file; `raw_mode` is its word for the layout of samples in the file."""

    image: Image.Image
    raw_mode: str
    name: str


def _decode(source: Source, formats: tuple[str, ...], max_pixels: int) -> _Decoded:
    stream, name = _open_stream(source)
    with stream:
        try:
            with Image.open(stream, formats=formats) as image:
                if image.width * image.height > max_pixels:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
                raw_mode = image.tile[0].args if image.tile else ""
                image.load()
                if image.mode == "P" and image.palette is None:
                    raise OSError("indices without a palette")
        except Image.DecompressionBombError as error:
            raise ValueError(f"Expected {name} to have at most {max_pixels:,} pixels, but got: {error}") from error
        except Image.UnidentifiedImageError as error:
            wanted = " or ".join(filter(None, [", ".join(formats[:-1]), formats[-1]])).replace("WEBP", "WebP")
            raise ValueError(f"Expected {name} to be a {wanted} file, but got {_describe(stream)}") from error
        except DECODING_ERRORS as error:
            raise ValueError(f"Expected {name} to be a complete image, but got a damaged one: {error}") from error
    return _Decoded(image, raw_mode if isinstance(raw_mode, str) else "", name)


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
        return path.open("rb"), path.name
    if not hasattr(source, "read"):
        raise TypeError(f"Expected source to be a path, bytes or a binary stream, but got {type(source).__name__}")
    if source.seekable():
        source.seek(0)
    return io.BytesIO(source.read()), Path(str(getattr(source, "name", "image"))).name


def _describe(stream: BinaryIO) -> str:
    stream.seek(0)
    start = stream.read(16)
    if not start:
        return "an empty file"
    shown = start.decode("latin-1")
    readable = "".join(character if character.isascii() and character.isprintable() else " " for character in shown)
    return f"a file that starts with {readable.strip()!r}" if readable.strip() else "a file of another kind"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _scale_16_bit_grey(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _scale_16_bit_grey(image: Image.Image) -> Image.Image:
    """Grey of 8 bits, with alpha where one value stands for transparent."""
    values = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where the tags are missing or cannot be read, since the pixels still can."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except DECODING_ERRORS:
        return 1


def _turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    for turn in TURNS.get(orientation, ()):
        image = image.transpose(turn)
    return image
