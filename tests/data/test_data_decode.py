"""Any image file becomes the same kind of pixels."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mcl_bench.data.decode import UNREADABLE, planar


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def solid(colour: Any, mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new(mode, size, colour)


def colour_of(data: bytes) -> list[int]:
    pixels = planar(data, size=4)
    assert pixels.shape == (3, 4, 4)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (solid((10, 200, 30)), [10, 200, 30]),
        (solid(77, "L"), [77, 77, 77]),
        (solid(1, "1"), [255, 255, 255]),
        (solid((10, 200, 30)).quantize(4), [10, 200, 30]),
        (solid((10, 200, 30, 255), "RGBA"), [10, 200, 30]),
        (solid((10, 200, 30, 0), "RGBA"), [255, 255, 255]),
        (solid((100, 0), "LA"), [255, 255, 255]),
        (solid(0x8000, "I;16"), [128, 128, 128]),
    ],
)
def test_every_mode_of_a_png_becomes_rgb(image: Image.Image, expected: list[int]) -> None:
    assert colour_of(encoded(image)) == expected


def test_a_transparent_palette_colour_lies_on_white() -> None:
    palette = solid((10, 200, 30)).quantize(4)
    index = palette.getpixel((0, 0))
    assert colour_of(encoded(palette, transparency=index)) == [255, 255, 255]


def test_a_cmyk_jpeg_shows_its_colour() -> None:
    red, green, blue = colour_of(encoded(solid((0, 255, 255, 0), "CMYK"), "JPEG"))
    assert red > 240
    assert max(green, blue) < 15


def test_a_16_bit_grey_keeps_its_dark_and_its_light_half() -> None:
    ramp = np.linspace(0, 65535, 16).astype(np.uint16).reshape(1, 16).repeat(16, 0)
    row = planar(encoded(Image.fromarray(ramp)), size=16)[0, 0].astype(int)
    assert row[0] == 0
    assert row[-1] == 255
    assert (np.diff(row) == 17).all()


def test_exif_turns_the_image() -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[:, 4:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned a quarter to the right
    pixels = planar(encoded(Image.fromarray(image), exif=exif), size=8)
    assert (pixels[:, :4] == 0).all()
    assert (pixels[:, 4:] == 255).all()


def test_planes_are_rows_by_columns() -> None:
    image = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)
    assert np.array_equal(planar(image, size=5), image.transpose(2, 0, 1))
    assert np.array_equal(planar(encoded(Image.fromarray(image)), size=5), image.transpose(2, 0, 1))


def test_shrinking_averages_instead_of_picking() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    pixels = planar(np.repeat(board[..., None], 3, axis=2).astype(np.uint8), size=8)
    assert abs(pixels.astype(int) - 127).max() <= 3


def test_an_animation_shows_its_first_image() -> None:
    later = [solid((0, 0, 250)), solid((250, 0, 0))]
    red, green, blue = colour_of(
        encoded(solid((10, 200, 30)), "GIF", save_all=True, append_images=later)
    )
    assert (abs(red - 10), abs(green - 200), abs(blue - 30)) < (20, 20, 20)


def test_a_40_megapixel_image_becomes_a_small_one() -> None:
    half = Image.new("L", (8000, 5000), 50)
    half.paste(200, (4000, 0, 8000, 5000))
    pixels = planar(encoded(half, "JPEG"), size=8).astype(int)
    assert np.abs(pixels[:, :, :3] - 50).max() <= 2
    assert np.abs(pixels[:, :, 5:] - 200).max() <= 2


def test_a_file_that_claims_more_pixels_than_memory_holds_is_unreadable() -> None:
    small = encoded(solid(9, "L", size=(1, 1)))
    header = b"IHDR" + struct.pack(">II", 40_000, 40_000) + small[24:29]
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(UNREADABLE, match="1600000000 pixels"):
        planar(bomb, size=8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is no image",
        encoded(solid((1, 2, 3), size=(60, 60)), "JPEG")[:200],
        encoded(Image.effect_noise((60, 60), 50))[:500],
        encoded(Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)), "TIFF"),
    ],
)
def test_what_cannot_be_decoded_raises_one_of_the_named_errors(data: bytes) -> None:
    with pytest.raises(UNREADABLE):
        planar(data, size=8)
