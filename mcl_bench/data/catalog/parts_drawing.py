"""How one image of `parts` is drawn: a beetle whose class shows only in its small parts.

Every class has the same body. At four sites (head, wing, tail, leg) sits one of four variants of
a small part; a class is a combination of variants. A variant has a shape and a hue of its own,
with jitter (by shape alone a small net learns nothing from few images). Decoys of the same shapes
and hues lie about, and two occluders of the same hues hide something, so that the colours of an
image tell little about its class: one has to see which variant sits where.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcl_bench.data.catalog import drawing

VERSION = 1
"""Raised whenever the same options draw other pixels; part of the source digest."""

SITES = ("head", "wing", "tail", "leg")
VARIANTS = 4
MAX_CLASSES = VARIANTS ** len(SITES)

_OVERSAMPLING = 2
_DECOYS = 3
_OCCLUDERS = 2
_HUE_JITTER = 0.10  # turns; neighbouring variants are 0.25 apart
_LENGTH = (0.19, 0.23)  # half the body's, as a share of the image
_CENTRE = (0.29, 0.71)
_TURN = 0.25  # radians, either way
_PATCHES = 0.8  # contrast of the background; it is what thumbnails see
_SHAPES: tuple[drawing.Shape, ...] = (
    drawing.disc,
    drawing.triangle,
    drawing.cross,
    drawing.ring,
)
# Where a site lies on a body of half-length 1 (x along the body), how large its part is there
# and which way it points, in turns.
_PLACES = {
    "head": (-1.12, 0.0, 0.50, 0.5),
    "wing": (-0.10, -0.66, 0.50, 0.75),
    "tail": (1.12, 0.0, 0.50, 0.0),
    "leg": (0.30, 0.68, 0.50, 0.25),
}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One image (size×size×3 uint8) and its parts: rows (x, y, visible) by site.

    x and y are shares of the image's width and height; visible is 0 where an occluder covers the
    part's centre.
    """

    image: npt.NDArray[np.uint8]
    parts: npt.NDArray[np.float32]


def class_codes(classes: int, *, seed: int) -> list[tuple[int, ...]]:
    """The variant at each site, for each class: all distinct, far apart while that is possible.

    The first classes stay what they are when more are asked for.
    """
    combinations = list(itertools.product(range(VARIANTS), repeat=len(SITES)))
    rng = np.random.default_rng([VERSION, seed])
    order = np.argsort(rng.random(len(combinations)), kind="stable")
    chosen: list[tuple[int, ...]] = []
    for distance in (3, 2, 1):
        for index in order:
            code = combinations[index]
            if all(
                sum(a != b for a, b in zip(code, old, strict=True)) >= distance for old in chosen
            ):
                chosen.append(code)
    return chosen[:classes]


def draw(code: tuple[int, ...], *, size: int, stream: tuple[int, ...], parts: bool = True) -> Drawn:
    """The image of a class, fully determined by its arguments.

    `stream` names the random stream; `parts=False` leaves the parts out and everything else as
    it is, to see what the rest gives away.
    """
    rng = np.random.default_rng([VERSION, *stream])
    full = size * _OVERSAMPLING
    canvas = _background(rng, full)
    for _ in range(_DECOYS):
        _decoy(rng, canvas)
    places = _beetle(rng, canvas, code, parts=parts)
    visible = np.ones(len(SITES), dtype=np.float32)
    for _ in range(_OCCLUDERS):
        hides = _occluder(rng, canvas, places)
        visible[hides] = 0
    canvas += (rng.random((full, full, 1)).astype(np.float32) - 0.5) * 0.08
    table = np.column_stack([places / full, visible]).astype(np.float32)
    return Drawn(image=drawing.shrink(canvas, _OVERSAMPLING), parts=table)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def _background(rng: np.random.Generator, full: int) -> drawing.Canvas:
    """Soft patches around one random colour."""
    base = drawing.rgb(float(rng.random()), _between(rng, 0, 0.5), _between(rng, 0.25, 0.85))
    grid = base + (rng.random((6, 6, 3)).astype(np.float32) - 0.5) * _PATCHES
    return drawing.spread(grid.astype(np.float32), full)


