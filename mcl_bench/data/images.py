"""A packed set in use: pixels that stay on disk until they are asked for, labels and ids.

Legend: N images, B batch, S stored pixels a side, c cropped pixels a side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]


class Pixels:
    """N×3×S×S uint8 planar RGB over memory-mapped chunks; gathering copies, nothing else does."""

    def __init__(self, chunks: Sequence[Bytes], *, size: int) -> None:
        self._chunks = [chunk for chunk in chunks if len(chunk)]
        self._ends = np.cumsum([len(chunk) for chunk in self._chunks], dtype=np.int64)
        self._size = size

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, S, S)."""
        return (len(self), 3, self._size, self._size)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The whole images at `indices` (int64, length B), as B×3×S×S uint8."""
        count = len(indices)
        out = torch.empty((count, 3, self._size, self._size), dtype=torch.uint8)
        corner = np.zeros(count, dtype=np.int64)
        self.windows(indices.numpy(), top=corner, left=corner, out=out.numpy())
        return out

    def windows(
        self,
        indices: npt.NDArray[np.int64],
        *,
        top: npt.NDArray[np.int64],
        left: npt.NDArray[np.int64],
        out: Bytes,
    ) -> None:
        """Copy a c×c window of each image into `out` (B×3×c×c).

        `top` and `left` (length B) may be negative or reach past the image; what lies outside it
        is 0.
        """
        crop, size = out.shape[-1], self._size
        chunk_of = np.searchsorted(self._ends, indices, side="right")
        starts = self._ends - [len(chunk) for chunk in self._chunks]
        row_of = indices - starts[chunk_of]
        places = zip(chunk_of.tolist(), row_of.tolist(), top.tolist(), left.tolist(), strict=True)
        for b, (chunk, row, y, x) in enumerate(places):
            image = self._chunks[chunk][row]
            if 0 <= y <= size - crop and 0 <= x <= size - crop:
                out[b] = image[:, y : y + crop, x : x + crop]
                continue
            y0, y1, x0, x1 = max(y, 0), min(y + crop, size), max(x, 0), min(x + crop, size)
            out[b] = 0
            out[b, :, y0 - y : y1 - y, x0 - x : x1 - x] = image[:, y0:y1, x0:x1]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of one packed file.

    `labels` is int64 of length N; `ids` are paths relative to the source; `extra` holds what else
    is known of each image (parts, cub200: `parts`, N×parts×3 of x, y as shares of the image and
    visible; cub200, cars: `box`, N×4 of x, y, width, height as shares); `official` (bool of length
    N) marks the set's own validation images; `groups`, where the set has them, names the object
    that each image shows.
    """

    pixels: Pixels
    labels: Tensor
    ids: tuple[str, ...]
    extra: Mapping[str, Tensor]
    official: Tensor
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)
