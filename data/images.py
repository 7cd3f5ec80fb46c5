"""Photographs and label masks as arrays: one way in for files, uploads and Pillow images."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from data.decoding import (
    DECODING_ERRORS,
    IMAGE_FORMATS,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    Decoded,
    Refused,
    Source,
    decoded,
)
from data.geometry import Framing

__all__ = ["IMAGE_SUFFIXES", "LoadedImage", "Source", "decode_mask", "load_image", "to_rgb"]

STRIP_PIXELS = 1 << 18  # converted at a time
LOW_BIT_SCALE = {"L;2": 85, "L;4": 17}  # Pillow spreads greys of 2 and 4 bits over 0..255

ORIENTATION = 0x0112  # EXIF tag
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""EXIF orientation -> the view of an upright image (H, W, ...) in the order in which the camera stored its pixels."""


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """A decoded photograph. Two are equal if name and pixels are.

    Attributes:
        rgb: uint8 (H, W, 3), read-only, upright.
        sha256: of height, width and pixels, as 64 hex digits. Not of the file: what the network sees is the same
            however the file was compressed or tagged, and an array that never was a file has an identity too.
        name: file name, or what stands for it.
        reduced: by how much a very large JPEG was reduced while it was decoded; 1 for not at all.
    """

    rgb: np.ndarray = field(repr=False, compare=False)
    sha256: str
    name: str
    reduced: int = 1

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
        return cls._own(pixels, name)

    @classmethod
    def _own(cls, pixels: np.ndarray, name: str, reduced: int = 1) -> "LoadedImage":
        pixels.setflags(write=False)
        digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}:".encode())
        digest.update(pixels)
        return cls(pixels, digest.hexdigest(), name, reduced)

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[:2]

    def to_pil(self) -> Image.Image:
        """A Pillow image of mode RGB, a copy."""
        return Image.fromarray(self.rgb)

    def framed(self, framing: Framing, fill_rgb: tuple[int, int, int]) -> "LoadedImage":
        """The part that the network sees, at the photograph's own resolution; itself where that is all of it.

        Args:
            framing: where the photograph lies on the input, see `Model.framing`.
            fill_rgb: colour of what is filled up beyond it.
        """
        pixels = framing.apply(self.rgb, fill_rgb)
        return self if pixels is self.rgb else LoadedImage.from_rgb(pixels, self.name)


def load_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> LoadedImage:
    """Decodes a picture file to upright 8-bit RGB.

    PNG, JPEG, WebP, TIFF, GIF, BMP and, where Pillow was built with it, AVIF. The EXIF orientation is applied,
    transparency is laid on white, 16 bits are scaled to 8, of an animation the first frame is taken. Colour profiles
    are ignored, as in the preprocessing CLIP was trained with.

    Args:
        source: path, the bytes of a file, or a binary stream, read from its start.
        max_pixels: larger images are refused before they are decoded; JPEGs are reduced instead, by 2, 4 or 8.

    Returns:
        The image.

    Raises:
        FileNotFoundError: no file at this path.
        ValueError: not such a file, damaged, too large, or of floating-point numbers.
    """
    with decoded(source, IMAGE_FORMATS, max_pixels) as found:
        return LoadedImage._own(_upright_rgb(found.image), found.name, found.reduced)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as `load_image` makes it of a file: upright, 8 bits, RGB, transparency laid on white.

    A photograph that was turned by hand but kept its EXIF tags is turned again; `ImageOps.exif_transpose` turns and
    drops the tag.

    Returns:
        The image itself where it is so already.

    Raises:
        ValueError: an image of floating-point numbers, or of whole numbers beyond 16 bits.
    """
    if image.mode == "RGB" and not image.has_transparency_data and _orientation(image) not in STORED:
        return image
    try:
        return Image.fromarray(_upright_rgb(image))
    except Refused as error:
        raise ValueError(f"Expected image to {error}") from None


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
    with decoded(source, ("PNG",), max_pixels) as found:
        wide = found.image.mode.startswith("I")
        labels = np.empty(found.image.size[::-1], np.uint16 if wide else np.uint8)
        grey = all([_copy_labels(found, strip, labels[rows]) for rows, strip in _strips(found.image)])
    if not grey:
        raise ValueError(
            f"Expected {found.name} to be an indexed or grey PNG, but got colours (mode {found.image.mode})"
        )
    return labels


def _copy_labels(found: Decoded, strip: Image.Image, labels: np.ndarray) -> bool:
    """Fills in the ids of some rows; whether they are ids at all and no colours."""
    if found.image.mode in ("1", "L", "P"):
        labels[:] = np.asarray(strip).astype(np.uint8) // LOW_BIT_SCALE.get(found.raw_mode, 1)
    elif found.image.mode.startswith("I"):
        labels[:] = np.asarray(strip)
    else:
        channels = np.asarray(strip.convert("RGBA"))
        labels[:] = channels[..., 0]  # painting programs save grey as RGB
        return bool((channels[..., :3] == channels[..., :1]).all() and (channels[..., 3] == 255).all())
    return True


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Some rows of an image after the other, so that a conversion does not take the memory of a second image."""
    height = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _upright_rgb(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3), of its own memory."""
    image.load()  # turns a TIFF by itself, so before the orientation is read
    stored = STORED.get(_orientation(image), lambda upright: upright)
    height, width = stored(np.empty(image.size[::-1], bool)).shape  # every turn swaps the sides that its inverse swaps
    upright = np.empty((height, width, 3), np.uint8)
    as_stored = stored(upright)
    for rows, strip in _strips(image):
        as_stored[rows] = _strip_to_rgb(strip)
    return upright


def _strip_to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        image = _scale_16_bit_grey(image)
    elif image.mode == "F":
        raise Refused("have whole numbers of 8 or 16 bits, but got floating-point numbers")
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _scale_16_bit_grey(image: Image.Image) -> Image.Image:
    """Grey of 8 bits, with alpha where one value stands for transparent."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise Refused(f"have greys from 0 to 65535, but got {values.min()} to {values.max()}")
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
