"""From any image file, or drawn pixels, to RGB of one size: planar uint8, or a JPEG file."""

import io
import struct
import threading
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from mcl_bench.data.catalog.source import Picture
from mcl_bench.data.frame import ORIENTATION, opened

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on files that are no images or are damaged."""


JPEG_QUALITY = 95
"""Of JPEG files that are made here, with all colour kept (4:4:4)."""

_LARGE_PIXELS = 1 << 24
"""Files of more pixels take 64 MiB and more, so they are decoded one at a time."""

_AT_A_TIME = threading.Lock()


def planar(picture: Picture, *, size: int | None, trim_bottom: int = 0) -> npt.NDArray[np.uint8]:
    """3×size×size RGB of an image (size None: 3×height×width); one of UNREADABLE if it can't be.

    Turned as EXIF says; transparent pixels lie on white; 16-bit grey is scaled to 8; of an
    animation the first image; the whole image, but `trim_bottom` rows of its pixels, is resized
    with antialiasing (bilinear), without keeping its aspect ratio.
    """
    image = _resized(picture, size=size, trim_bottom=trim_bottom)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def jpeg(picture: Picture, *, size: int, trim_bottom: int = 0) -> npt.NDArray[np.uint8]:
    """The bytes of a JPEG file of size×size RGB; one of UNREADABLE if it cannot be decoded.

    A file that is one already, baseline and upright, is kept byte for byte; any other image is
    made as `planar` makes it and encoded at quality 95, 4:4:4.
    """
    if isinstance(picture, bytes) and not trim_bottom and _is_kept(picture, size=size):
        return np.frombuffer(picture, dtype=np.uint8)
    file = io.BytesIO()
    image = _resized(picture, size=size, trim_bottom=trim_bottom)
    image.save(file, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def most_kept(size: int) -> int:
    """The most bytes of a JPEG file that is kept: twice its pixels, at least 4 KiB.

    What is larger has something else in it, such as a film.
    """
    return max(6 * size**2, 1 << 12)


def _is_kept(content: bytes, *, size: int) -> bool:
    """Whether a file is a whole baseline RGB JPEG of this size that EXIF does not turn."""
    if len(content) > most_kept(size):
        return False
    with opened(content) as image:
        if (
            image.format != "JPEG"
            or image.mode != "RGB"
            or image.size != (size, size)
            or "progressive" in image.info
            or image.getexif().get(ORIENTATION, 1) != 1
        ):
            return False
        image.load()
    return True


def _resized(picture: Picture, *, size: int | None, trim_bottom: int) -> Image.Image:
    """The RGB image of this size, upright and trimmed."""
    if isinstance(picture, bytes):
        with opened(picture) as image_file:
            if image_file.width * image_file.height > _LARGE_PIXELS:
                with _AT_A_TIME:
                    return _scaled(_upright(image_file), size=size, trim_bottom=trim_bottom)
            image = _upright(image_file)
    else:
        image = Image.fromarray(picture)
    return _scaled(image, size=size, trim_bottom=trim_bottom)


def _upright(image: Image.Image) -> Image.Image:
    return _rgb(ImageOps.exif_transpose(image))


def _scaled(image: Image.Image, *, size: int | None, trim_bottom: int) -> Image.Image:
    if trim_bottom:
        if trim_bottom >= image.height:
            raise ValueError(f"{image.height} pixels high, of which {trim_bottom} are cut away")
        image = image.crop((0, 0, image.width, image.height - trim_bottom))
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; ValueError for pixels of no known range."""
    grey = np.asarray(image)
    if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
        raise ValueError(f"pixels of mode {image.mode} have no known range")
    return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
