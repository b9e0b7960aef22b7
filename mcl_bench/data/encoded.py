"""Encoded images in use: JPEG files over a mapped file, decoded in parallel when asked for.

Legend: N images, B batch, S stored pixels a side, c cropped pixels a side.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mcl_bench.data.images import Chunked, copy_window
from mcl_bench.data.sums import Bytes, Sums


@dataclass(frozen=True, kw_only=True)
class Files:
    """JPEG files one after another: file i lies from `offsets[i]` to `offsets[i + 1]`."""

    content: Bytes
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Bytes:
        return self.content[self.offsets[row] : self.offsets[row + 1]]


class EncodedImages(Chunked[Files]):
    """JPEG images of 3×S×S over memory-mapped chunks, decoded by as many threads as torch uses.

    Each image is decoded by itself, so the number of threads changes nothing but the speed.
    """

    in_threads = True

    def __init__(self, chunks: Sequence[Files], *, size: int, sums: Sums) -> None:
        super().__init__(chunks, size=size)
        self._sums = sums
        self._pool: ThreadPoolExecutor | None = None
        self._pool_threads = 0

    def windows(
        self,
        indices: npt.NDArray[np.int64],
        *,
        top: npt.NDArray[np.int64],
        left: npt.NDArray[np.int64],
        out: Bytes,
    ) -> None:
        """Copy a c×c window of each image into `out` (B×3×c×c), as `StoredImages` says."""

        def copy(places: range) -> None:
            for b in places:
                image = self._decoded(int(indices[b]))
                copy_window(image, top=int(top[b]), left=int(left[b]), out=out[b])

        count = len(indices)
        threads = min(torch.get_num_threads(), count)
        if threads < 2:
            copy(range(count))
            return
        pool = self._threads()
        shares = [pool.submit(copy, range(k, count, threads)) for k in range(threads)]
        wait(shares)
        for share in shares:
            share.result()

    def _threads(self) -> ThreadPoolExecutor:
        """The pool of as many threads as torch uses now."""
        if self._pool is None or self._pool_threads != torch.get_num_threads():
            self._pool_threads = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(self._pool_threads, thread_name_prefix="decode")
        return self._pool

    def _decoded(self, index: int) -> Bytes:
        """One whole image, 3×S×S."""
        from torchvision.io import ImageReadMode, decode_jpeg

        chunk = int(np.searchsorted(self._ends, index, side="right"))
        files = self._chunks[chunk]
        content = files[index - int(self._ends[chunk]) + len(files)]
        self._sums.check(index, content)
        try:
            image = decode_jpeg(torch.from_numpy(content.copy()), mode=ImageReadMode.RGB)
        except RuntimeError as error:
            raise self._sums.damaged(index, str(error)) from error
        return np.asarray(image.numpy())
