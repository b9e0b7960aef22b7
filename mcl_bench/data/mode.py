"""How the store keeps images: as pixels (decoded), or as JPEG files of the stored size (encoded).

JPEG loses a little, so trainings on the two give different results: which one is used depends on
the images and on `data.store` alone, never on the machine.
"""

from typing import Literal

from mcl_bench.spec.schema import DataSpec

Mode = Literal["decoded", "encoded"]

DECODED_BYTES = 64 << 30
"""The most bytes of pixels, train and test together, that `data.store: auto` keeps decoded."""

ENCODED_SHARE = 0.2
"""About what a photograph's JPEG of quality 95 takes of its pixels; more where it is noisy."""


def mode_of(data: DataSpec, *, num_images: int, size: int) -> Mode:
    """The mode of a set of so many images of `size` pixels a side, train and test together."""
    if data.store != "auto":
        return data.store
    return "decoded" if _pixel_bytes(num_images, size) <= DECODED_BYTES else "encoded"


def stored_bytes(mode: Mode, *, num_images: int, size: int) -> int:
    """The bytes that the images take in the store: exact for decoded, an estimate for encoded."""
    pixels = _pixel_bytes(num_images, size)
    return pixels if mode == "decoded" else round(pixels * ENCODED_SHARE)


def _pixel_bytes(num_images: int, size: int) -> int:
    return num_images * 3 * size**2
