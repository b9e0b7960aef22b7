"""The pen of the drawn set: antialiased shapes on a float canvas, by signed distance.

Legend: H, W the canvas's pixels; distances are in canvas pixels, angles in radians, hues in turns.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

Canvas = Floats
"""H×W×3, values in 0..1."""

Shape = Callable[[Floats, Floats], Floats]
"""Signed distance (negative inside) of points given in the shape's own frame, unit radius."""


def disc(u: Floats, v: Floats) -> Floats:
    """The unit disc."""
    return np.asarray(np.hypot(u, v) - 1, dtype=np.float32)


def triangle(u: Floats, v: Floats) -> Floats:
    """A triangle pointing along u."""
    inside: Floats = np.maximum(-u - 0.6, 0.5 * u + 0.866 * np.abs(v) - 0.6)
    return inside


def cross(u: Floats, v: Floats) -> Floats:
    """An upright cross."""
    long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return np.maximum(long - 1.05, short - 0.4)


def ring(u: Floats, v: Floats) -> Floats:
    """A ring with a hole of half its radius."""
    return np.asarray(np.abs(np.hypot(u, v) - 0.8) - 0.3, dtype=np.float32)


def bar(u: Floats, v: Floats) -> Floats:
    """A bar across u."""
    return np.maximum(np.abs(u) - 0.5, np.abs(v) - 1.15)


def rgb(hue: float, saturation: float, value: float) -> Floats:
    """The colour of a hue (in turns, any real), as three values in 0..1."""
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return (value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)).astype(np.float32)


def stamp(
    canvas: Canvas,
    shape: Shape,
    *,
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    colour: Floats,
) -> None:
    """Draw a shape over the canvas, in place.

    `centre` is (x, y), `radii` the shape's half-lengths along and across `angle`. What lies
    outside the canvas is left out.
    """
    height, width = canvas.shape[:2]
    reach = 1.3 * max(radii) + 2
    x0, x1 = max(0, int(centre[0] - reach)), min(width, int(centre[0] + reach) + 2)
    y0, y1 = max(0, int(centre[1] - reach)), min(height, int(centre[1] + reach) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    x = np.arange(x0, x1, dtype=np.float32)[None, :] + np.float32(0.5 - centre[0])
    y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - centre[1])
    cos, sin = np.cos(np.float32(angle)), np.sin(np.float32(angle))
    u: Floats = np.asarray((x * cos + y * sin) / radii[0], dtype=np.float32)
    v: Floats = np.asarray((y * cos - x * sin) / radii[1], dtype=np.float32)
    cover = np.clip(0.5 - shape(u, v) * np.float32(min(radii)), 0, 1)[..., None]
    window = canvas[y0:y1, x0:x1]
    window += cover * (colour - window)


def spread(grid: Floats, size: int) -> Canvas:
    """Blow a G×G×C grid up to size×size×C, linearly between its points."""
    at = np.linspace(0, grid.shape[0] - 1, size, dtype=np.float32)
    low = np.minimum(at.astype(np.int64), grid.shape[0] - 2)
    part = (at - low)[:, None, None]
    rows = grid[low] * (1 - part) + grid[low + 1] * part
    columns = rows.transpose(1, 0, 2)
    return np.asarray(
        (columns[low] * (1 - part) + columns[low + 1] * part).transpose(1, 0, 2), dtype=np.float32
    )


def shrink(canvas: Canvas, factor: int) -> npt.NDArray[np.uint8]:
    """Average factor×factor pixels into one; returns uint8 RGB H×W×3."""
    height, width = canvas.shape[0] // factor, canvas.shape[1] // factor
    mean = canvas.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    return np.asarray(np.clip(mean, 0, 1) * 255 + 0.5).astype(np.uint8)
