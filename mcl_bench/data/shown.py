"""Image files as validation and test show them to a network, without a store.

Legend: N images, c cropped pixels a side.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mcl_bench.data import augment
from mcl_bench.data.decode import UNREADABLE, planar
from mcl_bench.data.images import copy_window
from mcl_bench.data.store import stored_size
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec


def shown(
    files: Sequence[bytes],
    *,
    data: DataSpec,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
) -> Tensor:
    """The images in these files, N×3×c×c float32: resized, cropped in the middle, normalised.

    What a decoded store gives of the same files, bit for bit; an encoded one has compressed them
    once more. Raises DataError that names the place (0 for the first) of one that is no image.
    """
    size = stored_size(data)
    crop = size if data.crop is None else data.crop
    draw = augment.centre(len(files), size, crop)
    windows = np.empty((len(files), 3, crop, crop), dtype=np.uint8)
    for place, content in enumerate(files):
        try:
            pixels = planar(content, size=size)
        except UNREADABLE as error:
            raise DataError(f"image {place} can't be read: {error}") from error
        copy_window(
            pixels, top=int(draw.top[place]), left=int(draw.left[place]), out=windows[place]
        )
    scale, shift = augment.normalisers(mean, std, device)
    images = torch.empty(windows.shape, device=device)
    augment.normalise(torch.from_numpy(windows).to(device), scale=scale, shift=shift, out=images)
    return images
