"""The shapes of the toy scenes as signed distances, and their shaded drawing into a canvas.

A signed distance is negative inside a shape and positive outside, in units of the shape's radius. From one such field
follow the exact mask (distance < 0), a smooth edge, a bevelled shading and a soft shadow.
Source: the exact formulas are the usual ones of 2-D distance functions (Inigo Quilez, "2D distance functions").
"""

from collections.abc import Callable

import numpy as np

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]

SHADOW_OFFSET = 0.14  # in radii, away from the light
SHADOW_SOFTNESS = 0.16  # in radii
SHADOW_DEPTH = 0.5  # share of the light a full shadow takes away


def _circle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 0.92


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(u, v) - 0.72) - 0.27


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - 0.8


def _diamond(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (np.abs(u) / 0.7 + np.abs(v) / 1.1 - 1) / np.hypot(1 / 0.7, 1 / 1.1)


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    v = v - 0.15
    return np.maximum(v, 0.866 * np.abs(u) - 0.5 * v) - 0.58


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # Folding the angle into one of ten equal sectors leaves a single edge, from the notch to the tip.
    sector = np.pi / 5
    angle = np.abs(np.mod(np.arctan2(u, -v) + 2 * sector, 2 * sector) - sector)
    x, y = np.hypot(u, v) * np.cos(angle), np.hypot(u, v) * np.sin(angle)
    notch, tip = 0.52, 1.1
    edge_x, edge_y = tip * np.cos(sector) - notch, tip * np.sin(sector)
    return ((x - notch) * edge_y - y * edge_x) / np.hypot(edge_x, edge_y)


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    side, v = 0.56, v + 0.06
    body = np.maximum(np.abs(u + v), np.abs(u - v)) / np.sqrt(2) - side
    lobe = side / np.sqrt(2)
    return np.minimum(body, np.hypot(np.abs(u) - lobe, v + lobe) - side)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return np.maximum(long - 0.98, short - 0.34)


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(u, v) - 0.98, 0.74 - np.hypot(u - 0.5, v))


def _flower(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.75 * (np.hypot(u, v) - 0.74 - 0.24 * np.cos(6 * np.arctan2(v, u)))


SHAPES: dict[str, Distance] = {
    "circle": _circle,
    "ring": _ring,
    "square": _square,
    "diamond": _diamond,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "crescent": _crescent,
    "flower": _flower,
}


def draw_shape(
    canvas: np.ndarray,
    shape: str,
    rgb: np.ndarray,
    centre_px: tuple[float, float],
    radius_px: float,
    angle: float,
    light: float,
) -> np.ndarray:
    """Draw one shaded shape with its shadow into the canvas, in place.

    Args:
        canvas: float32 (H, W, 3), in [0, 1].
        shape: a key of `SHAPES`.
        rgb: (3,), in [0, 1].
        centre_px: (x, y) in pixels.
        radius_px: half the extent of the shape, in pixels.
        angle: rotation of the shape, in radians.
        light: direction the light comes from, in radians of the image plane.

    Returns:
        bool (H, W), the pixels the shape covers; every other pixel is untouched or in its shadow.
    """
    window = _window(canvas.shape[:2], centre_px, 1.5 * radius_px)
    y, x = np.mgrid[window].astype(np.float32)
    x, y = (x - centre_px[0]) / radius_px, (y - centre_px[1]) / radius_px
    light_x, light_y = np.cos(light), np.sin(light)
    pixels = canvas[window]

    fallen = _distance(shape, x + SHADOW_OFFSET * light_x, y + SHADOW_OFFSET * light_y, angle)
    pixels *= 1 - SHADOW_DEPTH * np.clip(0.5 - fallen / SHADOW_SOFTNESS, 0, 1)[..., None]

    distance = _distance(shape, x, y, angle)
    brightness = _bevel(distance, radius_px, light_x, light_y) + 0.12 * (x * light_x + y * light_y)
    shaded = np.clip(rgb * (1 + 0.6 * brightness[..., None]) + 0.1 * brightness[..., None], 0, 1)
    # Blending starts at the border and ends one pixel inside, so that no pixel outside the mask changes.
    opacity = np.clip(-distance * radius_px, 0, 1)[..., None]
    pixels += opacity * (shaded - pixels)

    mask = np.zeros(canvas.shape[:2], dtype=bool)
    mask[window] = distance < 0
    return mask


def _distance(shape: str, x: np.ndarray, y: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return SHAPES[shape](cos * x + sin * y, cos * y - sin * x)


def _bevel(distance: np.ndarray, radius_px: float, light_x: float, light_y: float) -> np.ndarray:
    """Brightness of a rounded rim: how far each slope of the height field faces the light, (h, w) in about [-1, 1]."""
    height = np.sqrt(np.clip(-distance / 0.4, 0, 1))
    slope_y, slope_x = np.gradient(height)
    return np.clip(-0.3 * radius_px * (slope_x * light_x + slope_y * light_y), -0.7, 0.7)


def _window(size: tuple[int, int], centre_px: tuple[float, float], half_px: float) -> tuple[slice, slice]:
    """The square around the centre, clipped to the canvas, as (rows, columns)."""
    limits = zip(reversed(centre_px), size, strict=True)
    rows, columns = (slice(max(0, int(c - half_px)), min(s, int(c + half_px) + 1)) for c, s in limits)
    return rows, columns
