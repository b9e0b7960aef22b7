"""The frame of an image file: how large it is, and where in it something lies.

Legend: P points, each x, y.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

Floats = npt.NDArray[np.float64]

ORIENTATION = 0x0112
"""The EXIF entry that says how an image is turned."""

_TURNS: Mapping[int, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y),
    4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}
"""Where a point of the file (in shares) is shown, by EXIF orientation; 1 shows it in its place."""


class EmptyFile(OSError):
    """An image file that has no bytes."""


def opened(content: bytes) -> Image.Image:
    """The image of a file, of which only the header is read; OSError if it is no image."""
    if not content:
        raise EmptyFile("the file is empty")
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:  # whose message has an address in it
        raise OSError("the file is no image of a known kind") from error


def shares(points_P2: npt.ArrayLike, image: Image.Image) -> Floats:
    """Points in the pixels of a file as shares of the image that it shows, turned as EXIF says.

    0, 0 is the upper left corner and 1, 1 the lower right one; what lies outside stays outside.
    """
    width, height = image.size
    x, y = np.asarray(points_P2, dtype=np.float64).T / [[width], [height]]
    turn = _TURNS.get(image.getexif().get(ORIENTATION, 1))
    return np.stack((x, y) if turn is None else turn(x, y), axis=-1)


def box_shares(
    corners: tuple[float, float, float, float], image: Image.Image
) -> npt.NDArray[np.float32]:
    """A box of a file's pixels (left, top, right, bottom) as x, y, width, height in shares.

    They are shares of the image that the file shows, turned as EXIF says.
    """
    left, top, right, bottom = corners
    corners_22 = shares([(left, top), (right, bottom)], image)
    low_2, high_2 = corners_22.min(axis=0), corners_22.max(axis=0)
    return np.concatenate((low_2, high_2 - low_2)).astype(np.float32)
