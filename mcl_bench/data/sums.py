"""Sums of packed images, by which a byte that is no longer what was packed is noticed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcl_bench.records import DataError

Bytes = npt.NDArray[np.uint8]

MENDED = "remove it; it is packed again from its source"
"""What to do with a damaged packed file."""

_WORD = np.dtype("<u8")


def sum_of(content: Bytes) -> np.uint64:
    """The sum modulo 2^64 of the content's length and its 8-byte words, the last one padded."""
    flat = content.reshape(-1)
    whole = len(flat) - len(flat) % _WORD.itemsize
    words = np.add.reduce(flat[:whole].view(_WORD), dtype=np.uint64)
    last = int.from_bytes(flat[whole:].tobytes(), "little")
    return np.uint64((int(words) + last + len(flat)) % 2**64)


class Sums:
    """The sums of the images of one packed file; each is checked when first read in a process."""

    def __init__(self, packed: npt.NDArray[np.uint64], *, path: Path, ids: Sequence[str]) -> None:
        self._packed = packed
        self._checked = np.zeros(len(packed), dtype=bool)
        self._path = path
        self._ids = ids

    def check(self, index: int, content: Bytes) -> None:
        """DataError, which names the file and the image, if the content is not what was packed."""
        if self._checked[index]:
            return
        if sum_of(content) != self._packed[index]:
            raise self.damaged(index, "its bytes are not those that were packed")
        self._checked[index] = True

    def damaged(self, index: int, why: str) -> DataError:
        """What is said of an image that cannot be used."""
        return DataError(
            f"the packed file {self._path} is damaged at image {self._ids[index]}: {why}",
            key="data.name",
            remedy=MENDED,
        )
