"""Small pictures of test images that have been looked at, for a page about them.

Legend: S stored pixels a side.
"""

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mcl_bench.data.store import find
from mcl_bench.data.vault import open_test
from mcl_bench.records import TestGrant
from mcl_bench.spec.schema import DataSpec

SIDE = 96
"""The most pixels of a thumbnail's side."""


def thumbnails(
    data: DataSpec, *, store: Path, digest: str, ids: Collection[str], grant: TestGrant
) -> dict[str, bytes]:
    """A PNG of each of these test images, by id; none where the packed set is not under `store`.

    `grant` is that of a look that has been taken. Raises DataError if a packed file is damaged.
    """
    packed = find(data, store=store, digest=digest)
    if packed is None or not packed.test_path.exists():
        return {}
    images = open_test(packed, grant)
    wanted = set(ids)
    found = [(index, name) for index, name in enumerate(images.ids) if name in wanted]
    return {name: _png(images.pixels[torch.tensor([index])][0].numpy()) for index, name in found}


def _png(pixels_3SS: npt.NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(np.ascontiguousarray(pixels_3SS.transpose(1, 2, 0)))
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
