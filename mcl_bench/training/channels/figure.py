"""A figure of channels: test images, and over each what its true class's channels see in it."""

# c crop's pixels a side, X channels shown, H×W positions, t a tile's pixels a side

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

MOST_TILES = 10
"""The most channels of one image that are shown."""

TILE = 144
_GAP = 6
_TITLE = 24
_CAPTION = 16
_RING = 5
_CROSS = 6
_LONGEST_NAME = 40
_LEGEND = (
    "heat: activation, from 0 to the highest of the row",
    "cross: a channel's peak; ring: a visible part; frame: the object's box",
)

_HEAT = np.array(
    [(0, 0, 0), (60, 10, 110), (160, 30, 110), (235, 80, 40), (255, 180, 20), (255, 255, 190)],
    dtype=np.float64,
)
"""The colours from no activation to the highest, evenly spaced; each is lighter than the last."""

_TINY = 1e-30
"""Stands for the highest activation where nothing is active."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One image of the figure.

    `maps_XHW` are the first channels of its class, which has `num_channels` from the network's
    channel `first_channel` on. `parts` are x and y of what is visible, `box` left, top, right and
    bottom, all as shares of the crop.
    """

    pixels_cc3: Bytes
    maps_XHW: Floats
    first_channel: int
    num_channels: int
    name: str
    predicted: str
    parts: Sequence[Sequence[float]]
    box: Sequence[float] | None


def draw_rows(rows: Sequence[Row]) -> bytes:
    """The figure as a PNG: a row for each image, with the image first and then its channels.

    Heat is the activation, from 0 to the highest of the row's channels, spread bilinearly over a
    greyed image; the number of the channel and its own highest activation stand below it. A ring
    is a known part, a cross the channel's peak, a frame the known box.
    """
    tiles = 1 + max((len(row.maps_XHW) for row in rows), default=0)
    height = _TITLE + TILE + _CAPTION + _GAP
    # A title has room, however few channels there are.
    width = max(tiles, 4) * (TILE + _GAP) + _GAP
    foot = _GAP + len(rows) * height
    sheet = Image.new("RGB", (width, foot + len(_LEGEND) * _CAPTION + _GAP), "white")
    for number, row in enumerate(rows):
        _draw_row(sheet, row, top=_GAP + number * height)
    draw = ImageDraw.Draw(sheet)
    for line, text in enumerate(_LEGEND):
        _write(draw, (_GAP, foot + line * _CAPTION), text, size=12, fill="#444444")
    content = io.BytesIO()
    sheet.save(content, format="PNG", compress_level=4)
    return content.getvalue()


def heat_colours(share: npt.NDArray[np.float64]) -> Bytes:
    """The colours of activations in 0..1, one more dimension of 3."""
    steps = np.linspace(0, 1, len(_HEAT))
    bands = [np.interp(share, steps, _HEAT[:, band]) for band in range(3)]
    return np.rint(np.stack(bands, axis=-1)).astype(np.uint8)


def spread(map_HW: Floats, side: int) -> npt.NDArray[np.float64]:
    """A map spread bilinearly over side×side pixels, cells' centres where they lie in the crop."""
    image = Image.fromarray(np.ascontiguousarray(map_HW, dtype=np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float64)


def plain_text(text: str) -> str:
    """A name in letters that Pillow's own fonts have: no accents, `?` for others, not too long."""
    letters = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    plain = bare.encode("ascii", "replace").decode("ascii")
    plain = "".join(letter if letter.isprintable() else "?" for letter in plain)
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 3]}..."


def _draw_row(sheet: Image.Image, row: Row, *, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    right = row.name == row.predicted
    said = "and is seen as such" if right else f"but is seen as {plain_text(row.predicted)}"
    shown = len(row.maps_XHW)
    more = "" if shown == row.num_channels else f"; {shown} of {row.num_channels} channels"
    _write(
        draw,
        (_GAP, top),
        f"is {plain_text(row.name)} {said}{more}",
        size=14,
        fill="black" if right else "#b00020",
    )
    top += _TITLE
    picture = Image.fromarray(row.pixels_cc3).resize((TILE, TILE), Image.Resampling.BICUBIC)
    grey = np.asarray(picture.convert("L"), dtype=np.float64)[..., None] * 0.6 + 60
    _mark(picture, row, peak=None)
    sheet.paste(picture, (_GAP, top))
    highest = max(float(row.maps_XHW.max(initial=0)), _TINY)
    for place, map_HW in enumerate(row.maps_XHW):
        left = _GAP + (place + 1) * (TILE + _GAP)
        heat = np.clip(spread(map_HW, TILE) / highest, 0, 1)
        cover = np.minimum(1, 1.6 * heat)[..., None] * 0.85
        mixed = np.rint(grey * (1 - cover) + heat_colours(heat) * cover)
        tile = Image.fromarray(np.broadcast_to(mixed, (TILE, TILE, 3)).astype(np.uint8))
        _mark(tile, row, peak=_peak(map_HW))
        sheet.paste(tile, (left, top))
        text = f"channel {row.first_channel + place}: {float(map_HW.max()):.3g}"
        _write(draw, (left, top + TILE + 1), text, size=11, fill="#444444")


def _peak(map_HW: Floats) -> tuple[float, float] | None:
    """X and y of the highest cell's centre, as shares; None where nothing is active."""
    if map_HW.max() <= 0:
        return None
    y, x = np.unravel_index(map_HW.argmax(), map_HW.shape)
    return (float(x) + 0.5) / map_HW.shape[1], (float(y) + 0.5) / map_HW.shape[0]


def _mark(tile: Image.Image, row: Row, *, peak: tuple[float, float] | None) -> None:
    """Draw the known places and the peak, each dark under light, so that it shows anywhere."""
    draw = ImageDraw.Draw(tile)
    for colour, width in (("black", 3), ("white", 1)):
        if row.box is not None:
            draw.rectangle([share * (TILE - 1) for share in row.box], outline=colour, width=width)
        for x, y in row.parts:
            draw.circle((x * TILE, y * TILE), _RING + width // 2, outline=colour, width=width)
    if peak is None:
        return
    x, y = peak[0] * TILE, peak[1] * TILE
    for colour, width in (("black", 4), ("#40ff40", 2)):
        draw.line((x - _CROSS, y - _CROSS, x + _CROSS, y + _CROSS), fill=colour, width=width)
        draw.line((x - _CROSS, y + _CROSS, x + _CROSS, y - _CROSS), fill=colour, width=width)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, *, size: int, fill: str
) -> None:
    draw.text(place, text, font=ImageFont.load_default(size), fill=fill)
