"""Procedural backgrounds: every texture is a function of a random generator and a size, (size, size, 3) in [0, 1]."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

Texture = Callable[[np.random.Generator, int], np.ndarray]


def value_noise(
    rng: np.random.Generator, size: int, cells: tuple[int, int] = (4, 4), octaves: int = 4, roughness: float = 0.6
) -> np.ndarray:
    """Sum of smooth random fields, each twice as fine as the one before.

    Args:
        rng: source of the random values.
        size: side of the result in pixels.
        cells: (rows, columns) of random values in the coarsest field; unequal numbers stretch the noise.
        octaves: number of fields.
        roughness: strength of each field relative to the one before.

    Returns:
        float32 (size, size), mean 0 and standard deviation 1.
    """
    total = np.zeros((size, size), dtype=np.float32)
    for octave in range(octaves):
        rows, columns = (min(size, c * 2**octave + 1) for c in cells)
        field = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
        total += roughness**octave * np.asarray(field.resize((size, size), Image.Resampling.BICUBIC))
    return (total - total.mean()) / total.std()


def _blend(low: Sequence[float], high: Sequence[float], amount: np.ndarray) -> np.ndarray:
    """Mix two colours: amount (H, W), clipped to [0, 1] -> (H, W, 3)."""
    low, high = np.float32(low), np.float32(high)
    return low + np.clip(amount, 0, 1)[..., None] * (high - low)


def _rows_and_columns(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(size, dtype=np.float32) / size
    return axis[:, None], axis[None, :]


def _grass(rng: np.random.Generator, size: int) -> np.ndarray:
    blades = value_noise(rng, size, (12, 48), octaves=3, roughness=0.8) + 0.6 * value_noise(rng, size, (3, 3))
    return _blend((0.10, 0.25, 0.06), (0.42, 0.58, 0.20), 0.5 + 0.22 * blades)


def _sand(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = _rows_and_columns(size)
    ripples = np.sin(2 * np.pi * (rng.uniform(7, 11) * (y + 0.3 * x)) + 1.5 * value_noise(rng, size, (3, 3), 2))
    grains = rng.standard_normal((size, size), dtype=np.float32)
    return _blend((0.66, 0.53, 0.34), (0.93, 0.83, 0.62), 0.5 + 0.22 * ripples + 0.14 * grains)


def _water(rng: np.random.Generator, size: int) -> np.ndarray:
    swell = value_noise(rng, size, (10, 3), octaves=3)
    crests = np.exp(-12 * value_noise(rng, size, (14, 4), octaves=2) ** 2)
    return np.clip(_blend((0.02, 0.22, 0.38), (0.16, 0.52, 0.66), 0.5 + 0.25 * swell) + 0.3 * crests[..., None], 0, 1)


def _bricks(rng: np.random.Generator, size: int) -> np.ndarray:
    courses = rng.integers(9, 13)
    y, x = _rows_and_columns(size)
    row = np.floor(y * courses)
    along = x * courses / 2 + 0.5 * (row % 2)
    joint = (np.mod(y * courses, 1) < 0.14) | (np.mod(along, 1) < 0.07)
    tones = rng.uniform(0.15, 0.85, (courses + 1, courses + 2)).astype(np.float32)
    tone = tones[row.astype(int), np.floor(along).astype(int)] + 0.12 * value_noise(rng, size, (16, 16), 3)
    return np.where(
        joint[..., None], np.float32((0.72, 0.69, 0.65)), _blend((0.42, 0.17, 0.12), (0.66, 0.35, 0.26), tone)
    )


def _wood(rng: np.random.Generator, size: int) -> np.ndarray:
    planks = rng.integers(4, 7)
    y, _ = _rows_and_columns(size)
    grain = value_noise(rng, size, (24, 2), octaves=3, roughness=0.8)
    tones = rng.uniform(-0.2, 0.2, planks).astype(np.float32)
    tone = 0.5 + 0.2 * grain + tones[np.floor(y * planks).astype(int)]
    gap = (np.mod(y * planks, 1) < 0.035)[..., None]
    return np.where(gap, np.float32((0.16, 0.09, 0.04)), _blend((0.36, 0.21, 0.10), (0.70, 0.49, 0.28), tone))


def _sky(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = _rows_and_columns(size)
    clear = _blend((0.28, 0.52, 0.88), (0.68, 0.83, 0.97), y + 0 * x)
    clouds = np.clip(0.6 * value_noise(rng, size, (5, 3), octaves=5) - 0.2, 0, 1)[..., None]
    return clear + clouds * (0.97 - clear)


def _stone(rng: np.random.Generator, size: int) -> np.ndarray:
    veins = np.exp(-9 * np.abs(value_noise(rng, size, (4, 4), octaves=4)))
    speckle = value_noise(rng, size, (40, 40), octaves=3, roughness=0.9)
    return _blend((0.27, 0.28, 0.30), (0.66, 0.66, 0.65), 0.55 + 0.17 * speckle - 0.5 * veins)


def _snow(rng: np.random.Generator, size: int) -> np.ndarray:
    drifts = value_noise(rng, size, (3, 2), octaves=4, roughness=0.45)
    return _blend((0.72, 0.79, 0.90), (0.99, 0.99, 1.0), 0.65 + 0.28 * drifts)


def _tiles(rng: np.random.Generator, size: int) -> np.ndarray:
    count = rng.integers(5, 8)
    y, x = _rows_and_columns(size)
    dark = (np.floor(y * count) + np.floor(x * count)) % 2
    joint = (np.mod(y * count, 1) < 0.06) | (np.mod(x * count, 1) < 0.06)
    marble = 0.06 * value_noise(rng, size, (6, 6), octaves=4)
    return _blend((0.30, 0.36, 0.38), (0.86, 0.85, 0.78), np.where(joint, 0.4, 0.9 - 0.75 * dark) + marble)


def _carpet(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = _rows_and_columns(size)
    count = rng.uniform(3, 5)
    lozenge = np.abs(np.mod(count * (x + y), 1) - 0.5) + np.abs(np.mod(count * (x - y), 1) - 0.5)
    weave = 0.12 * np.sin(np.pi * size / 2 * x) * np.sin(np.pi * size / 2 * y)
    fluff = 0.1 * value_noise(rng, size, (56, 56), octaves=2)
    return _blend((0.22, 0.08, 0.26), (0.64, 0.42, 0.48), np.where(lozenge < 0.5, 0.8, 0.3) + weave + fluff)


TEXTURES: dict[str, Texture] = {
    "grass": _grass,
    "sand": _sand,
    "water": _water,
    "bricks": _bricks,
    "wood": _wood,
    "sky": _sky,
    "stone": _stone,
    "snow": _snow,
    "tiles": _tiles,
    "carpet": _carpet,
}