def _part_colour(rng: np.random.Generator, variant: int) -> npt.NDArray[np.float32]:
    hue = variant / VARIANTS + _between(rng, -_HUE_JITTER, _HUE_JITTER)
    return drawing.rgb(hue, _between(rng, 0.7, 1.0), _between(rng, 0.7, 1.0))


def _decoy(rng: np.random.Generator, canvas: drawing.Canvas) -> None:
    """A part of any variant, anywhere."""
    full = canvas.shape[0]
    variant = int(rng.random() * VARIANTS)
    radius = full * _between(rng, 0.05, 0.09)
    drawing.stamp(
        canvas,
        _SHAPES[variant],
        centre=(float(rng.random()) * full, float(rng.random()) * full),
        radii=(radius, radius),
        angle=float(rng.random()) * 2 * np.pi,
        colour=_part_colour(rng, variant),
    )


def _beetle(
    rng: np.random.Generator, canvas: drawing.Canvas, code: tuple[int, ...], *, parts: bool
) -> npt.NDArray[np.float64]:
    """Draw the body and its parts; returns the parts' centres, one (x, y) in pixels per site."""
    full = canvas.shape[0]
    length = full * _between(rng, *_LENGTH)
    angle = _between(rng, -_TURN, _TURN)
    facing = -1.0 if rng.random() < 0.5 else 1.0
    centre = (full * _between(rng, *_CENTRE), full * _between(rng, *_CENTRE))
    tone = drawing.rgb(float(rng.random()), _between(rng, 0.1, 0.6), _between(rng, 0.3, 0.9))
    cos, sin = np.cos(angle), np.sin(angle)

    def place(x: float, y: float) -> tuple[float, float]:
        x = x * facing
        return (
            centre[0] + length * (x * cos - y * sin),
            centre[1] + length * (x * sin + y * cos),
        )

    body = ((0.0, 0.0, 1.0, 0.55, 1.0), (-0.62, 0.0, 0.42, 0.42, 0.8), (0.1, 0.0, 0.8, 0.06, 0.6))
    for x, y, along, across, shade in body:
        drawing.stamp(
            canvas,
            drawing.disc,
            centre=place(x, y),
            radii=(length * along, length * across),
            angle=angle,
            colour=tone * np.float32(shade),
        )
    centres = []
    for site, variant in zip(SITES, code, strict=True):
        x, y, radius, points = _PLACES[site]
        centres.append(place(x, y))
        turn = 2 * np.pi * points
        turn = angle + (np.pi - turn if facing < 0 else turn) + _between(rng, -0.3, 0.3)
        radius *= length * _between(rng, 0.85, 1.15)
        colour = _part_colour(rng, variant)
        if parts:
            drawing.stamp(
                canvas,
                _SHAPES[variant],
                centre=centres[-1],
                radii=(radius, radius),
                angle=turn,
                colour=colour,
            )
    return np.array(centres)


def _occluder(
    rng: np.random.Generator, canvas: drawing.Canvas, places: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Draw a bar of one of the parts' hues; tells for each part whether its centre is covered."""
    full = canvas.shape[0]
    centre = (float(rng.random()) * full, float(rng.random()) * full)
    radii = (full * _between(rng, 0.05, 0.09), full * _between(rng, 0.12, 0.2))
    angle = float(rng.random()) * 2 * np.pi
    colour = _part_colour(rng, int(rng.random() * VARIANTS))
    drawing.stamp(canvas, drawing.bar, centre=centre, radii=radii, angle=angle, colour=colour)
    x, y = places[:, 0] - centre[0], places[:, 1] - centre[1]
    u = (x * np.cos(angle) + y * np.sin(angle)) / radii[0]
    v = (y * np.cos(angle) - x * np.sin(angle)) / radii[1]
    return np.asarray(drawing.bar(u.astype(np.float32), v.astype(np.float32)) < 0)
