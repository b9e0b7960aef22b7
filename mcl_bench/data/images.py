"""A packed set in use: images that stay on disk until they are asked for, labels and ids.

Legend: N images, B batch, S stored pixels a side, c cropped pixels a side.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mcl_bench.data.sums import Bytes, Sums


class StoredImages(Protocol):
    """N images of 3×S×S that are read when asked for, however they are kept."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, S, S)."""
        ...

    @property
    def in_threads(self) -> bool:
        """Whether many images asked for together are read in parallel."""
        ...

    def __len__(self) -> int:
        """N."""
        ...

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The whole images at `indices` (int64, length B), as B×3×S×S uint8."""
        ...

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
        is 0. DataError if an image is not as it was packed.
        """
        ...


class Images(Protocol):
    """A chunk of images: pixels, or files."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, row: int, /) -> Bytes:
        """One image's bytes where they lie."""
        ...


ChunkT = TypeVar("ChunkT", bound=Images)


class Chunked(ABC, Generic[ChunkT]):
    """Images of 3×S×S in memory-mapped chunks: which lies where."""

    def __init__(self, chunks: Sequence[ChunkT], *, size: int) -> None:
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
        out = torch.empty((len(indices), *self.shape[1:]), dtype=torch.uint8)
        corner = np.zeros(len(indices), dtype=np.int64)
        self.windows(indices.numpy(), top=corner, left=corner, out=out.numpy())
        return out

    @abstractmethod
    def windows(
        self,
        indices: npt.NDArray[np.int64],
        *,
        top: npt.NDArray[np.int64],
        left: npt.NDArray[np.int64],
        out: Bytes,
    ) -> None:
        """Copy a c×c window of each image into `out` (B×3×c×c), as `StoredImages` says."""


class Pixels(Chunked[Bytes]):
    """Decoded images: planar uint8 RGB; gathering copies, nothing else.

    With `sums` each image is checked when it is first read.
    """

    in_threads = False

    def __init__(self, chunks: Sequence[Bytes], *, size: int, sums: Sums | None = None) -> None:
        super().__init__(chunks, size=size)
        self._sums = sums

    def windows(
        self,
        indices: npt.NDArray[np.int64],
        *,
        top: npt.NDArray[np.int64],
        left: npt.NDArray[np.int64],
        out: Bytes,
    ) -> None:
        """Copy a c×c window of each image into `out` (B×3×c×c), as `StoredImages` says."""
        chunk_of = np.searchsorted(self._ends, indices, side="right")
        starts = self._ends - [len(chunk) for chunk in self._chunks]
        row_of = indices - starts[chunk_of]
        places = zip(
            indices.tolist(),
            chunk_of.tolist(),
            row_of.tolist(),
            top.tolist(),
            left.tolist(),
            strict=True,
        )
        for b, (index, chunk, row, y, x) in enumerate(places):
            image = self._chunks[chunk][row]
            if self._sums is not None:
                self._sums.check(index, image)
            copy_window(image, top=y, left=x, out=out[b])


def copy_window(image: Bytes, *, top: int, left: int, out: Bytes) -> None:
    """Copy what lies at `top` and `left` of an image (3×S×S) into `out` (3×c×c); 0 outside it."""
    size, crop = image.shape[-1], out.shape[-1]
    if 0 <= top <= size - crop and 0 <= left <= size - crop:
        out[:] = image[:, top : top + crop, left : left + crop]
        return
    y0, y1 = max(top, 0), min(top + crop, size)
    x0, x1 = max(left, 0), min(left + crop, size)
    out[:] = 0
    out[:, y0 - top : y1 - top, x0 - left : x1 - left] = image[:, y0:y1, x0:x1]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of one packed file.

    `labels` is int64 of length N; `ids` are paths relative to the source; `extra` holds what else
    is known of each image (parts, cub200: `parts`, N×parts×3 of x, y as shares of the image and
    visible; cub200, cars: `box`, N×4 of x, y, width, height as shares); `official` (bool of length
    N) marks the set's own validation images; `groups`, where the set has them, names the object
    that each image shows.
    """

    pixels: StoredImages
    labels: Tensor
    ids: tuple[str, ...]
    extra: Mapping[str, Tensor]
    official: Tensor
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)
