"""From any image file, or drawn pixels, to planar uint8 RGB of one size."""

import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from mcl_bench.data.catalog.source import Picture
from mcl_bench.data.frame import opened

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


def planar(picture: Picture, *, size: int | None, trim_bottom: int = 0) -> npt.NDArray[np.uint8]:
    """3×size×size RGB of an image (size None: 3×height×width); one of UNREADABLE if it can't be.

    Turned as EXIF says; transparent pixels lie on white; 16-bit grey is scaled to 8; the whole
    image, but `trim_bottom` rows of its pixels, is resized with antialiasing (bilinear), without
    keeping its aspect ratio.
    """
    if isinstance(picture, bytes):
        with opened(picture) as image_file:
            image = _rgb(ImageOps.exif_transpose(image_file))
    else:
        image = Image.fromarray(picture)
    if trim_bottom:
        if trim_bottom >= image.height:
            raise ValueError(f"{image.height} pixels high, of which {trim_bottom} are cut away")
        image = image.crop((0, 0, image.width, image.height - trim_bottom))
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


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
